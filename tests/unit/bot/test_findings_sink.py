"""Findings reach the outbox whatever becomes of the database, and what becomes of it is told."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clocks import SetClock
from tests.unit.bot.alerting.fakes import NOW, RUN, finding
from trainmaster.bot.alerting.limits import AlertLimits, Audience
from trainmaster.bot.alerting.pipeline import AlertPipeline
from trainmaster.bot.core.alerts.finding import Nature
from trainmaster.bot.core.conversation.message import Message, Tone
from trainmaster.bot.core.health.no_run import DATABASE_RUN
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.findings_sink import FindingsSink
from trainmaster.bot.storage.alerts import AlertStore
from trainmaster.bot.storage.database import Database
from trainmaster.bot.storage.messages import MessageStore
from trainmaster.bot.storage.pictures import PictureStore
from trainmaster.bot.storage.silences import SilenceStore

CRASHED = finding("run_crashed", nature=Nature.OCCURRENCE)


class World:
    def __init__(self, path: Path) -> None:
        self.path, self.clock, self.ticks_s, self.num_notified = path, SetClock(NOW), 0.0, 0
        self.database = Database(path, patient=True, monotonic=lambda: self.ticks_s)
        self.outbox = MessageStore(self.database, self.clock.now)
        pipeline = AlertPipeline(
            records=AlertStore(self.database),
            silences=SilenceStore(self.database),
            outbox=self.outbox,
            transactions=self.database,
            clock=self.clock,
            limits=AlertLimits(),
            audience=Audience(on_call=("U1",)),
        )
        self.sink = FindingsSink(
            database=self.database,
            pipeline=pipeline,
            notify=self._notify,
            clock=self.clock,
            pictures=PictureStore(self.database),
        )

    def _notify(self) -> None:
        self.num_notified += 1

    def look(self) -> None:
        view = RunView(directory=Path("runs") / RUN, name=RUN, ts=self.clock.ts, first_seen_ts=self.clock.ts)
        self.sink.process(view, [CRASHED], frozenset(), self.clock.ts)

    def pass_s(self, seconds: float) -> None:
        self.clock.ts += seconds
        self.ticks_s += seconds
        self.sink.tick()

    def wanted(self) -> dict[str, Message]:
        return {one.key: one.message for one in self.outbox.pending(self.clock.ts)}

    def own(self) -> list[Message]:
        return [message for key, message in self.wanted().items() if key.startswith(f"{DATABASE_RUN}/")]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def world(path: Path) -> Iterator[World]:
    one = World(path)
    yield one
    one.database.close()


def test_healthy_database_is_no_finding(world: World) -> None:
    world.sink.tick()
    assert world.wanted() == {}
    assert world.num_notified == 0


def test_look_during_a_lock_is_told_from_memory_and_comes_home_afterwards(world: World) -> None:
    other = sqlite3.connect(world.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    world.look()
    assert CRASHED.fingerprint in world.wanted()
    (fault,) = world.own()
    assert fault.title == "Trainmaster can't write its database"
    assert "locked" in fault.body[0]
    assert fault.mentions == ("U1",)
    assert world.num_notified
    other.execute("ROLLBACK")
    other.close()
    for _ in range(3):
        world.pass_s(6)
    (resolved,) = world.own()
    assert (resolved.title, resolved.tone) == ("Trainmaster can write its database again", Tone.GOOD)
    world.database.close()
    assert CRASHED.fingerprint in {one.key for one in MessageStore(Database(world.path)).pending(2e9)}


def test_deleted_file_is_told(world: World) -> None:
    world.path.unlink()
    world.sink.tick()
    (fault,) = world.own()
    assert "deleted or replaced" in fault.body[0]
    for _ in range(3):
        world.pass_s(6)
    assert world.path.exists()
    assert world.own()[0].tone is Tone.GOOD


@pytest.mark.parametrize("whole", [True, False], ids=["unreadable", "readable in part"])
def test_damaged_file_is_told_with_its_place_and_the_operations_in_it(path: Path, whole: bool) -> None:
    first = World(path)
    first.database.execute(
        "INSERT INTO operations VALUES ('op1', 'digits-1', 'open', 1, NULL, 1.0, 1.0, '{}')",
    )
    (page,) = first.database.rows("SELECT rootpage FROM sqlite_master WHERE name = 'journal_operation'")[0]
    first.database.close()
    content = bytearray(path.read_bytes())
    start = 0 if whole else (page - 1) * 4096
    content[start : start + 4096] = b"\xff" * 4096
    path.write_bytes(content)

    world = World(path)
    world.sink.tick()
    (told,) = world.own()
    assert "was damaged" in told.title
    assert f"{path.name}.damaged-" in told.body[0]
    assert ("op1 on digits-1" in told.body[1]) is not whole
    assert "/train audit" in told.body[1]
    world.look()
    assert CRASHED.fingerprint in world.wanted()
    world.pass_s(60)
    assert len(world.own()) == 1
