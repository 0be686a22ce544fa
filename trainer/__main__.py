"""``python -m trainmaster.trainer VERB ...``, which every command of the bot starts the trainer with.

It goes through the one table, which says what to install when something lacks; ``main`` is the trainer's side of it.
"""

from __future__ import annotations

import sys

from trainmaster.trainer.cli.main import main

__all__ = ["main"]

if __name__ == "__main__":
    from trainmaster.__main__ import main as every_verb

    sys.exit(every_verb())
