"""Since when nobody listened to Slack: what comes right after such a time may have been said at any moment of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

AWAY_S: Final = 120.0
"""A silence of so long counts: a process that stood still, a host that slept, no socket. It is what makes a command old
(``OLD_S`` in :mod:`trainmaster.commands.age`)."""
AFTER_S: Final = 10.0
"""What was held back comes within so long: Slack hands it over as soon as the socket is open again."""


class Hearing:
    """Slash commands tell no time, so they are as old as the last moment at which the bot surely listened."""

    def __init__(self, clock: Callable[[], float], heard_ts: float | None = None) -> None:
        """``heard_ts``: when an earlier process last listened, as far as it is known."""
        self._clock = clock
        self._heard_ts = heard_ts
        self._away: tuple[float, float] | None = None
        """From when until when nobody listened, the last time."""

    def listens(self) -> None:
        """The socket is open and this process runs. Call it every few seconds while that holds."""
        now = self._clock()
        if self._heard_ts is not None and now - self._heard_ts > AWAY_S:
            self._away = (self._heard_ts, now)
        self._heard_ts = now

    def said_since(self) -> float | None:
        """What is delivered now was said no earlier than that; None while nothing can have been held back."""
        now = self._clock()
        if self._heard_ts is not None and now - self._heard_ts > AWAY_S:
            return self._heard_ts
        if self._away is not None and 0 <= now - self._away[1] <= AFTER_S:
            return self._away[0]
        return None
