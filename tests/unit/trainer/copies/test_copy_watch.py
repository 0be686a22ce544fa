"""What a trainer sees and says of its copies, and whom it starts."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.unit.trainer.copies.written import Attested
from trainmaster.trainer.contract import RunLayout
from trainmaster.trainer.records.recorder import Recorder
from trainmaster.trainer.settings.guard_settings import GuardSettings
from trainmaster.trainer.state.copy_watch import LOOK_S, CopyWatch

pytest.importorskip("fsspec")


@pytest.fixture
def run(tmp_path: Path) -> Attested:
    return Attested(tmp_path / "runs" / "night")


class Watched:
    """A :class:`CopyWatch` whose copying process is written by hand: once started, it holds the lock of those who copy
    until it dies."""

    def __init__(self, layout: RunLayout, monkeypatch: pytest.MonkeyPatch, place: str | None) -> None:
        self.layout, self.now, self.started = layout, 0.0, 0
        self._held: int | None = None
        monkeypatch.setattr("trainmaster.trainer.state.copy_watch.start", self._start)
        recorder = Recorder(layout, warn=lambda _: None)
        environ = {} if place is None else {"COPY_TO": place}
        self.watch = CopyWatch(layout, recorder, GuardSettings(), monotonic=lambda: self.now, environ=environ)

    def _start(self, *_: object, **__: object) -> subprocess.Popen[bytes]:
        self.started += 1
        begun = subprocess.Popen([sys.executable, "-c", ""])
        begun.wait()
        return begun

    def look(self, state: str, error: str | None = None, **more: object) -> None:
        record = {"ts": time.time(), "pid": os.getpid(), "place": "/mnt/x/night", "state": state, "error": error}
        record.update(more)
        (self.layout.guard / "copy.json").write_text(json.dumps(record), encoding="utf-8")
        if self.started and self._held is None:
            self._held = os.open(self.layout.guard / "copy.lock", os.O_RDWR | os.O_CREAT)
            fcntl.flock(self._held, fcntl.LOCK_EX)
        self.now += LOOK_S
        self.watch.look()

    def dies(self) -> None:
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def events(self) -> list[tuple[str, str]]:
        if not self.layout.events.exists():
            return []
        rows = [json.loads(line) for line in self.layout.events.read_text(encoding="utf-8").splitlines()]
        return [(row["kind"], row.get("error") or row.get("text") or "") for row in rows]


def test_trouble_with_copies_is_an_event_once_until_it_is_over(run: Attested, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(run.layout, monkeypatch, "/mnt/x")
    watched.look("current")
    watched.look("failing", "no space left")
    watched.look("failing", "no space left")
    watched.look("current")
    watched.look("failing", "gone")
    kinds = [kind for kind, _ in watched.events()]
    assert kinds == ["storage_fault", "notice", "storage_fault"]
    assert watched.events()[0][1].startswith("no space left. It is tried again")
    assert watched.started == 1


def test_a_new_try_is_no_end_of_trouble_before_it_came_through(run: Attested, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(run.layout, monkeypatch, "/mnt/x")
    for _ in range(4):
        watched.look("failing", "no space left")
        watched.look("copying", behind=2)
    watched.look("current")
    assert [kind for kind, _ in watched.events()] == ["storage_fault", "notice"]


def test_a_place_that_gets_a_few_bytes_now_and_then_is_told_once(
    run: Attested, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(run.layout, monkeypatch, "/mnt/x")
    for number in range(5):
        for _ in range(60):  # 20 minutes without one
            watched.look("copying", behind=2, ts=1e9 + number)
    ((kind, text),) = watched.events()
    assert kind == "storage_fault"
    assert "not a byte for 15 min" in text


@pytest.mark.parametrize("jump_s", [86400.0, -86400.0], ids=["ahead", "back"])
def test_a_clock_that_jumps_is_no_trouble_with_copies_and_hides_none(
    run: Attested, monkeypatch: pytest.MonkeyPatch, jump_s: float
) -> None:
    watched = Watched(run.layout, monkeypatch, "/mnt/x")
    watched.look("copying", behind=2, ts=1e9, behind_since_ts=1e9)
    monkeypatch.setattr(time, "time", lambda: 1e9 + jump_s)
    for number in range(10):
        watched.look("copying", behind=2, ts=1e9 + jump_s + number, behind_since_ts=1e9)
    assert watched.events() == []
    for _ in range(60):
        watched.look("copying", behind=2, ts=1e9 + jump_s, behind_since_ts=1e9)
    assert [kind for kind, _ in watched.events()] == ["storage_fault"]


def test_who_hangs_on_a_dead_mount_is_not_started_once_more_at_every_look(
    run: Attested, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds the lock of those who copy, whatever it could write of how it goes."""
    watched = Watched(run.layout, monkeypatch, "/mnt/x")
    with (run.layout.guard / "copy.lock").open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for _ in range(10):
            watched.now += LOOK_S
            watched.watch.look()
        assert (watched.started, watched.events()) == (0, [])
    watched.now += LOOK_S
    watched.watch.look()
    assert watched.started == 1


