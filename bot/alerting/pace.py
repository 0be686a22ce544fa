"""How fast one channel may be written to."""

from __future__ import annotations

import math
from collections.abc import Callable

from trainmaster.bot.alerting.limits import DeliveryLimits
from trainmaster.bot.core.alerts.delivery import Urgency

_SLOWER, _FASTER, _SLOWEST = 0.8, 1.02, 0.2
_SHORTEST_WAIT_S = 0.001


class Pace:
    """Tokens for one channel, and pauses after Slack asked for one or failed.

    Each 429 makes the rate a fifth slower, each message taken a fiftieth faster again, so that a workspace that allows
    less than the documents say is not asked in vain each time. The last token is kept for critical alerts that nobody
    has seen yet, the one before it for them and for warnings: a storm of edits delays an alert by nothing. A clock that
    is put back lengthens no wait by more than the wait itself.
    """

    def __init__(self, limits: DeliveryLimits, now: float) -> None:
        self._limits = limits
        self._tokens = float(limits.burst)
        self._filled_ts = now
        self._pause_from_ts = now
        self._pause_s = 0.0
        self._limited = False
        """Whether Slack asked for the pause, which binds critical messages too."""
        self._per_s = limits.messages_per_s
        self.num_failures = 0

    def wait_s(self, now: float, *, urgency: Urgency) -> float:
        """How long to wait before the next message; 0 when it may go now."""
        self._fill(now)
        self._pause_from_ts = min(self._pause_from_ts, now)
        pause_s = self._pause_s
        if urgency is Urgency.NOW and not self._limited:
            pause_s = min(pause_s, self._limits.critical_retry_s)
        paused_s = max(0.0, self._pause_from_ts + pause_s - now)
        kept = min(Urgency.NOW - urgency, self._limits.burst - 1)
        missing = max(0.0, 1.0 + kept - self._tokens)
        wait_s = max(paused_s, missing / self._per_s)
        # Less than the clock can resolve would be waited for again and again.
        return max(wait_s, _SHORTEST_WAIT_S) if wait_s > 1e-9 else 0.0

    def limited_s(self, now: float) -> float:
        """How much longer Slack wants nothing; 0 when it takes messages."""
        return max(0.0, self._pause_from_ts + self._pause_s - now) if self._limited else 0.0

    def spend(self, now: float) -> None:
        """A message is sent now."""
        self._fill(now)
        self._tokens = max(0.0, self._tokens - 1.0)

    def limited(self, now: float, retry_after_s: float) -> None:
        """Slack asked for a pause: its own count is fuller than ours, so no burst follows."""
        self._pause(now, retry_after_s if math.isfinite(retry_after_s) else self._limits.backoff_max_s)
        self._limited = True
        self._tokens = min(self._tokens, 1.0)
        self._per_s = max(_SLOWER * self._per_s, _SLOWEST * self._limits.messages_per_s)

    def failed(self, now: float, random: Callable[[], float], *, critical: bool = False) -> float:
        """A delivery failed; returns the pause, doubled with each failure in a row, between half and all of it by
        chance, so that many bots do not come back at once. After a ``critical`` one it is short."""
        self.num_failures += 1
        longest_s = self._limits.backoff_s * 2.0 ** min(self.num_failures - 1, 30)
        pause_s = min(longest_s, self._limits.backoff_max_s) * (0.5 + random() / 2)
        if critical:
            pause_s = min(pause_s, self._limits.critical_retry_s)
        if self.limited_s(now) < pause_s:
            self._pause(now, pause_s)
        return pause_s

    def succeeded(self) -> None:
        """A delivery was taken."""
        self.num_failures = 0
        self._pause_s, self._limited = 0.0, False
        self._per_s = min(_FASTER * self._per_s, self._limits.messages_per_s)

    def _pause(self, now: float, pause_s: float) -> None:
        self._pause_from_ts, self._pause_s, self._limited = now, max(0.0, pause_s), False

    def _fill(self, now: float) -> None:
        gained = max(0.0, now - self._filled_ts) * self._per_s
        self._tokens = min(float(self._limits.burst), self._tokens + gained)
        self._filled_ts = now
