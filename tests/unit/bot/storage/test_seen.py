from __future__ import annotations

from pathlib import Path

from tests.unit.bot.alerting.fakes import SetClock
from trainmaster.bot.storage.database import Database
from trainmaster.bot.storage.seen import REMEMBERED_S, SeenStore


def test_what_was_seen_is_known_after_a_restart(tmp_path: Path) -> None:
    clock = SetClock()
    database = Database(tmp_path / "state.db")
    assert SeenStore(database, clock.now).first("slash/1")
    database.close()
    clock.ts += REMEMBERED_S - 1
    again = SeenStore(Database(tmp_path / "state.db"), clock.now)
    assert not again.first("slash/1")
    assert again.first("slash/2")


def test_after_an_hour_it_is_forgotten() -> None:
    clock = SetClock()
    seen = SeenStore(Database(Path(":memory:")), clock.now)
    seen.first("Ev1")
    clock.ts += REMEMBERED_S + 1
    assert seen.first("Ev1")


def test_a_clock_put_back_by_a_day_forgets_and_goes_on() -> None:
    clock = SetClock()
    seen = SeenStore(Database(Path(":memory:")), clock.now)
    seen.first("Ev1")
    clock.ts -= 86_400
    assert seen.first("Ev1")
    assert not seen.first("Ev1")


def test_looking_something_up_is_no_sight_of_it() -> None:
    clock = SetClock()
    seen = SeenStore(Database(Path(":memory:")), clock.now)
    assert not seen.known("click")
    assert seen.first("click")
    assert seen.known("click")
    clock.ts += REMEMBERED_S + 1
    assert not seen.known("click")
