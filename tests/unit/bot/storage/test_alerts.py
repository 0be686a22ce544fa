from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from trainmaster.bot.core.alerts.alert import Alert, AlertState
from trainmaster.bot.core.alerts.alert_record import AlertRecord, Told
from trainmaster.bot.core.alerts.finding import Finding, Nature, Severity
from trainmaster.bot.errors import StoreError
from trainmaster.bot.storage.alerts import AlertStore
from trainmaster.bot.storage.database import Database
from trainmaster.bot.storage.silences import SilenceStore

NOW = 1_700_000_000.0


def record(key: str = "a", *, is_open: bool = True, told: bool = True, **changes: object) -> AlertRecord:
    finding = Finding(
        run="run", check="stalled", key=key, severity=Severity.CRITICAL, nature=Nature.OCCURRENCE, ts=NOW, title="t"
    )
    alert = replace(Alert(finding=finding, state=AlertState.FIRING, since_ts=NOW, updated_ts=NOW, told=told), **changes)
    word = Told(ts=NOW, fired_ts=NOW, times_fired=1, severity=Severity.WARNING, num_repeats=2, called=True)
    return AlertRecord(alert=alert, told=word if told else None, is_open=is_open)


@pytest.fixture
def database() -> Iterator[Database]:
    one = Database(Path(":memory:"))
    yield one
    one.close()


@pytest.mark.parametrize(
    "one",
    [
        record(),
        record(told=False),
        record(acked_by="U1", acked_ts=NOW + 1, times_fired=3),
        record(state=AlertState.RESOLVED, resolved_ts=NOW + 2, is_open=False),
        record("img\udcff"),
    ],
    ids=["told", "untold", "acked", "resolved", "no-unicode"],
)
def test_standing_is_read_as_it_was_saved(database: Database, one: AlertRecord) -> None:
    AlertStore(database).save(one)
    assert AlertStore(database).get(one.alert.fingerprint) == one


def test_unknown_fingerprint_is_none(database: Database) -> None:
    assert AlertStore(database).get("run/x/y") is None


def test_look_gives_open_standings_and_those_of_the_findings(database: Database) -> None:
    store = AlertStore(database)
    store.save(record("open"))
    store.save(record("closed", is_open=False))
    store.save(record("found", is_open=False))
    found = record("found").alert.finding
    records, findings = store.look("run", [found])
    assert sorted(records) == ["run/stalled/found", "run/stalled/open"]
    assert findings == (found,)


def test_retired_occurrence_is_left_out_until_it_changes(database: Database) -> None:
    store = AlertStore(database)
    store.save(record(is_open=False))
    finding = record().alert.finding
    store.retire("run", [finding])
    assert store.look("run", [finding]) == ({}, ())
    changed = replace(finding, title="more")
    assert store.look("run", [changed])[1] == (changed,)


def test_condition_is_never_retired(database: Database) -> None:
    store = AlertStore(database)
    condition = replace(record().alert.finding, nature=Nature.CONDITION)
    store.retire("run", [condition])
    assert store.look("run", [condition])[1] == (condition,)


def test_rolled_back_save_is_forgotten(database: Database) -> None:
    store = AlertStore(database)
    store.save(record("kept"))
    finding = record("lost").alert.finding

    def fail() -> None:
        with database.transaction():
            store.save(record("lost", is_open=False))
            store.retire("run", [finding])
            store.save(replace(record("kept"), is_open=False))
            raise StoreError("x", "y")

    with pytest.raises(StoreError):
        fail()
    records, findings = store.look("run", [finding])
    assert list(records) == ["run/stalled/kept"]
    assert findings == (finding,)


def test_many_findings_are_looked_up_at_once(database: Database) -> None:
    store = AlertStore(database)
    findings = [replace(record().alert.finding, key=f"{i}") for i in range(1200)]
    store.save(record("1100", is_open=False))
    assert list(store.look("run", findings)[0]) == ["run/stalled/1100"]


def test_firing_is_newest_first_and_by_run(database: Database) -> None:
    store = AlertStore(database)
    store.save(record("old", since_ts=NOW - 5))
    store.save(record("new"))
    store.save(record("over", state=AlertState.RESOLVED))
    assert [one.alert.finding.key for one in store.firing(None, NOW)] == ["new", "old"]
    assert store.firing("other", NOW) == ()


def test_occurrences_that_are_no_news_are_not_read(database: Database) -> None:
    store = AlertStore(database)
    info = replace(record("info").alert.finding, severity=Severity.INFO)
    store.save(record("info", is_open=False, finding=info))
    store.save(record("acked", is_open=False, acked_by="U1", acked_ts=NOW))
    store.save(record("old", is_open=False, since_ts=NOW - 5))
    store.save(record("news", is_open=False))
    assert [one.alert.finding.key for one in store.firing("run", NOW)] == ["news"]


def test_burst_is_what_was_told_since_oldest_first(database: Database) -> None:
    store = AlertStore(database)
    for key in ("b", "a", "c"):
        store.save(record(key))
    store.save(replace(record("b"), is_open=False))
    store.save(record("untold", told=False))
    assert [one.alert.finding.key for one in store.told_since("run", "stalled", NOW)] == ["b", "a", "c"]
    assert store.told_since("run", "stalled", NOW + 1) == ()
    assert store.told_since("run", "other", NOW) == ()


def test_first_sight_of_a_run_is_remembered(database: Database) -> None:
    assert AlertStore(database).first_seen("/runs/a", NOW) == NOW
    assert AlertStore(database).first_seen("/runs/a", NOW + 500) == NOW
    assert AlertStore(database).first_seen("/runs/b", NOW + 500) == NOW + 500


def test_damaged_row_hides_no_other(database: Database) -> None:
    store = AlertStore(database)
    store.save(record("bad"))
    store.save(record("good"))
    database.execute("UPDATE alerts SET finding = '{' WHERE fingerprint = 'run/stalled/bad'")
    assert [one.alert.finding.key for one in AlertStore(database).firing(None, NOW)] == ["good"]


def test_silence_holds_until_its_end_or_until_it_is_ended(database: Database) -> None:
    store = SilenceStore(database)
    long = store.add(until_ts=NOW + 200, by="U1", now=NOW, run="run", check="disk*", max_severity=Severity.WARNING)
    short = store.add(until_ts=NOW + 100, by="U2", now=NOW, fingerprint="run/stalled/a")
    assert store.active(NOW) == (long, short)
    assert store.active(NOW + 100) == (long,)
    assert store.end(long.id, "U3", NOW + 150)
    assert not store.end(long.id, "U3", NOW + 160)
    assert store.active(NOW + 150) == ()
    assert database.rows("SELECT ended_by FROM silences WHERE id = ?", (long.id,))[0]["ended_by"] == "U3"
