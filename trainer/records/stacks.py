"""What the process is doing right now: SIGUSR1 writes the stacks of all its threads, and nothing else happens."""

from __future__ import annotations

import contextlib
import faulthandler
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

STANDARD_ERROR: Final = 2

_descriptors: Final[list[int]] = []
"""Where stacks go: the last of these; what was asked for within goes first."""


@contextlib.contextmanager
def shown(path: Path | None = None) -> Iterator[None]:
    """Within, stacks are appended to the file ``path``, or go to standard error; afterwards where they went before.

    Where a file cannot be opened, they go to standard error too: without a handler, the signal would end the process.
    Outside the main thread nothing happens, as with the other signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with contextlib.ExitStack() as opened:
        descriptor = STANDARD_ERROR
        if path is not None:
            with contextlib.suppress(OSError):
                path.parent.mkdir(parents=True, exist_ok=True)
                descriptor = opened.enter_context(path.open("a", encoding="utf-8")).fileno()
        _descriptors.append(descriptor)
        try:
            _register()
            yield
        finally:
            _descriptors.pop()
            _register()


def _register() -> None:
    if not _descriptors:
        faulthandler.unregister(signal.SIGUSR1)
        return
    faulthandler.register(signal.SIGUSR1, file=_descriptors[-1], all_threads=True)
