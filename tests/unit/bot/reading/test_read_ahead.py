"""What another process read of a run is what this one would have read, and nothing of it is taken for granted."""

from __future__ import annotations

import errno
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from tests.support.run_dirs import START_TS, WrittenRun
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.reading import read_ahead
from trainmaster.bot.reading.ownership import Ownership
from trainmaster.bot.reading.read_ahead import ReadAhead
from trainmaster.bot.reading.run_files import RunReader
from trainmaster.trainer.contract import RunRecordState

# Newer Pythons warn of a fork beside other threads: a process of tests has some, a bot that starts has none.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
    pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux"),
]
_PATIENCE_S = 30.0


@pytest.fixture(autouse=True)
def worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few runs and processors a test has."""
    monkeypatch.setattr(read_ahead, "_WORTH_IT", 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})


@contextmanager
def _begun(root: Path) -> Iterator[tuple[ReadAhead, psutil.Process]]:
    before = set(psutil.Process().children())
    with closing(ReadAhead(Ownership(root=root))) as ahead:
        (other,) = set(psutil.Process().children()) - before
        yield ahead, other


def _until(true: Callable[[], object]) -> bool:
    end_s = time.monotonic() + _PATIENCE_S
    while not true() and time.monotonic() < end_s:
        time.sleep(0.005)
    return bool(true())


def _is_over(other: psutil.Process) -> bool:
    return not other.is_running() or other.status() == psutil.STATUS_ZOMBIE


def _alone(written: WrittenRun, now: float) -> RunView:
    ownership = Ownership(root=written.layout.root.parent)
    return RunReader(written.layout.root, first_seen_ts=START_TS, ownership=ownership).glance(now)


def _a_run(root: Path, name: str) -> WrittenRun:
    written = WrittenRun(root, name)
    written.bad_batch(1, 3, 5)
    written.beat(60.0, epoch=1, batch=7)
    for batch in range(1, 40):
        written.series(epoch=1, batch=batch, loss=5.0 / batch)
    return written


def test_a_reader_goes_on_where_the_other_process_was(tmp_path: Path) -> None:
    runs = [_a_run(tmp_path, f"run{number}") for number in range(3)]
    with _begun(tmp_path) as (ahead, other):
        assert _until(lambda: _is_over(other))
        taken: list[Path] = []

        def take(place: Path) -> RunReader | None:
            reader = ahead.take(place)
            taken.extend([place] if reader is not None else [])
            return reader

        runs[1].bad_batch(1, 9, 70)  # after it was read
        runs[2].series(epoch=2, batch=1, loss=0.5)
        for written in runs:
            place = written.layout.root
            reader = RunReader(place, first_seen_ts=START_TS, ownership=Ownership(root=tmp_path), read_ahead=take)
            now = time.time()
            assert repr(reader.glance(now)) == repr(_alone(written, now)), "NaN is not equal to itself"
        assert taken == [one.layout.root for one in runs]
        assert ahead.take(runs[0].layout.root) is None, "each is handed over once"


def test_a_run_that_is_over_is_not_read_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = _a_run(tmp_path, "run")
    written.record(state=RunRecordState.FINISHED)
    alone = _alone(written, time.time())
    with _begun(tmp_path) as (ahead, other):
        assert _until(lambda: _is_over(other))
        reader = RunReader(
            written.layout.root, first_seen_ts=START_TS, ownership=Ownership(root=tmp_path), read_ahead=ahead.take
        )
        with monkeypatch.context() as patched:
            patched.setattr(os, "open", lambda *_asked, **_more: pytest.fail("a file was opened"))
            view = reader.glance(alone.ts)
    assert repr(view) == repr(alone)
    written.record(state=RunRecordState.STOPPED)
    assert repr(reader.read(alone.ts).record) == repr(_alone(written, alone.ts).record), "and what changes is seen"


def test_a_damaged_line_is_told_although_another_process_met_it(tmp_path: Path) -> None:
    written = _a_run(tmp_path, "run")
    with written.layout.events.open("ab") as stream:
        stream.write(b"junk\n")
    with _begun(tmp_path) as (ahead, other):
        assert _until(lambda: _is_over(other))
        reader = RunReader(written.layout.root, first_seen_ts=START_TS, read_ahead=ahead.take)
        assert "1 damaged line(s)" in reader.glance(START_TS + 100.0).read_errors[0]


def test_what_has_not_come_is_read_here(tmp_path: Path) -> None:
    written = _a_run(tmp_path, "run")
    with _begun(tmp_path) as (ahead, other):
        os.kill(other.pid, signal.SIGKILL)
        assert _until(lambda: _is_over(other))
        later = _a_run(tmp_path, "later")
        assert ahead.take(later.layout.root) is None
        reader = RunReader(later.layout.root, first_seen_ts=START_TS, read_ahead=ahead.take)
        assert reader.glance(START_TS + 100.0).num_bad == 1
    assert ahead.take(written.layout.root) is None, "it is closed"


def test_half_of_a_reader_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = _a_run(tmp_path, "run")
    with _begun(tmp_path) as (ahead, other):
        assert _until(lambda: _is_over(other))
        status = os.fstat
        monkeypatch.setattr(os, "fstat", lambda one: SimpleNamespace(st_size=status(one).st_size - 1))
        assert ahead.take(written.layout.root) is None
        monkeypatch.undo()
        assert ahead.take(written.layout.root) is not None


def test_damaged_bytes_are_no_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = _a_run(tmp_path, "run")
    with _begun(tmp_path) as (ahead, other):
        assert _until(lambda: _is_over(other))
        whole = os.pread
        monkeypatch.setattr(os, "pread", lambda *asked: whole(*asked).replace(b"RunView", b"RunViex"))
        assert ahead.take(written.layout.root) is None


def test_one_that_hangs_is_ended(tmp_path: Path) -> None:
    _a_run(tmp_path, "run")
    with _begun(tmp_path) as (ahead, other):
        os.kill(other.pid, signal.SIGSTOP)
        ahead.close()
        assert _until(lambda: not other.is_running()), "ended and reaped"
        ahead.close()


def test_one_that_cannot_be_handed_over_costs_only_itself(tmp_path: Path) -> None:
    first, nested = _a_run(tmp_path, "first"), _a_run(tmp_path, "nested")
    with nested.layout.events.open("a") as stream:
        stream.write(f'{{"v":1,"ts":{START_TS},"run":"x","attempt":1,"kind":"odd","deep":{"[" * 900 + "]" * 900}}}\n')
    assert not _alone(nested, START_TS + 100.0).read_errors
    with _begun(tmp_path) as (ahead, other):
        assert _until(lambda: _is_over(other))
        assert ahead.take(nested.layout.root) is None
        assert ahead.take(first.layout.root) is not None


def _ends_alone(number: int) -> bool:
    """Whether this process alone holds the other end of the pipe that ``number`` reads."""
    return _until(lambda: select.select([number], [], [], 0)[0]) and os.read(number, 1) == b""


@pytest.fixture
def hung(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at a run gives no answer."""
    monkeypatch.setattr(RunReader, "glance", lambda _reader, _now: time.sleep(_PATIENCE_S))


