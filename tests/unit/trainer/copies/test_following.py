from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.unit.trainer.copies.written import Attested
from trainmaster.trainer.contract import RunLayout
from trainmaster.trainer.copies import following
from trainmaster.trainer.copies.following import CopyState, CopyStatus, start, status_of
from trainmaster.trainer.copies.place import Folder
from trainmaster.trainer.records.recorder import Recorder
from trainmaster.trainer.settings.guard_settings import GuardSettings
from trainmaster.trainer.state.copy_watch import LOOK_S, CopyWatch

pytest.importorskip("fsspec")


@pytest.fixture
def run(tmp_path: Path) -> Attested:
    return Attested(tmp_path / "runs" / "night")


@pytest.fixture
def trainer() -> Iterator[subprocess.Popen[bytes]]:
    """A process that stands for a training."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


def until(true: Callable[[], object], within_s: float = 40.0) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def is_current(run: Attested) -> bool:
    status = status_of(run.layout)
    return status is not None and status.state is CopyState.CURRENT


def test_it_copies_in_a_family_of_its_own_at_the_lowest_priority_and_ends_behind_the_trainer(
    run: Attested, trainer: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    (tmp_path / "copies").mkdir()
    run.epoch(1)
    started = time.monotonic()
    begun = start(run.layout, str(tmp_path / "copies"), keep=3, follow=trainer.pid)
    assert time.monotonic() - started < 2.0  # the bound told to people, on a busy machine
    begun.wait(timeout=30)
    until(lambda: is_current(run))
    status = status_of(run.layout)
    assert status is not None
    copier = psutil.Process(status.pid)
    assert copier.nice() == 19
    assert copier.ppid() != os.getpid()
    assert not {os.getpgid(copier.pid), os.getsid(copier.pid)} & {os.getpgid(0), os.getsid(0)}
    run.epoch(2)
    until(lambda: any((tmp_path / "copies/night/files").glob("epoch0002.pt-*.sha256")))
    run.epoch(3)
    trainer.kill()
    trainer.wait()
    until(lambda: not copier.is_running() or copier.status() == psutil.STATUS_ZOMBIE)
    assert any((tmp_path / "copies/night/files").glob("epoch0003.pt-*.sha256"))


class Time:
    def __init__(self) -> None:
        self.now = 1e9
        self.on_sleep: Callable[[], None] = lambda: None

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.on_sleep()

    def clock(self) -> float:
        return self.now


def followed(run: Attested, place: str, *, pid: int, clock: Time) -> None:
    """The run was copied until the end, by a clock that only sleeping sets."""
    following.follow(run.layout, place, keep=3, pid=pid, sleep=clock.sleep, clock=clock.clock, monotonic=clock.clock)


def test_a_place_that_is_gone_is_told_and_tried_again_until_it_is_back(
    run: Attested, trainer: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    run.epoch(1)
    clock, seen = Time(), []

    def later() -> None:
        status = status_of(run.layout)
        assert status is not None
        seen.append((status.state, clock.now - 1e9))
        if len(seen) == 3:
            (tmp_path / "copies").mkdir()
        if status.state is CopyState.CURRENT:
            trainer.kill()
            trainer.wait()

    clock.on_sleep = later
    followed(run, str(tmp_path / "copies"), pid=trainer.pid, clock=clock)
    assert [state for state, _ in seen] == ["failing"] * 3 + ["current"]
    assert [at for _, at in seen][:3] == [10.0, 30.0, 70.0]


def test_a_place_that_stays_away_keeps_nobody_after_the_trainers_end(run: Attested, tmp_path: Path) -> None:
    run.epoch(1)
    clock = Time()
    followed(run, str(tmp_path / "gone"), pid=2**22 + 1, clock=clock)
    assert following.LINGER_S < clock.now - 1e9 <= following.LINGER_S + following.RETRY_S[1]


def test_there_is_never_more_than_one(run: Attested, tmp_path: Path) -> None:
    import fcntl

    (tmp_path / "copies").mkdir()
    run.epoch(1)
    with (run.layout.guard / "copy.lock").open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        following.follow(run.layout, str(tmp_path / "copies"), keep=3, pid=2**22 + 1)
    assert Folder(str(tmp_path / "copies/night")).names() == {}


@pytest.mark.parametrize(
    ("state", "age_s", "told"),
    [
        ("failing", 0, True),
        ("not_ours", 0, True),
        ("copying", 10, False),
        ("copying", 1000, True),
        ("current", 9e9, False),
    ],
)
def test_what_a_person_should_know_of_copies(state: str, age_s: float, told: bool) -> None:
    status = CopyStatus(ts=1e9, pid=1, place="/mnt", state=CopyState(state), error=None, behind=2)
    assert (status.trouble(still_s=age_s, behind_s=0.0) is not None) == told


def test_copies_that_never_catch_up_are_told() -> None:
    status = CopyStatus(ts=1e9, pid=1, place="/mnt", state=CopyState.COPYING, behind=2, behind_since_ts=1e9 - 3600)
    assert status.trouble(still_s=0.0, behind_s=3600.0) is None
    assert "too slow: for 2.0 h" in (status.trouble(still_s=0.0, behind_s=7201.0) or "")


def test_a_place_that_gives_no_answer_is_on_record_before_it_is_asked(
    run: Attested, trainer: subprocess.Popen[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a dead mount does, which hangs whoever looks."""
    run.epoch(1)
    said: list[CopyStatus | None] = []

    def asked(*_: object) -> Folder:
        said.append(status_of(run.layout))
        trainer.kill()
        trainer.wait()
        return Folder(str(tmp_path / "copies" / "night"))

    (tmp_path / "copies").mkdir()
    monkeypatch.setattr(following, "Folder", asked)
    followed(run, str(tmp_path / "copies"), pid=trainer.pid, clock=Time())
    (status,) = said
    assert status is not None
    assert status.trouble(still_s=following.STALLED_S + 60, behind_s=0.0) == (
        f"{tmp_path}/copies/night has given no answer for 16 min"
    )


class Watched:
    """A :class:`CopyWatch` whose copying process is written by hand."""

    def __init__(self, layout: RunLayout, monkeypatch: pytest.MonkeyPatch, place: str | None) -> None:
        self.layout, self.now, self.started = layout, 0.0, 0
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
        self.now += LOOK_S
        self.watch.look()

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
    import fcntl

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


def test_who_comes_second_waits_for_nobody(run: Attested, trainer: subprocess.Popen[bytes], tmp_path: Path) -> None:
    import fcntl

    with (run.layout.guard / "copy.lock").open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        followed(run, str(tmp_path / "copies"), pid=trainer.pid, clock=Time())
    assert status_of(run.layout) is None


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
    record = {"ts": time.time(), "pid": 2**22 + 1, "place": "/mnt", "state": "copying"}
    (run.layout.guard / "copy.json").write_text(json.dumps(record), encoding="utf-8")
    watched.now += LOOK_S
    watched.watch.look()
    assert watched.started == 2


def test_a_run_directory_that_died_under_it_ends_nobody(run: Attested, tmp_path: Path) -> None:
    (tmp_path / "copies").mkdir()
    clock = Time()
    run.epoch(1)
    shutil.rmtree(run.layout.states)
    followed(run, str(tmp_path / "copies"), pid=2**22 + 1, clock=clock)
    assert is_current(run)
