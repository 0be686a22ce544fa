"""How tensors, settings and files are named where there may be many of them. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final

from trainmaster.trainer.checkpoints.limits import LimitError

NUM_NAMES_SHOWN: Final = 3

MAX_NAME_CHARS: Final = 1000
"""Of a tensor or a setting. A module's name is below 60; one that grows with each of 200 levels fills the memory."""


def few(names: Sequence[str]) -> str:
    """The first of ``names``, and that there are more."""
    shown = ", ".join(names[:NUM_NAMES_SHOWN])
    return shown if len(names) <= NUM_NAMES_SHOWN else f"{shown}, ..."


def some(names: Sequence[str], most: int = NUM_NAMES_SHOWN, *, between: str = ", ") -> str:
    """The first ``most`` of ``names``, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{between.join(names[:most])}{more}"


def first_few(names: Iterable[str]) -> str:
    """As :func:`few`, of names that are made one by one and may be very many; empty where there are none."""
    return few(list(islice(names, NUM_NAMES_SHOWN + 1)))


def below(path: str, key: object) -> str:
    """The name of what ``key`` leads to from ``path``.

    Raises:
        LimitError: no name is so long.
    """
    name = f"{path}.{key}" if path else str(key)
    if len(name) > MAX_NAME_CHARS:
        raise LimitError(f"something in it has a name of {len(name)} characters")
    return name