@pytest.mark.usefixtures("hung")
def test_what_whoever_started_this_process_left_open_is_not_held(tmp_path: Path) -> None:
    _a_run(tmp_path, "run")
    reading, writing = os.pipe()
    try:
        with _begun(tmp_path) as (_, other):
            os.close(writing)
            assert _ends_alone(reading)
            assert not _is_over(other)
    finally:
        os.close(reading)


def test_it_ends_with_the_process_that_it_reads_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = _a_run(tmp_path, "run")
    monkeypatch.setattr(os, "getppid", lambda: 1)
    with _begun(tmp_path) as (ahead, other):
        assert _until(lambda: _is_over(other))
        assert ahead.take(written.layout.root) is None


@pytest.mark.usefixtures("hung")
def test_an_alarm_that_was_ignored_before_ends_it_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_ahead, "_LIFE_S", 1)
    _a_run(tmp_path, "run")
    before = signal.signal(signal.SIGALRM, signal.SIG_IGN)
    try:
        with _begun(tmp_path) as (_, other):
            assert _until(lambda: _is_over(other))
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_kernel_that_gives_no_descriptor_of_a_process_is_not_asked_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_pid: int) -> int:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("nobody could end it"))
    with closing(ReadAhead(Ownership(root=tmp_path))) as ahead:
        assert ahead.take(tmp_path) is None


