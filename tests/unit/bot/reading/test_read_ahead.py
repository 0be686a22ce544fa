"""What another process read of a run is what this one would have read, and nothing of it is taken for granted."""

from __future__ import annotations

import os
import signal
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
