from __future__ import annotations

import pytest

from tests.support.clocks import SetClock
from trainmaster.bot.workspace.refusal import MethodRefusedError
from trainmaster.bot.workspace.state.passes import Rate, RateLimit, ResponseTarget, ResponseUrls, Tickets, TriggerIds

TARGET = ResponseTarget(channel_id="C1", user_id="U1")


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


def test_response_url_works_five_times(clock: SetClock) -> None:
    urls = ResponseUrls(clock)
    code = urls.issue(TARGET)
    for _ in range(5):
        assert urls.check(code) == TARGET
        urls.use(code)
    with pytest.raises(MethodRefusedError, match="used_url"):
        urls.check(code)


@pytest.mark.parametrize(("age_s", "works"), [(1_800.0, True), (1_800.1, False)], ids=["30 minutes", "later"])
def test_response_url_works_for_thirty_minutes(clock: SetClock, age_s: float, works: bool) -> None:
    urls = ResponseUrls(clock)
    code = urls.issue(TARGET)
    clock.ts += age_s
    if works:
        assert urls.check(code) == TARGET
    else:
        with pytest.raises(MethodRefusedError, match="expired_url") as refused:
            urls.check(code)
        assert refused.value.status == 404


@pytest.mark.parametrize(("age_s", "works"), [(3.0, True), (3.1, False)], ids=["3 seconds", "later"])
def test_trigger_id_works_for_three_seconds(clock: SetClock, age_s: float, works: bool) -> None:
    triggers = TriggerIds(clock)
    trigger_id = triggers.issue("U1")
    clock.ts += age_s
    if works:
        assert triggers.exchange(trigger_id) == "U1"
    else:
        with pytest.raises(MethodRefusedError, match="expired_trigger_id"):
            triggers.exchange(trigger_id)


def test_trigger_id_works_once(clock: SetClock) -> None:
    triggers = TriggerIds(clock)
    trigger_id = triggers.issue("U1")
    triggers.exchange(trigger_id)
    with pytest.raises(MethodRefusedError, match="exchanged_trigger_id"):
        triggers.exchange(trigger_id)


def test_invented_trigger_id_is_refused(clock: SetClock) -> None:
    with pytest.raises(MethodRefusedError, match="invalid_trigger_id"):
        TriggerIds(clock).exchange("1.2.3")


def test_ticket_works_once_and_only_when_issued() -> None:
    tickets = Tickets()
    ticket = tickets.issue()
    assert tickets.take(ticket)
    assert not tickets.take(ticket)
    assert not tickets.take("invented")


def test_burst_passes_and_the_next_call_waits(clock: SetClock) -> None:
    limit = RateLimit(Rate(per_s=1.0, burst=3), clock)
    for _ in range(3):
        limit.spend("C1")
    limit.spend("C2")
    with pytest.raises(MethodRefusedError, match="ratelimited") as refused:
        limit.spend("C1")
    assert refused.value.status == 429
    assert refused.value.retry_after_s is not None
    clock.ts += refused.value.retry_after_s
    limit.spend("C1")


def test_rate_in_the_long_run_is_kept(clock: SetClock) -> None:
    limit = RateLimit(Rate(per_s=0.5, burst=1), clock)
    passed = 0
    for _ in range(100):
        try:
            limit.spend("C1")
            passed += 1
        except MethodRefusedError:
            pass
        clock.ts += 0.5
    assert passed == 25
