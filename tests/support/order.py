"""In which order the files of the suite are begun, so that several test processes end at about the same time.

Tests of one file stay in one process: they share what a fixture of the module has trained.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import Final

import pytest

DEFAULT_LIMIT_S: Final = 120.0
"""As in pyproject.toml."""
_WAITING: Final = ("tests/attack/", "tests/crash/", "tests/integration/bot/")
"""Their tests mostly wait for others' clocks."""
_COMPUTING: Final = ("tests/integration/trainer/", "tests/installed/")
"""Their tests take a processor."""


def balanced(items: Iterable[pytest.Item]) -> list[pytest.Item]:
    """``items``, file by file: files that wait and files that compute by turns, the longest of each first. Behind those
    that compute come the many small ones, which compute as well: files that wait among themselves keep no processor
    busy."""
    files: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        files[item.nodeid.partition("::")[0]].append(item)
    waiting, computing, small = (
        sorted((name for name in files if _kind(name) == kind), key=lambda name: _size(files[name]), reverse=True)
        for kind in range(3)
    )
    return [item for name in _by_turns(waiting, computing + small) for item in files[name]]


def _time_limit_s(item: pytest.Item) -> float:
    """The test's own, or what all have."""
    limit = item.get_closest_marker("timeout")
    return max(float(limit.args[0]), DEFAULT_LIMIT_S) if limit and limit.args else DEFAULT_LIMIT_S


def _kind(name: str) -> int:
    if name.startswith(_WAITING):
        return 0
    return 1 if name.startswith(_COMPUTING) else 2


def _size(items: Sequence[pytest.Item]) -> float:
    """Who asks for more time than all have needs it; otherwise the number of tests has to do."""
    return sum(_time_limit_s(item) / DEFAULT_LIMIT_S for item in items) + max(map(_time_limit_s, items))


def _by_turns(first: Sequence[str], second: Sequence[str]) -> Iterator[str]:
    for pair in zip_longest(first, second):
        yield from (name for name in pair if name is not None)