def test_a_disk_that_fails_is_no_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_asked: int) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    written = _a_run(tmp_path, "run")
    with _begun(tmp_path) as (ahead, other):
        assert _until(lambda: _is_over(other))
        monkeypatch.setattr(os, "pread", fail)
        assert ahead.take(written.layout.root) is None


@pytest.mark.usefixtures("hung")
def test_it_is_ended_where_no_thread_can_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    _a_run(tmp_path, "run")
    with _begun(tmp_path) as (ahead, other):
        monkeypatch.setattr(threading.Thread, "start", refuse)
        ahead.close()
        assert _until(lambda: _is_over(other))
    os.waitpid(other.pid, 0)


def test_a_few_runs_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_ahead, "_WORTH_IT", 2)
    written = _a_run(tmp_path, "run")
    with _begun(tmp_path) as (ahead, other):
        assert _until(lambda: _is_over(other))
        assert ahead.take(written.layout.root) is None


@pytest.mark.parametrize("root", [None, "nowhere"])
def test_without_runs_nothing_is_read(root: str | None, tmp_path: Path) -> None:
    with closing(ReadAhead(Ownership(root=tmp_path / root if root else None))) as ahead:
        assert ahead.take(tmp_path) is None


def test_one_processor_is_left_to_the_bot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0})
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("it began"))
    with closing(ReadAhead(Ownership(root=tmp_path))) as ahead:
        assert ahead.take(tmp_path) is None


@pytest.mark.parametrize(
    ("quota", "begins"),
    [("100000 100000", False), ("150000 100000", False), ("200000 100000", True), ("max 100000", True)],
)
def test_a_quota_of_less_than_two_processors_is_left_to_the_bot(
    quota: str, begins: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a container with ``--cpus``, or a systemd unit with CPUQuota=, has it."""
    (tmp_path / "cgroup").write_text("1:cpu:/other\n0::/system.slice/trainmaster.service\n")
    own = tmp_path / "groups/system.slice/trainmaster.service"
    own.mkdir(parents=True)
    (own / "cpu.max").write_text(f"{quota}\n")
    monkeypatch.setattr(read_ahead, "_OWN_GROUP", tmp_path / "cgroup")
    monkeypatch.setattr(read_ahead, "_GROUPS", tmp_path / "groups")
    began: list[bool] = []

    def fork() -> int:
        began.append(True)
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", fork)
    ReadAhead(Ownership(root=tmp_path))
    assert bool(began) is begins


def test_where_no_process_can_be_made_the_bot_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refuse)
    with closing(ReadAhead(Ownership(root=tmp_path))) as ahead:
        assert ahead.take(tmp_path) is None


def test_whom_the_bot_trusts_is_judged_anew(tmp_path: Path) -> None:
    written = _a_run(tmp_path, "run")
    with _begun(tmp_path) as (ahead, other):
        assert _until(lambda: _is_over(other))
        written.layout.root.chmod(0o777)
        reader = RunReader(
            written.layout.root, first_seen_ts=START_TS, ownership=Ownership(root=tmp_path), read_ahead=ahead.take
        )
        assert "everybody" in reader.glance(START_TS + 100.0).watched_only
