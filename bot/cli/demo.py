"""``trainmaster demo``: the whole story without Slack."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from trainmaster.bot.cli.arguments import VerbParser, page_port
from trainmaster.bot.rehearsal.demo import show
from trainmaster.bot.rehearsal.small_training import ENDING
from trainmaster.bot.service.signals import until_signal


def main(argv: Sequence[str]) -> int:
    """0 when every step of the story was seen in the channel; 1 when one was not."""
    parser = VerbParser(
        prog="trainmaster demo",
        description="The whole story without Slack: a local workspace in the browser and a real small training.",
    )
    parser.add_argument("--headless", action="store_true", help="play the story without the page, then end")
    parser.add_argument(
        "--port", type=page_port, default=0, metavar="P", help="of the page on 127.0.0.1 (default: any free)"
    )
    parser.add_argument(
        "--dir", type=Path, default=Path("demo-data"), metavar="D", help="data set, run and state (default: demo-data)"
    )
    given = parser.parse_args(argv)
    # Without a terminal nobody could end it with Ctrl-C.
    stays = not given.headless and sys.stdin.isatty() and sys.stdout.isatty()
    story = show(given.dir.resolve(), given.port, stays=stays)
    farewell = "Ended. The training was stopped, nothing is left running."
    return asyncio.run(until_signal(story, ending=ENDING, farewell=farewell))
