"""``trainmaster scan LOG [--json]``: the post-mortem of a log. Imports little: a scan must start in milliseconds."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from trainmaster.bot.reading.scan.scanner import ScanReport, scan_file
from trainmaster.terminal import coloured, columns, complain, folded, working
from trainmaster.visible import visible_json, visible_line

_USAGE = """usage: trainmaster scan LOG [--json]

Post-mortem of a console log of Ultralytics (YOLOv5 to today): where the run stood, \
whether its losses were finite, how it ended.

  LOG     the log file
  --json  one JSON object instead of text
"""
_INDENT = 10 * " "
_WIDTH = 80
"""Where nothing limits it."""


def _usage(stream: TextIO) -> str:
    """What a person types, as wide as ``stream``."""
    text, *options = _USAGE.partition("  LOG ")
    width = columns(stream) or _WIDTH
    return folded(text, width) + folded("".join(options), width, indent=_INDENT)


def _read(path: Path) -> ScanReport:
    """The report on ``path``. Nothing that is read refers to itself, so no cycles are looked for meanwhile."""
    collects = gc.isenabled()
    gc.disable()
    try:
        return scan_file(path)
    finally:
        if collects:
            gc.enable()


def main(argv: Sequence[str]) -> int:
    """Print the report on the log that ``argv`` (the words behind ``scan``) names; 0, or 2 when it cannot be read."""
    options = [word for word in argv if word.startswith("-") and word != "-"]
    names = [word for word in argv if word not in options]
    if {"-h", "--help"} & set(options):
        sys.stdout.write(_usage(sys.stdout))
        return 0
    unknown = [option for option in options if option != "--json"]
    if unknown or len(names) != 1:
        fault = f"unknown option {unknown[0]}" if unknown else f"one log is needed, {len(names)} given"
        complain(f"scan-arguments: {visible_line(fault)}.")
        sys.stderr.write(_usage(sys.stderr))
        return 2
    path = Path(names[0])
    try:
        with working(f"reading {path}"):
            report = _read(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        complain(f"log-unreadable: {visible_line(str(path))}: {reason}.\nHint: give the path of a console log")
        return 2
    if "--json" in options:
        import json  # noqa: PLC0415 - only this branch needs it

        text = visible_json(json.dumps(report.to_json(), ensure_ascii=False, indent=2)) + "\n"
    else:
        from trainmaster.bot.reading.scan.report import render  # noqa: PLC0415 - only this branch needs it

        told = render(report, name=str(path), color=coloured(sys.stdout))
        text = folded(told, columns(), indent=13 * " ")
    sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace"))
    sys.stdout.flush()
    return 0
