"""Slack delivers an event again when it is not sure that it arrived: at once, after a minute, after five."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Protocol

REMEMBERED_S: Final = 600.0
"""Longer than the last retry."""
_MAX_REMEMBERED: Final = 10_000


class SeenBefore(Protocol):
    """What was delivered before."""

    def first(self, key: str) -> bool:
        """Whether ``key`` was not seen lately; it now was.

        Raises:
            StoreError: nobody can tell.
        """
        ...

    def known(self, key: str) -> bool:
        """Whether ``key`` was seen lately; that is no sight of it.

        Raises:
            StoreError: nobody can tell.
        """
        ...


class SeenEvents:
    """Remembers what was seen in the last ten minutes: by this process, which is all there is without a store."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._seen: OrderedDict[str, float] = OrderedDict()

    def first(self, key: str) -> bool:
        """Whether ``key`` was not seen lately; it now was."""
        now = self._monotonic()
        while self._seen:
            oldest, since = next(iter(self._seen.items()))
            if now - since < REMEMBERED_S and len(self._seen) < _MAX_REMEMBERED:
                break
            del self._seen[oldest]
        if key in self._seen:
            return False
        self._seen[key] = now
        return True

    def known(self, key: str) -> bool:
        """Whether ``key`` was seen lately; that is no sight of it."""
        since = self._seen.get(key)
        return since is not None and self._monotonic() - since < REMEMBERED_S
