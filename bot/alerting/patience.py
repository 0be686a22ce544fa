"""How long a message that fails goes first all the same. Counted in time, since three failures can take a second."""

from __future__ import annotations

from dataclasses import dataclass

from trainmaster.bot.alerting.limits import DeliveryLimits
from trainmaster.bot.core.alerts.delivery import Delivery, Urgency


@dataclass(slots=True, kw_only=True)
class _Failing:
    since_ts: float
    num_taken: int
    """Messages that its lane had taken when it failed last."""
    num_alone: int = 0
    """How often it failed although its lane had taken another one meanwhile: then the fault is its own."""


class Patience:
    """What fails in each lane, since when, and whether anything passed meanwhile."""

    def __init__(self, limits: DeliveryLimits) -> None:
        self._limits = limits
        self._failing: dict[str, _Failing] = {}
        self._taken: dict[str, int] = {}

    def failed(self, delivery: Delivery, now: float, pause_s: float) -> float:
        """After how many seconds the message is tried again, where ``pause_s`` is its lane's pause: before its lane
        goes on, so that it keeps its place in front, or after it, so that others pass."""
        num_taken = self._taken.get(delivery.lane, 0)
        known = self._failing.get(delivery.key)
        if known is None or now < known.since_ts:
            known = _Failing(since_ts=now, num_taken=num_taken)
            self._failing[delivery.key] = known
        elif num_taken > known.num_taken:
            known.num_alone += 1
            known.num_taken = num_taken
        critical = delivery.urgency is Urgency.NOW
        patience_s = self._limits.critical_patience_s if critical else self._limits.patience_s
        if known.num_alone == 0 and now - known.since_ts < patience_s:
            return pause_s / 2
        if critical:
            return 1.5 * pause_s  # one lesser message is tried in between, and no more
        return min(2 * pause_s * 2.0 ** min(known.num_alone, 10), self._limits.backoff_max_s)

    def own_fault(self, key: str) -> bool:
        """Whether the message failed again and again while others of its lane were taken."""
        known = self._failing.get(key)
        return known is not None and known.num_alone >= self._limits.tries_before_aside

    def alone(self) -> tuple[str, ...]:
        """Messages that a success of another one does not help."""
        return tuple(key for key, known in self._failing.items() if known.num_alone)

    def taken(self, delivery: Delivery) -> None:
        """Slack took the message."""
        self._failing.pop(delivery.key, None)
        self._taken[delivery.lane] = self._taken.get(delivery.lane, 0) + 1
