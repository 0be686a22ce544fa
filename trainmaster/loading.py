"""Modules load without Python looking for garbage among what they make, which stands to the end."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_OWN: Final = gc.get_threshold()
"""Of this process, from its start. A threshold of 0 holds although Ultralytics enables collecting wherever it reads a
cache of labels."""


@contextmanager
def loading() -> Iterator[None]:
    """Inside, unreachable cycles are not looked for, until :func:`loaded`: torch and Ultralytics make a million
    objects, and looking through them time and again was a seventh of a trainer's start."""
    before = gc.get_threshold()
    gc.set_threshold(0)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def loaded() -> None:
    """What is there stands to the end; what follows alone is looked through, as ever."""
    gc.freeze()
    gc.set_threshold(*_OWN)
