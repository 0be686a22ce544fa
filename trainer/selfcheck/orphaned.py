"""A part whose selfcheck was killed ends too, with all that it started. Loads no torch."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from pathlib import Path

from trainmaster.trainer.selfcheck.runner import end_strays


def end_with_parent(folder: Path) -> None:
    """From now on this process, its group and what was started in the environment of ``folder`` end, and the folder
    goes, once whoever holds the other end of standard input is gone. Standard input itself is empty then."""
    watched = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    threading.Thread(target=_watch, args=(watched, folder), name="orphaned", daemon=True).start()


def _watch(watched: int, folder: Path) -> None:
    while os.read(watched, 1):
        pass
    end_strays(folder)
    shutil.rmtree(folder, ignore_errors=True)
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
