from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.unit.trainer.copies.written import Attested, copied
from trainmaster.trainer.copies import following
from trainmaster.trainer.copies.following import CopyState, CopyStatus, start, status_of
from trainmaster.trainer.copies.place import CopyError, Folder

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


def test_who_comes_second_waits_for_nobody(run: Attested, trainer: subprocess.Popen[bytes], tmp_path: Path) -> None:
    with (run.layout.guard / "copy.lock").open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        followed(run, str(tmp_path / "copies"), pid=trainer.pid, clock=Time())
    assert status_of(run.layout) is None


def test_a_run_directory_that_died_under_it_ends_nobody(run: Attested, tmp_path: Path) -> None:
    (tmp_path / "copies").mkdir()
    clock = Time()
    run.epoch(1)
    shutil.rmtree(run.layout.states)
    followed(run, str(tmp_path / "copies"), pid=2**22 + 1, clock=clock)
    assert is_current(run)


def test_a_connection_that_was_cut_since_the_last_look_is_no_trouble(
    run: Attested, trainer: subprocess.Popen[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As servers do that hear nothing for an epoch."""
    (tmp_path / "copies").mkdir()
    run.epoch(1)
    clock, seen, made = Time(), [], []

    class CutOff(Folder):
        def __init__(self, url: str) -> None:
            super().__init__(url)
            made.append(self)

        def require_parent(self) -> None:
            if clock.now > 1e9 and self is made[0]:
                raise CopyError("connection closed")
            super().require_parent()

    def later() -> None:
        status = status_of(run.layout)
        assert status is not None
        seen.append(str(status.state))
        run.epoch(len(seen) + 1)
        if len(seen) == 2:
            trainer.kill()
            trainer.wait()

    clock.on_sleep = later
    monkeypatch.setattr(following, "Folder", CutOff)
    followed(run, str(tmp_path / "copies"), pid=trainer.pid, clock=clock)
    assert (seen, len(made)) == (["current", "current"], 2)


def test_a_place_that_answers_slowly_gives_signs_of_life(
    run: Attested, trainer: subprocess.Popen[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a look of 40 answers, each after half a minute, every one is on record."""
    (tmp_path / "copies").mkdir()
    for epoch in (1, 2, 3):
        run.epoch(epoch)
    copied(run, str(tmp_path / "copies"))
    clock, said = Time(), set[float]()
    read_record = Folder.read_record

    def slow(self: Folder, name: str) -> dict[str, object] | None:
        clock.now += 30.0
        found = read_record(self, name)
        status = status_of(run.layout)
        assert status is not None
        said.add(status.ts)
        return found

    def later() -> None:
        trainer.kill()
        trainer.wait()

    clock.on_sleep = later
    monkeypatch.setattr(Folder, "read_record", slow)
    followed(run, str(tmp_path / "copies"), pid=trainer.pid, clock=clock)
    assert len(said) > 6
