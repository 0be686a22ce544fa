"""How tensors, settings and files are named where there may be many of them. Loads no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

NUM_NAMES_SHOWN: Final = 3


def few(names: Sequence[str]) -> str:
    """The first of ``names``, and that there are more."""
    shown = ", ".join(names[:NUM_NAMES_SHOWN])
    return shown if len(names) <= NUM_NAMES_SHOWN else f"{shown}, ..."
