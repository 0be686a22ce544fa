"""One part in a process of its own: ``python -P -m trainmaster.trainer.selfcheck PART FOLDER DEVICE``."""

from __future__ import annotations

import errno
import importlib
import shutil
import subprocess
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.engines.unimportable import not_importable
from trainmaster.trainer.run import offline
from trainmaster.trainer.selfcheck.orphaned import end_with_parent
from trainmaster.trainer.selfcheck.report import BROKEN_OFF, Row, Status
from trainmaster.trainer.selfcheck.runner import PARTS, Part

FULL_BYTES: Final = 2**20
"""A disk with less is full: libraries that could not write there say so in many ways."""


def main(argv: list[str]) -> int:
    """Prints the rows of the part ``argv[0]``, made in the folder ``argv[1]`` on the device ``argv[2]``."""
    name, folder, device = argv
    end_with_parent(Path(folder).parent)
    part = next(part for part in PARTS if part.name == name)
    offline.before_import()
    try:
        module = importlib.import_module(f"trainmaster.trainer.selfcheck.{name}")
        offline.after_import()
    except Exception as error:  # noqa: BLE001 - files that were edited fail in any way
        told = not_importable(error)
        row = Row(part=part.title, name="can be imported", status=Status.FAILED, value=told.message, detail=told.hint)
        print(row.line(), flush=True)
        return 0
    where = ""
    try:
        where = _device(part, device)
        for row in module.rows(part.title, Path(folder), device or None):
            print((replace(row, device=where) if where else row).line(), flush=True)
    except Exception as error:  # noqa: BLE001 - the edge of the process: it becomes a row
        print(_broken_off(part, error, Path(folder), where).line(), flush=True)
    return 0


def _device(part: Part, device: str) -> str:
    """What the rows of a part that looks at one device are of; empty where each row says so itself."""
    if not part.of_one:
        return ""
    from trainmaster.trainer.selfcheck.made import chosen  # noqa: PLC0415 - loads torch, which may be what fails

    return chosen(device or None)


def _broken_off(part: Part, error: Exception, folder: Path, device: str) -> Row:
    """One sentence of what went wrong, and what to do or where it was."""
    told: dict[str, Any] = {"part": part.title, "name": BROKEN_OFF, "status": Status.FAILED, "device": device}
    if isinstance(error, ArgumentsError):
        return Row(**told, value=error.message, detail=error.hint)
    if getattr(error, "errno", None) in {errno.ENOSPC, errno.EDQUOT} or shutil.disk_usage(folder).free < FULL_BYTES:
        hint = "TMPDIR=/ANOTHER/FOLDER trainmaster selfcheck uses another disk for its own files"
        return Row(**told, value=f"no space is left in {folder.parent}", detail=hint)
    if isinstance(error, subprocess.TimeoutExpired):
        return Row(**told, value="a training that it started took too long", limit=f"{error.timeout:.0f} s")
    (last,) = traceback.extract_tb(error.__traceback__)[-1:]
    said = next((line for line in str(error).splitlines() if line.strip()), "no more is known")
    return Row(**told, value=f"{type(error).__name__}: {said}", detail=f"in {last.filename}, line {last.lineno}")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
