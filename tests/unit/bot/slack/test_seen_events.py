from __future__ import annotations

from trainmaster.bot.slack.seen_events import REMEMBERED_S, SeenEvents


class Stopwatch:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_retry_within_ten_minutes_is_not_new() -> None:
    watch = Stopwatch()
    once = SeenEvents(watch)
    assert once.first("Ev1")
    watch.now_s = REMEMBERED_S - 1
    assert not once.first("Ev1")


def test_another_event_is_new() -> None:
    once = SeenEvents(Stopwatch())
    assert once.first("Ev1")
    assert once.first("Ev2")


def test_what_is_older_is_forgotten() -> None:
    watch = Stopwatch()
    once = SeenEvents(watch)
    once.first("Ev1")
    watch.now_s = REMEMBERED_S
    assert once.first("Ev1")


def test_a_flood_costs_a_bounded_memory() -> None:
    once = SeenEvents(Stopwatch())
    assert all(once.first(f"Ev{number}") for number in range(10_001))
    assert once.first("Ev0")
    assert not once.first("Ev10000")
