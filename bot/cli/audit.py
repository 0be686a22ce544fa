"""``trainmaster audit``: who asked for, decided and did what."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from trainmaster.bot.cli.arguments import VerbParser
from trainmaster.bot.settings.model import load_settings
from trainmaster.bot.storage.audit import AUDIT_LOG, AuditLog
from trainmaster.terminal import columns, folded
from trainmaster.visible import visible_line

_MOST_DIGITS: Final = 9


def main(argv: Sequence[str]) -> int:
    """The newest entries were printed; 1 when the whole chain was to be checked and is broken, else 0.

    Raises:
        TrainmasterError: STATE_DIR can't be told from the settings, or the log cannot be read.
    """
    parser = VerbParser(prog="trainmaster audit", description="Who asked for, decided and did what.")
    parser.add_argument("--verify", action="store_true", help="check the whole chain; exit code 1 when it is broken")
    parser.add_argument("--last", type=_count, default=20, metavar="N", help="entries to show (default: 20)")
    given = parser.parse_args(argv)
    path = load_settings(os.environ, Path(".env"), needs_slack=False).state_dir / AUDIT_LOG
    log, place = AuditLog(path), visible_line(str(path))
    entries = log.entries(given.last)
    report = log.verify() if given.verify else None
    if not entries and (report is None or report.intact):
        print(folded(f"No entries in {place}: nobody has asked for or decided anything yet.", columns()))
        return 0
    for entry in entries:
        when = datetime.fromtimestamp(entry.ts, UTC).strftime("%Y-%m-%d %H:%M:%S")
        line = visible_line(f"{entry.seq:>6}  {when} UTC  {entry.actor:<14}{entry.action:<22}{entry.subject}")
        print(folded(line, columns(), indent=8 * " "))
    if report is None:
        return 0
    for fault in report.faults:
        print(visible_line(f"BROKEN  {fault}"))
    state = "intact" if report.intact else "NOT intact"
    print(folded(f"{report.num_entries} entries in {place}, {state}, head {report.head[:16]}", columns()))
    return 0 if report.intact else 1


def _count(text: str) -> int:
    if not text.isdecimal() or len(text) > _MOST_DIGITS or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no count: a whole number, at least 1")
    return int(text)
