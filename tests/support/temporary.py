"""A temporary folder of the session's own: what a killed process leaves there goes with it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def temporary_folder() -> Path:
    """Where this process and its children put temporary files from now on. Not pytest's own folders, of which the last
    ones are kept to be looked at. The name is short: sockets stand in there, of a hundred characters at most."""
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    folder = Path(tempfile.mkdtemp(prefix="tm-"))
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    return folder
