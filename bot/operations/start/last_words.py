"""The last words in a run's console log, as a restart looks at them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_TAIL_BYTES: Final = 4096
_TAIL_LINES: Final = 6
_OF_SLURM: Final = ("slurmstepd:", "slurmd:")


def log_tail(log: Path | None) -> str:
    """The last lines of the console log, for a person; empty when it cannot be read."""
    if log is None:
        return ""
    lines = (_last_lines(log) or [])[-_TAIL_LINES:]
    return " Last lines: " + " | ".join(lines) if lines else ""


def is_mute(log: Path, *, since: int) -> bool:
    """Whether nobody but Slurm had the last word in ``log`` since it was that long. False where that can't be read."""
    lines = _last_lines(log, since=since)
    return lines is not None and (not lines or lines[-1].startswith(_OF_SLURM))


def _last_lines(log: Path, *, since: int = 0) -> list[str] | None:
    """None when it cannot be read."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(since, os.fstat(stream.fileno()).st_size - _TAIL_BYTES))
            text = stream.read().decode(errors="replace").replace("\r", "\n")
    except FileNotFoundError:
        return []
    except OSError:
        return None
    return [line.strip() for line in text.splitlines() if line.strip()]
