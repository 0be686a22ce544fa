"""``trainmaster settings``: every setting with unit, default and reason, as an ``.env`` to fill in."""

from __future__ import annotations

from collections.abc import Sequence

from trainmaster.bot.cli.arguments import VerbParser
from trainmaster.bot.settings.example import example


def main(argv: Sequence[str]) -> int:
    """The text of ``.env.example`` was printed."""
    parser = VerbParser(
        prog="trainmaster settings",
        description="Print every setting with unit, default and reason: trainmaster settings > .env && chmod 600 .env",
    )
    parser.parse_args(argv)
    print(example(), end="")
    return 0
