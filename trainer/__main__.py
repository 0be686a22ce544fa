"""``python -m trainmaster.trainer VERB ...``, which every command of the bot starts the trainer with."""

from __future__ import annotations

import sys

from trainmaster.trainer.cli.main import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
