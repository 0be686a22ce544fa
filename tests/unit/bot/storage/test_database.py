"""The file locked, damaged, deleted: at the start and in the middle."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.support.locking import locked
from tests.unit.bot.storage.test_alerts import record
from trainmaster.bot.core.conversation.message import Message
from trainmaster.bot.core.conversation.pin import Pin
from trainmaster.bot.errors import StoreError
from trainmaster.bot.ports import Posted
from trainmaster.bot.storage import refuge
from trainmaster.bot.storage.alerts import AlertStore
from trainmaster.bot.storage.database import Database, Durable
from trainmaster.bot.storage.messages import MessageStore
from trainmaster.bot.storage.pins import PinStore
from trainmaster.bot.storage.selections import SelectionStore
from trainmaster.bot.storage.silences import SilenceStore

FAULT = StoreError("state-database", "refused")


class Ticks:
    """A monotonic clock that moves when told."""

    def __init__(self) -> None:
        self.at_s = 0.0

    def __call__(self) -> float:
        return self.at_s


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "db.sqlite3"


def keys(database: Database) -> list[str]:
    return [one.key for one in MessageStore(database).pending(2e9)]


def fill(path: Path) -> None:
    database = Database(path)
    MessageStore(database).put("before", Message(title="before"))
    SelectionStore(database).choose("C1", "run-1")
    database.close()


def scribble(path: Path, *, whole: bool) -> bytes:
    """The file is no database any more, or only some of its pages are unreadable."""
    content = bytearray(path.read_bytes())
    start = 0 if whole else 3 * 4096
    content[start:] = b"\xff" * (len(content) - start)
    path.write_bytes(content)
    return bytes(content)


def test_file_that_others_lock_is_told_and_memory_takes_over(path: Path) -> None:
    fill(path)
    ticks = Ticks()
    database = Database(path, monotonic=ticks)
    with locked(path):
        with pytest.raises(StoreError, match="locked"), database.transaction():
            pass
        assert database.take_refuge(FAULT)
        MessageStore(database).put("during", Message(title="during"))
        assert keys(database) == ["before", "during"]
        ticks.at_s += 6
        assert not database.try_return()
    assert not database.try_return()
    ticks.at_s += 6
    assert database.try_return()
    assert database.refuge is None
    MessageStore(database).put("after", Message(title="after"))
    database.close()
    assert keys(Database(path)) == ["before", "during", "after"]


def test_file_that_is_locked_at_the_start_begins_in_memory_and_loses_nothing(path: Path) -> None:
    fill(path)
    ticks = Ticks()
    with locked(path):
        database = Database(path, patient=True, monotonic=ticks)
        assert database.refuge is not None
        assert "locked" in database.refuge.fault.message
        assert keys(database) == ["before"]
        MessageStore(database).mark_sent("before", 1, Posted(channel="C1", ts="1.0"))
    ticks.at_s += 6
    assert database.try_return()
    assert keys(database) == []
    assert SelectionStore(database).chosen("C1") == "run-1"


def test_directory_in_place_of_the_file_begins_empty_in_memory(path: Path) -> None:
    path.mkdir(parents=True)
    ticks = Ticks()
    database = Database(path, patient=True, monotonic=ticks)
    assert database.refuge is not None
    assert not database.refuge.seeded
    SilenceStore(database).add(until_ts=2e9, by="U1", now=1.0, run="r")
    MessageStore(database).put("during", Message(title="during"))
    path.rmdir()
    fill(path)
    ticks.at_s += 6
    assert database.try_return()
    assert sorted(keys(database)) == ["before", "during"]
    assert [one.run for one in SilenceStore(database).active(5.0)] == ["r"]


@pytest.mark.parametrize("whole", [True, False], ids=["no database", "some pages"])
def test_damaged_file_is_set_aside_untouched_and_a_new_one_begins(path: Path, whole: bool) -> None:
    fill(path)
    damaged = scribble(path, whole=whole)
    with pytest.raises(StoreError):
        Database(path)
    database = Database(path, patient=True)
    assert database.refuge is None
    assert database.set_aside is not None
    assert database.set_aside.place.read_bytes() == damaged
    assert database.set_aside.place.parent == path.parent
    MessageStore(database).put("after", Message(title="after"))
    database.close()
    again = Database(path, patient=True)
    assert again.set_aside is None
    assert "after" in keys(again)


def test_what_a_damaged_file_still_tells_is_taken_along(path: Path) -> None:
    fill(path)
    raw = sqlite3.connect(path)
    raw.execute("INSERT INTO operations VALUES ('op1', 'digits-1', 'open', 1, NULL, 1.0, 1.0, '{}')")
    (page,) = raw.execute("SELECT rootpage FROM sqlite_master WHERE name = 'journal_operation'").fetchone()
    raw.commit()
    raw.close()
    content = bytearray(path.read_bytes())
    content[(page - 1) * 4096 : page * 4096] = b"\xff" * 4096
    path.write_bytes(content)
    database = Database(path, patient=True)
    assert database.set_aside is not None
    assert database.set_aside.operations == ("op1 on digits-1",)
    assert keys(database) == ["before"]
    assert database.rows("SELECT * FROM operations") == []


def test_a_run_whose_revision_was_lost_with_a_page_still_has_its_alerts(path: Path) -> None:
    database = Database(path)
    AlertStore(database).save(record())
    database.execute("DELETE FROM alert_revisions")
    database.close()
    memory = refuge.salvage(path)
    assert [tuple(row) for row in memory.execute("SELECT run, revision FROM alert_revisions")] == [
        (record().alert.finding.run, 1)
    ]
    memory.close()


def test_file_that_is_deleted_is_noticed_and_written_anew(path: Path) -> None:
    fill(path)
    ticks = Ticks()
    database = Database(path, monotonic=ticks)
    assert not database.lost()
    path.unlink()
    assert database.lost()
    assert database.take_refuge(FAULT)
    ticks.at_s += 6
    assert database.try_return()
    assert not database.lost()
    database.close()
    assert keys(Database(path)) == ["before"]


def test_file_system_that_is_read_only_is_read_past_its_log(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands for what a read-only mount does: nothing can be written, and no shared memory made beside the file."""
    fill(path)
    connect = sqlite3.connect

    def refuse(where: object, **more: object) -> sqlite3.Connection:
        if where != ":memory:" and "immutable=1" not in str(where):
            raise sqlite3.OperationalError("attempt to write a readonly database")
        return connect(where, **more)  # type: ignore[call-overload, no-any-return]  # as given

    monkeypatch.setattr(sqlite3, "connect", refuse)
    database = Database(path, patient=True)
    assert database.refuge is not None
    assert database.refuge.seeded
    assert keys(database) == ["before"]


