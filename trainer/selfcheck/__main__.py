"""One part in a process of its own: ``python -P -m trainmaster.trainer.selfcheck PART FOLDER DEVICE``."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from trainmaster.trainer.engines import installed
from trainmaster.trainer.run import offline
from trainmaster.trainer.selfcheck.report import Row, Status
from trainmaster.trainer.selfcheck.runner import PARTS


def main(argv: list[str]) -> int:
    """Prints the rows of the part ``argv[0]``, made in the folder ``argv[1]`` on the device ``argv[2]``."""
    name, folder, device = argv
    part = next(part for part in PARTS if part.name == name)
    offline.before_import()
    try:
        module = importlib.import_module(f"trainmaster.trainer.selfcheck.{name}")
        offline.after_import()
    except Exception as error:  # noqa: BLE001 - files that were edited fail in any way
        print(_not_importable(part.title, error).line(), flush=True)
        return 0
    for row in module.rows(part.title, Path(folder), device or None):
        print(row.line(), flush=True)
    return 0


def _not_importable(part: str, error: Exception) -> Row:
    found = installed.look()
    what = (
        f"Ultralytics {found.version or 'of unknown version'} in {found.folder}" if found.folder else "no Ultralytics"
    )
    return Row(
        part=part,
        name="can be imported",
        status=Status.FAILED,
        value=str(error),
        detail=f"there is {what}. trainmaster's own requirements bring one that fits: pip install trainmaster",
    )


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
