"""Which disk a folder of this host lies on, and which it ought to lie on."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

FSTAB: Final = Path("/etc/fstab")
MOUNTED: Final = Path("/proc/self/mounts")
"""What ought to be mounted, and what is."""


def mount_of(path: Path) -> str:
    """Where the disk is mounted that ``path`` lies on."""
    place = path.resolve()
    return str(next(one for one in (place, *place.parents) if os.path.ismount(one)))


def missing_mount(path: Path) -> str | None:
    """Where a disk ought to be mounted that ``path`` would lie on, and none is; None where the host says of none."""
    above = {str(one) for given in (path, path.resolve()) for one in (given, *given.parents)}
    wanted = above & _mount_points(FSTAB) - _mount_points(MOUNTED) - {"/"}
    return next((one for one in sorted(wanted) if not os.path.ismount(one)), None)


def _mount_points(table: Path) -> set[str]:
    """Of a table as fstab(5) has it; none where it can't be read. None of them is looked at: it may not answer."""
    try:
        text = table.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return set()
    rows = (line.split() for line in text.splitlines() if not line.lstrip().startswith("#"))
    return {re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), row[1]) for row in rows if len(row) > 2}
