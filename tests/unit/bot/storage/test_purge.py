"""What is long over goes to the archive and out of the database; nothing else does, and a kill loses nothing."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.bot.alerting.fakes import NOW, RUN, Desk, finding
from trainmaster.bot.core.alerts.finding import Finding, Nature
from trainmaster.bot.core.conversation.message import Message
from trainmaster.bot.core.keeping import StorageLimits
from trainmaster.bot.errors import StoreError
from trainmaster.bot.storage.database import Database
from trainmaster.bot.storage.purge import Purge

YEAR_S = 366 * 86_400.0
CRASH = finding("run_crashed", nature=Nature.OCCURRENCE)


class Keeper:
    """A desk that is purged."""

    def __init__(self, folder: Path, *, batch: int = 200, watched: tuple[str, ...] = ()) -> None:
        self.archive = folder / "archive.jsonl"
        self.desk = Desk(path=folder / "state.sqlite3")
        self.limits = StorageLimits(batch=batch)
        self.watched = watched

    @property
    def purge(self) -> Purge:
        return Purge(
            database=self.desk.database,
            archive=self.archive,
            limits=self.limits,
            clock=self.desk.clock,
            watched=lambda: self.watched,
        )

    def count(self, table: str) -> int:
        return int(self.desk.database.rows(f"SELECT count(*) FROM {table}")[0][0])

    def archived(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.archive.read_text().splitlines()]

    def told_and_over(self, **changes: object) -> Finding:
        one = replace(finding(), **changes)  # type: ignore[arg-type]
        self.desk.look(one)
        self.desk.send_all()
        self.desk.look(after_s=1)
        self.desk.look(after_s=100)
        self.desk.send_all()
        return one


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    return Keeper(tmp_path)


async def test_what_was_over_for_a_year_is_in_the_archive_alone(keeper: Keeper) -> None:
    alert = keeper.told_and_over()
    keeper.desk.pipeline.silence_where("U1", NOW + 300, NOW + 200, run=RUN)
    rows = {table: keeper.count(table) for table in ("alerts", "messages", "silences")}
    keeper.desk.clock.pass_s(YEAR_S)
    assert await keeper.purge.run() == sum(rows.values()) + 1
    assert [keeper.count(table) for table in rows] == [0, 0, 0]
    assert {table: sum(one["table"] == table for one in keeper.archived()) for table in rows} == rows
    (kept,) = [one["row"] for one in keeper.archived() if one["table"] == "alerts"]
    assert (kept["fingerprint"], kept["state"]) == (alert.fingerprint, "resolved")


async def test_what_was_over_for_less_stays(keeper: Keeper) -> None:
    keeper.told_and_over()
    keeper.desk.clock.pass_s(YEAR_S - 3 * 86_400)
    assert await keeper.purge.run() == 0
    assert not keeper.archive.exists()


def _fires(keeper: Keeper) -> None:
    keeper.desk.look(finding())
    keeper.desk.send_all()


def _waits_for_slack(keeper: Keeper) -> None:
    keeper.desk.messages.put("m", Message(title="nobody has it yet"))


def _thread_goes_on(keeper: Keeper) -> None:
    keeper.desk.messages.put("root", Message(title="root"))
    keeper.desk.messages.put("answer", Message(title="waits"), thread_of="root")


def _question_is_open(keeper: Keeper) -> None:
    keeper.desk.database.execute("INSERT INTO approvals VALUES ('a', 'run', 'pending', 1.0, '{}')")


def _operation_is_open(keeper: Keeper) -> None:
    keeper.desk.database.execute("INSERT INTO operations VALUES ('o', 'run', 'open', 1, NULL, 1.0, 1.0, '{}')")
    keeper.desk.database.execute("INSERT INTO journal VALUES (1, 'o', 1.0, 'stop', 'done', '', 1)")


@pytest.mark.parametrize("make", [_fires, _waits_for_slack, _thread_goes_on, _question_is_open, _operation_is_open])
async def test_what_is_not_over_stays_however_old(keeper: Keeper, make: Callable[[Keeper], None]) -> None:
    make(keeper)
    keeper.desk.clock.pass_s(5 * YEAR_S)
    await keeper.purge.run()
    assert not keeper.archive.exists()


async def test_a_finished_operation_goes_with_its_journal_and_a_question_with_its_votes(keeper: Keeper) -> None:
    database = keeper.desk.database
    database.execute("INSERT INTO operations VALUES ('o', 'run', 'done', 1, NULL, 1.0, 1.0, '{}')")
    database.execute("INSERT INTO operations VALUES ('new', 'run', 'done', 1, NULL, 1.0, ?, '{}')", (NOW + YEAR_S,))
    for number, operation in enumerate(["o", "o", "new"]):
        database.execute("INSERT INTO journal VALUES (?, ?, 1.0, 'stop', 'done', '', 1)", (number, operation))
    database.execute("INSERT INTO approvals VALUES ('a', 'run', 'approved', 1.0, '{}')")
    database.execute("INSERT INTO votes VALUES ('a', 'U1', 1.0)")
    keeper.desk.clock.pass_s(YEAR_S)
    assert await keeper.purge.run() == 5
    assert [keeper.count(table) for table in ("operations", "journal", "approvals", "votes")] == [1, 1, 0, 0]
    assert [one["table"] for one in keeper.archived()].count("journal") == 2


async def test_the_journal_of_an_operation_that_stands_can_not_be_cut(keeper: Keeper) -> None:
    _operation_is_open(keeper)
    with pytest.raises(Exception, match="append-only"):
        keeper.desk.database.execute("DELETE FROM journal")


async def test_an_old_occurrence_that_its_run_still_shows_is_not_told_again(keeper: Keeper) -> None:
    keeper.desk.look(CRASH)
    keeper.desk.send_all()
    keeper.desk.clock.pass_s(YEAR_S)
    await keeper.purge.run()
    assert keeper.count("alerts") == 0
    assert not keeper.desk.look(CRASH).told
    assert keeper.desk.wanted() == {}
    assert keeper.count("alerts") == 0


async def test_an_alert_that_fires_once_more_after_its_purge_is_told(keeper: Keeper) -> None:
    alert = keeper.told_and_over()
    keeper.desk.clock.pass_s(YEAR_S)
    await keeper.purge.run()
    keeper.desk.look(alert)
    assert [key for key, _ in keeper.desk.send_all()] == [alert.fingerprint]


async def test_what_a_kill_left_in_archive_and_database_is_not_archived_twice(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper.desk.messages.put("earlier", Message(title="earlier"))
    keeper.desk.send_all()
    keeper.desk.clock.pass_s(YEAR_S)
    await keeper.purge.run()
    keeper.told_and_over()
    keeper.desk.clock.pass_s(YEAR_S)
    rows, execute = keeper.count("messages"), Database.execute

    def killed(self: Database, sql: str, parameters: tuple[object, ...] = ()) -> Any:
        if sql.startswith("DELETE FROM messages"):
            raise StoreError("state-database", "killed")
        return execute(self, sql, parameters)

    with monkeypatch.context() as patched:
        patched.setattr(Database, "execute", killed)
        with pytest.raises(StoreError):
            await keeper.purge.run()
    assert keeper.count("messages") == rows
    keeper.desk.clock.pass_s(10)
    await keeper.purge.run()
    keys = [one["row"]["key"] for one in keeper.archived() if one["table"] == "messages"]
    assert keeper.count("messages") == 0
    assert len(set(keys)) == len(keys) == rows + 1


async def test_a_full_disk_leaves_no_part_of_a_move_in_the_archive(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper.told_and_over()
    keeper.desk.clock.pass_s(YEAR_S)
    write, room = os.write, [100]

    def full(descriptor: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = write(descriptor, data[: room[0]])
        room[0] -= written
        return written

    with monkeypatch.context() as patched:
        patched.setattr("trainmaster.bot.storage.purge.os.write", full)
        with pytest.raises(StoreError, match="nothing was removed"):
            await keeper.purge.run()
    assert keeper.archived() == []
    await keeper.purge.run()
    assert [one["table"] for one in keeper.archived()] == ["alerts", "messages", "messages"]


async def test_a_line_that_a_kill_cut_off_is_taken_back(keeper: Keeper) -> None:
    keeper.archive.write_text('{"archived_ts":1,"table":"seen","row":{}}\n{"archived_ts":1,"table": "alerts", "ro')
    keeper.told_and_over()
    keeper.desk.clock.pass_s(YEAR_S)
    await keeper.purge.run()
    assert [one["table"] for one in keeper.archived()] == ["seen", "alerts", "messages", "messages"]


async def test_an_archive_that_was_moved_away_begins_anew(keeper: Keeper) -> None:
    for name in ("one", "two"):
        keeper.desk.messages.put(name, Message(title=name))
        keeper.desk.send_all()
        keeper.desk.clock.pass_s(YEAR_S)
        await keeper.purge.run()
        assert [one["row"]["key"] for one in keeper.archived()] == [name]
        keeper.archive.unlink()


async def test_only_the_owner_reads_the_archive(keeper: Keeper) -> None:
    keeper.archive.write_text("")
    keeper.archive.chmod(0o644)
    keeper.told_and_over()
    keeper.desk.clock.pass_s(YEAR_S)
    await keeper.purge.run()
    assert stat.S_IMODE(keeper.archive.stat().st_mode) == 0o600


async def test_an_archive_that_can_not_be_written_leaves_the_database_as_it_is(keeper: Keeper) -> None:
    keeper.archive.mkdir()
    keeper.told_and_over()
    rows = keeper.count("alerts")
    keeper.desk.clock.pass_s(YEAR_S)
    with pytest.raises(StoreError, match="nothing was removed"):
        await keeper.purge.run()
    assert keeper.count("alerts") == rows


async def test_a_link_in_the_place_of_the_archive_is_not_followed(keeper: Keeper, tmp_path: Path) -> None:
    keeper.archive.symlink_to(tmp_path / "elsewhere")
    keeper.told_and_over()
    keeper.desk.clock.pass_s(YEAR_S)
    with pytest.raises(StoreError):
        await keeper.purge.run()
    assert not (tmp_path / "elsewhere").exists()


async def test_many_rows_go_in_small_moves(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path, batch=3)
    for number in range(10):
        keeper.desk.messages.put(f"m{number}", Message(title=f"{number}"))
    keeper.desk.send_all()
    keeper.desk.clock.pass_s(YEAR_S)
    assert await keeper.purge.run() == 10
    assert len(keeper.archived()) == 10


async def test_since_when_a_run_is_watched_is_forgotten_with_the_run(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path, watched=("here",))
    for place in ("here", "gone"):
        keeper.desk.records.first_seen(place, NOW)
    keeper.desk.clock.pass_s(YEAR_S)
    await keeper.purge.run()
    assert [row["run_key"] for row in keeper.desk.database.rows("SELECT run_key FROM runs_seen")] == ["here"]


async def test_a_working_copy_in_memory_is_not_purged(keeper: Keeper) -> None:
    keeper.told_and_over()
    keeper.desk.clock.pass_s(YEAR_S)
    keeper.desk.database.take_refuge(StoreError("state-database", "full"))
    assert await keeper.purge.run() == 0
