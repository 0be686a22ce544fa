"""A temporary folder of the session's own: what a killed process leaves there goes with it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

import psutil

MEMORY: Final = Path("/dev/shm")
ROOM_BYTES: Final = 2 * 1024**3
"""The suite has 0.3 GB at one time, in five processes (measured)."""


def temporary_folder() -> Path:
    """Where this process and its children put temporary files from now on. Not pytest's own folders, of which those of
    failed tests are kept to be looked at. The name is short: sockets stand in there, of a hundred characters at most.

    Where nobody has chosen a place, and there is room, all of them lie in memory, where none of the many syncs waits
    for a disk.
    """
    if "TMPDIR" not in os.environ and _is_roomy(MEMORY):
        tempfile.tempdir = str(MEMORY)
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    folder = Path(tempfile.mkdtemp(prefix="tm-"))
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    return folder


def _is_roomy(place: Path) -> bool:
    """Whether the suite's files fit there and beside its processes, and what is written may be executed."""
    try:
        found = os.statvfs(place)
    except OSError:
        return False
    room_bytes = min(found.f_bavail * found.f_frsize, psutil.virtual_memory().available // 2)
    return room_bytes >= ROOM_BYTES and not found.f_flag & os.ST_NOEXEC and os.access(place, os.W_OK)
