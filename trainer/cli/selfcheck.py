"""``trainmaster selfcheck``: is the guard as good on this machine as it says? Loads no torch itself."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import Final

from trainmaster.terminal import complain, then
from trainmaster.trainer.arguments import Arguments, ArgumentsError, reject_unknown
from trainmaster.trainer.contract import ExitCode
from trainmaster.trainer.selfcheck.disks import NoRoomError
from trainmaster.trainer.selfcheck.report import BROKEN_OFF, Row, Status, as_json, as_table, passed
from trainmaster.trainer.selfcheck.runner import PARTS, run

FAILED: Final = 1


def main(arguments: Arguments) -> int:
    """Prints the table, or JSON with ``--json``; 0 when nothing failed, else 1, also when it was interrupted.

    Raises:
        ArgumentsError: a word, key or part that is none.
    """
    reject_unknown(arguments.flags, ("json",), "flag")
    reject_unknown(arguments.settings, ("device", "parts"), "key")
    if arguments.words:
        raise ArgumentsError(f"selfcheck takes no {arguments.words[0]!r}", "trainmaster selfcheck [device=0] [--json]")
    names = [name for name in arguments.settings.get("parts", "").split(",") if name]
    reject_unknown(names, [part.name for part in PARTS], "part")
    chosen = tuple(part for part in PARTS if not names or part.name in names)
    began = time.monotonic()
    try:
        rows: list[Row] = run(arguments.settings.get("device"), _tell, chosen)
    except KeyboardInterrupt:
        _tell("selfcheck: ended on request, nothing is proven and nothing is left behind.")
        return _ended_early(arguments, "ended on request, nothing is proven")
    except NoRoomError as error:
        complain(str(error))
        return _ended_early(arguments, str(error).partition("\n")[0])
    if "json" in arguments.flags:
        print(as_json(rows))
    else:
        print(as_table(rows))
        print(
            f"Took {time.monotonic() - began:.0f} s. Please attach this table to an issue: it tells what works where."
        )
        good = "trainmaster train model=yolo11n.yaml data=coco8.yaml epochs=1"
        then(good if passed(rows) else "trainmaster selfcheck parts=NAME repeats one part")
    return ExitCode.FINISHED if passed(rows) else FAILED


def _ended_early(arguments: Arguments, why: str) -> int:
    """A program that asked for JSON gets some."""
    if "json" in arguments.flags:
        print(as_json([Row(part="selfcheck", name=BROKEN_OFF, status=Status.FAILED, value=why)]))
    return FAILED


def _tell(line: str) -> None:
    with contextlib.suppress(OSError):  # what is found is told all the same
        print(line, file=sys.stderr, flush=True)
