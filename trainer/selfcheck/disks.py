"""Where the person who typed ``selfcheck`` would train, and where selfcheck has room for its own files. No torch."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

OWN_GIB: Final = 0.5
"""What selfcheck needs for as long as it runs: full states of tiny runs, and caches of kernels."""
PLACES_VARIABLE: Final = "TRAINMASTER_SELFCHECK_PLACES"
"""For the parts, which run in a folder of their own: see :func:`exported`."""
CURRENT: Final = "the current folder"
_SETTINGS: Final = "Ultralytics/settings.json"


class NoRoomError(Exception):
    """Selfcheck has no room for its own files."""


def own_folder() -> Path:
    """Where selfcheck puts its own files for now: where temporary files go, else the current folder.

    Raises:
        NoRoomError: there is too little space in both.
    """
    found: list[str] = []
    for place in dict.fromkeys(_candidates()):
        try:
            free_gib = shutil.disk_usage(place).free / 2**30
        except OSError:
            continue
        if "'" in str(place):  # Ultralytics takes it out of the path of a checkpoint (utils/downloads.py)
            found.append(f"Ultralytics can't read {place}, for its apostrophe")
            continue
        if free_gib >= OWN_GIB and os.access(place, os.W_OK):
            return place
        found.append(f"{place} has {free_gib:.2f} GiB" if os.access(place, os.W_OK) else f"{place} can't be written")
    why = "; ".join(found) or "there is no folder for them"
    raise NoRoomError(
        f"selfcheck needs {OWN_GIB:g} GiB for its own files while it runs: {why}.\n"
        "Hint: TMPDIR=/ANOTHER/FOLDER trainmaster selfcheck"
    )


def exported() -> str:
    """What a person here would train in, by name, for the environment of the parts."""
    return json.dumps({name: str(place) for name, place in _places()})


def inherited() -> dict[str, Path]:
    """The places that :func:`exported` names; those of this process where none are given."""
    given = os.environ.get(PLACES_VARIABLE)
    return {name: Path(place) for name, place in (json.loads(given) if given else dict(_places())).items()}


def _candidates() -> Iterator[Path]:
    with contextlib.suppress(FileNotFoundError):
        yield Path(tempfile.gettempdir())
    with contextlib.suppress(FileNotFoundError):
        yield Path.cwd()


def _places() -> Iterator[tuple[str, Path]]:
    with contextlib.suppress(FileNotFoundError):
        yield CURRENT, Path.cwd()
    if runs := os.environ.get("RUNS_DIR"):
        yield "RUNS_DIR", Path(runs).expanduser()
    if (runs_dir := _of_ultralytics()) is not None:
        yield "Ultralytics' runs_dir", runs_dir


def _of_ultralytics() -> Path | None:
    """Where Ultralytics puts a run that no ``project=`` says more of, as the user's settings tell."""
    home = Path.home()
    configured = [os.environ.get("YOLO_CONFIG_DIR"), os.environ.get("XDG_CONFIG_HOME"), home / ".config"]
    for folder in [*configured, home / "Library" / "Application Support"]:
        if not folder:
            continue
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            return Path(json.loads((Path(folder).expanduser() / _SETTINGS).read_text(encoding="utf-8"))["runs_dir"])
    return None
