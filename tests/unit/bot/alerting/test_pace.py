from __future__ import annotations

import itertools

import pytest

from trainmaster.bot.alerting.limits import DeliveryLimits
from trainmaster.bot.alerting.pace import Pace
from trainmaster.bot.core.alerts.delivery import Urgency

LIMITS = DeliveryLimits(burst=4, messages_per_s=1.0)


def spent(num: int, now: float = 0.0) -> Pace:
    pace = Pace(LIMITS, now)
    for _ in range(num):
        pace.spend(now)
    return pace


@pytest.mark.parametrize(
    ("num_spent", "urgency", "wait_s"),
    [
        (0, Urgency.LATER, 0),
        (1, Urgency.LATER, 0),
        (2, Urgency.LATER, 1),
        (2, Urgency.SOON, 0),
        (3, Urgency.SOON, 1),
        (3, Urgency.NOW, 0),
        (4, Urgency.NOW, 1),
        (4, Urgency.LATER, 3),
    ],
    ids=["fresh", "burst", "two-are-kept", "for-warnings", "last-is-kept", "for-critical", "spent", "spent-for-edits"],
)
def test_last_tokens_are_kept_for_what_is_urgent(num_spent: int, urgency: Urgency, wait_s: float) -> None:
    assert spent(num_spent).wait_s(0.0, urgency=urgency) == pytest.approx(wait_s)


def test_a_pace_without_bursts_serves_everything() -> None:
    pace = Pace(DeliveryLimits(burst=1), 0.0)
    assert [pace.wait_s(0.0, urgency=urgency) for urgency in Urgency] == [0, 0, 0]


def test_steady_rate_is_one_message_a_second() -> None:
    pace, now, sent = spent(4), 0.0, []
    for _ in range(20):
        now += pace.wait_s(now, urgency=Urgency.LATER)
        pace.spend(now)
        sent.append(now)
    assert [round(b - a, 6) for a, b in itertools.pairwise(sent[1:])] == [1.0] * 18


def test_retry_after_is_honoured_by_urgent_messages_too() -> None:
    pace = Pace(LIMITS, 0.0)
    pace.limited(0.0, 30.0)
    assert pace.wait_s(0.0, urgency=Urgency.NOW) == 30.0
    assert pace.wait_s(30.0, urgency=Urgency.NOW) == 0.0


def test_failures_back_off_exponentially_up_to_the_limit_and_success_forgets_them() -> None:
    pace = Pace(LIMITS, 0.0)
    assert [pace.failed(0.0, lambda: 1.0) for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    pace.succeeded()
    assert pace.failed(0.0, lambda: 0.0) == 0.5


def test_clock_put_back_lengthens_no_pause() -> None:
    pace = Pace(LIMITS, 10_000.0)
    pace.limited(10_000.0, 30.0)
    assert pace.wait_s(0.0, urgency=Urgency.NOW) == 30.0
    assert pace.wait_s(30.0, urgency=Urgency.NOW) == 0.0


def test_infinite_retry_after_is_a_long_pause() -> None:
    pace = Pace(LIMITS, 0.0)
    pace.limited(0.0, float("inf"))
    assert pace.wait_s(0.0, urgency=Urgency.NOW) == LIMITS.backoff_max_s


def test_rate_falls_with_each_429_and_recovers_with_each_message_taken() -> None:
    pace = spent(4)
    pace.limited(0.0, 0.0)
    assert pace.wait_s(0.0, urgency=Urgency.NOW) == pytest.approx(1 / 0.8)
    for _ in range(20):
        pace.limited(0.0, 0.0)
    assert pace.wait_s(0.0, urgency=Urgency.NOW) == pytest.approx(1 / 0.2)
    for _ in range(100):
        pace.succeeded()
    assert pace.wait_s(0.0, urgency=Urgency.NOW) == pytest.approx(1.0)