def test_without_a_place_nothing_is_started(run: Attested, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(run.layout, monkeypatch, None)
    watched.look("failing", "no space left")
    assert (watched.started, watched.events()) == (0, [])


def test_a_place_that_names_none_is_told_once_and_nothing_is_started(
    run: Attested, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the environment nobody has looked at it, as is done with ``copy_to=``."""
    watched = Watched(run.layout, monkeypatch, "backup/copies")
    for _ in range(3):
        watched.now += LOOK_S
        watched.watch.look()
    ((kind, text),) = watched.events()
    assert (kind, watched.started) == ("storage_fault", 0)
    assert "backup/copies is neither a URL nor a full path" in text
    assert "/mnt/other-disk/copies" in text


def test_copying_processes_that_end_without_a_word_are_told(run: Attested, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(run.layout, monkeypatch, "/mnt/x")
    for _ in range(6):
        watched.now += LOOK_S
        watched.watch.look()
    ((kind, text),) = watched.events()
    assert (kind, watched.started) == ("storage_fault", 6)
    assert "ends at once, without a word" in text


def test_a_copying_process_that_was_killed_is_started_again(run: Attested, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(run.layout, monkeypatch, "/mnt/x")
    watched.look("current")
    watched.look("current")
    watched.dies()
    record = {"ts": time.time(), "pid": 2**22 + 1, "place": "/mnt", "state": "copying"}
    (run.layout.guard / "copy.json").write_text(json.dumps(record), encoding="utf-8")
    watched.now += LOOK_S
    watched.watch.look()
    assert watched.started == 2


def test_a_process_with_the_number_of_who_copied_is_not_taken_for_it(
    run: Attested, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(run.layout, monkeypatch, "/mnt/x")
    watched.look("current")
    watched.look("current")
    watched.dies()
    watched.now += LOOK_S
    watched.watch.look()  # its number is that of this process, which lives
    assert watched.started == 2


def test_who_copies_and_is_killed_each_time_before_it_is_done_is_told_once(
    run: Attested, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(run.layout, monkeypatch, "/mnt/x")
    for _ in range(6):
        watched.look("copying", behind=2, ts=time.time() + 60)
        watched.dies()
        watched.now += LOOK_S
        watched.watch.look()
    ((kind, text),) = watched.events()
    assert kind == "storage_fault"
    assert "is killed before it is done" in text


def test_a_place_that_fails_now_and_then_is_told_again_only_once_it_lasts(
    run: Attested, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(run.layout, monkeypatch, "/mnt/x")
    for _ in range(8):
        watched.look("failing", "500 internal error")
        watched.look("current")
    assert [kind for kind, _ in watched.events()] == ["storage_fault", "notice"]
    for _ in range(40):
        watched.look("failing", "500 internal error")
    assert [kind for kind, _ in watched.events()] == ["storage_fault", "notice", "storage_fault"]