def test_newer_schema_is_refused_even_by_the_patient(path: Path) -> None:
    fill(path)
    raw = sqlite3.connect(path)
    raw.execute("PRAGMA user_version=999")
    raw.close()
    with pytest.raises(StoreError, match="newer Trainmaster"):
        Database(path, patient=True)
    assert path.exists()


def test_what_must_survive_a_crash_is_refused_in_memory(path: Path) -> None:
    fill(path)
    database = Database(path)
    durable = Durable(database)
    durable.execute("INSERT INTO selections VALUES ('C2', 'run-2')")
    database.take_refuge(FAULT)
    assert len(durable.rows("SELECT * FROM selections")) == 2
    for refused in (lambda: durable.execute("DELETE FROM selections"), durable.transaction):
        with pytest.raises(StoreError):
            refused()
    database.refuge.seeded = False  # type: ignore[union-attr]  # taken above
    with pytest.raises(StoreError):
        durable.rows("SELECT * FROM selections")


def test_refuge_is_not_taken_twice_nor_within_a_transaction(path: Path) -> None:
    database = Database(path)
    with database.transaction():
        assert not database.take_refuge(FAULT)
    assert database.take_refuge(FAULT)
    assert not database.take_refuge(FAULT)


def test_each_step_of_the_schema_has_a_number_of_its_own() -> None:
    numbers = [path.name[:3] for path in (Path(__file__).parents[4] / "bot" / "storage").glob("*.sql")]
    assert sorted(set(numbers)) == sorted(numbers)


DURABLE = {"approvals", "votes", "operations", "journal", "intents", "audit_due"}
"""Are refused without the file, or not used."""


def test_every_table_comes_home_from_memory_unless_it_is_refused_there(path: Path) -> None:
    database = Database(path)
    tables = {row["name"] for row in database.rows("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert set(refuge._TABLES) == tables - DURABLE - {"sqlite_sequence"}


def test_a_pin_of_a_time_without_the_file_is_known_after_it(path: Path) -> None:
    ticks = Ticks()
    database = Database(path, monotonic=ticks)
    assert database.take_refuge(FAULT)
    PinStore(database).note(Pin(key="run/card", channel="C1", ts="1.0"))
    ticks.at_s += 6
    assert database.try_return()
    assert [pin.place for pin in PinStore(database).all()] == [("C1", "1.0")]
