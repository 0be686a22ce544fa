"""``python -m bot VERB ...`` in a checkout: the one command, with every verb of both sides."""

from __future__ import annotations

from trainmaster.__main__ import main

if __name__ == "__main__":
    raise SystemExit(main())
