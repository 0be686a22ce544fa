"""``trainmaster drill``: a bad night, rehearsed on a small real training."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from trainmaster.bot.cli.arguments import VerbParser, page_port
from trainmaster.bot.rehearsal.drill import DrillOptions, rehearse
from trainmaster.bot.rehearsal.small_training import ENDING
from trainmaster.bot.service.signals import until_signal

_MIN_WAIT_S, _MAX_WAIT_S = 30, 7200
_DESCRIPTION = """\
Rehearse a bad night. A small training of the drill's own (digits, CPU, no
download) gets batches with NaN; the bot tells the channel and asks the people
on call; somebody approves; the training is rolled back and seen healthy. Each
step is timed. Your trainings are not touched, and nothing is left running.
"""
_EPILOGUE = """\
In the local workspace (default) open the page that is printed and press Approve
as Ben or Anna; with --headless Ben does it by himself. With --channel real the
messages go to ALERT_CHANNEL with the tokens of .env, and real people on call
press the button. Stop `trainmaster run` for that time: Slack gives each click
to only one of the two.

Exit code: 0 rolled back and healthy, 1 not (nobody answered, somebody rejected,
a step failed), 130 ended by Ctrl-C.
"""


def main(argv: Sequence[str]) -> int:
    """0 when the rollback was rehearsed to its end; 1 when it was not.

    Raises:
        SettingsError: ``--channel real`` without usable tokens, or a workspace beside real tokens.
        CommandError: a bot runs with these tokens, or another drill in this folder.
    """
    options = _parsed(argv)
    farewell = "Ended. The drill's training was stopped, nothing is left running."
    return asyncio.run(until_signal(rehearse(options), ending=ENDING, farewell=farewell))


def _parsed(argv: Sequence[str]) -> DrillOptions:
    parser = VerbParser(prog="trainmaster drill", description=_DESCRIPTION, epilog=_EPILOGUE)
    parser.add_argument(
        "--channel", choices=("workspace", "real"), default="workspace", help="where people act (default: workspace)"
    )
    parser.add_argument("--headless", action="store_true", help="in the workspace: Ben approves by himself")
    parser.add_argument("--wait", type=int, default=900, metavar="S", help="seconds to wait for people (default: 900)")
    parser.add_argument(
        "--port", type=page_port, default=0, metavar="P", help="of the page on 127.0.0.1 (default: any free)"
    )
    parser.add_argument(
        "--dir", type=Path, default=Path("drill-data"), metavar="D", help="data set, run, state (default: drill-data)"
    )
    given = parser.parse_args(argv)
    if not _MIN_WAIT_S <= given.wait <= _MAX_WAIT_S:
        parser.error(f"--wait {given.wait}: expected {_MIN_WAIT_S} to {_MAX_WAIT_S} seconds")
    if given.channel == "real" and (given.headless or given.port):
        parser.error("--headless and --port are for the workspace; in the real channel people press the button")
    return DrillOptions(
        home=given.dir.resolve(),
        real=given.channel == "real",
        headless=given.headless,
        port=given.port,
        wait_s=float(given.wait),
    )
