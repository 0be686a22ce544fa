"""Of several ranks the first keeps the records, and tells what ended another."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from trainmaster.trainer.batches.position import Position
from trainmaster.trainer.contract import Phase, RunLayout, RunRecordState, replace_json
from trainmaster.trainer.run import ending, rank_ends, ranks
from trainmaster.trainer.run.rank_ends import RankEnd
from trainmaster.trainer.run.run_guard import RunGuard
from trainmaster.trainer.stop import GaveUp, RunEnded, StopRequested

THIS = psutil.Process()
GONE = None
CLOSED = RuntimeError("[gloo/transport/tcp/pair.cc:561] Connection closed by peer [127.0.0.1]:55686")


def end(**changes: Any) -> RankEnd:
    given: dict[str, Any] = {"attempt": 2, "ts": 5.0, "rank": 1, "code": None, "why": "ValueError: x", "traceback": "t"}
    return RankEnd(**{**given, **changes})


def found(layout: RunLayout, error: BaseException, *ends: RankEnd) -> Any:
    layout.guard.mkdir(parents=True, exist_ok=True)
    for one in ends:
        rank_ends.keep(layout, one)
    run: Any = SimpleNamespace(layout=layout, recorder=SimpleNamespace(attempt=2), others={})
    return ending._what_ended(run, error)


def test_a_closed_connection_is_told_as_what_closed_it(tmp_path: Path) -> None:
    assert found(RunLayout(tmp_path), CLOSED, end()) == ("rank 1: ValueError: x", "t")


@pytest.mark.parametrize("error", [CLOSED, StopRequested("SIGTERM")], ids=["connection", "signal of the launcher"])
def test_an_orderly_end_of_another_rank_is_that_of_the_run(tmp_path: Path, error: BaseException) -> None:
    told = found(RunLayout(tmp_path), error, end(code=4, why="lr is nan"))
    assert isinstance(told, GaveUp)
    assert told.why == "in rank 1, lr is nan"


@pytest.mark.parametrize(
    ("error", "ends"),
    [
        (CLOSED, []),
        (CLOSED, [end(attempt=1)]),
        (CLOSED, [end(follows=True)]),
        (ValueError("own"), [end()]),
        (GaveUp("own"), [end()]),
        (StopRequested("SIGTERM"), [end(code=3, why="another rank was asked to stop")]),
    ],
    ids=["nobody says", "another attempt", "it only followed", "own error", "own end", "all were stopped"],
)
def test_what_came_up_here_is_told_as_it_is(tmp_path: Path, error: BaseException, ends: list[RankEnd]) -> None:
    assert found(RunLayout(tmp_path), error, *ends) is error


def test_the_first_of_several_ends_counts_and_none_of_an_earlier_launch(tmp_path: Path) -> None:
    layout = RunLayout(tmp_path)
    assert found(layout, CLOSED, end(rank=2, ts=4.0, why="first"), end())[0] == "rank 2: first"
    rank_ends.clear(layout)
    assert rank_ends.first_end(layout, 2) is None
    (layout.guard / ".rank1.json").write_text('{"code": []}', encoding="utf-8")
    assert rank_ends.first_end(layout, 2) is None


def test_every_end_in_order_has_its_own_exit_code() -> None:
    kinds = [end(code=code).told for code in (3, 4, 5)]
    assert [one.code for one in kinds if isinstance(one, RunEnded)] == [3, 4, 5]
    assert end(code=0).told == ("rank 1: ValueError: x", "t")


@pytest.mark.parametrize(
    ("record", "waits"),
    [
        ({"attempt": 2, "state": "running", "pid": os.getpid()}, True),
        ({"attempt": 2, "state": "stopped", "pid": os.getpid()}, False),
        ({"attempt": 2, "state": "running", "pid": 2**22 + 1}, False),
        ({"attempt": 3, "state": "running", "pid": os.getpid()}, False),
        (None, False),
    ],
    ids=["saving", "ended", "gone", "another attempt", "no record"],
)
def test_a_rank_ends_once_the_first_has_saved(tmp_path: Path, record: dict[str, Any] | None, waits: bool) -> None:
    layout = RunLayout(tmp_path)
    if record is not None:
        layout.guard.mkdir()
        replace_json(layout.run_json, record)
    slept: list[float] = []
    rank_ends.wait_for_first(layout, 2, clock=lambda: sum(slept), sleep=slept.append)
    assert (sum(slept) >= rank_ends.WAIT_S) is waits
    assert bool(slept) is waits


@pytest.mark.parametrize(("state", "told"), [("running", 1), ("stopped", 0)], ids=["amid it", "after its end"])
def test_a_second_signal_takes_nothing_back_of_how_a_run_has_ended(
    monkeypatch: pytest.MonkeyPatch, state: str, told: int
) -> None:
    ends: list[Any] = []
    monkeypatch.setattr(ending, "ended", lambda *given: ends.append(given))
    saver = SimpleNamespace(latest_epoch_state=lambda: None)
    run: Any = SimpleNamespace(recorder=SimpleNamespace(state=RunRecordState(state)), saver=saver)
    ending.left_at_once(run, Position(), "SIGTERM")
    assert len(ends) == told


@pytest.mark.parametrize(("state", "told"), [("running", 1), ("crashed", 0)])
def test_a_signal_after_the_end_is_on_record_as_no_request(state: str, told: int) -> None:
    """At the first end of a rank the launcher sends one to the others, which may have ended by then."""
    events: list[Any] = []
    guard: Any = object.__new__(RunGuard)
    recorder = SimpleNamespace(state=RunRecordState(state), event=lambda *_, **facts: events.append(facts), attempt=2)
    guard._run, guard.position = SimpleNamespace(recorder=recorder, layout=None, others={}), Position()
    guard._on_request("SIGTERM")
    assert len(events) == told


@pytest.mark.parametrize("others", [{}, {1: THIS}], ids=["alone", "a rank of several"])
def test_a_signal_that_comes_since_another_rank_crashed_is_on_record_as_no_request(
    tmp_path: Path, others: dict[int, psutil.Process | None]
) -> None:
    layout, events = RunLayout(tmp_path), list[Any]()
    layout.guard.mkdir()
    rank_ends.keep(layout, end())
    event = lambda *_, **facts: events.append(facts)  # noqa: E731
    recorder = SimpleNamespace(attempt=2, state=RunRecordState.RUNNING, event=event)
    guard: Any = object.__new__(RunGuard)
    guard._run, guard.position = SimpleNamespace(layout=layout, recorder=recorder, others=others), Position()
    guard._on_request("SIGTERM")
    assert bool(events) is not bool(others)


@pytest.mark.parametrize(
    ("error", "agreed"),
    [(StopRequested("SIGTERM"), True), (GaveUp("lr is nan"), True), (GaveUp("its model was replaced"), False)],
    ids=["stop", "given up by all", "given up alone"],
)
def test_a_rank_that_ends_alone_keeps_nobody_waiting(error: RunEnded, agreed: bool) -> None:
    run: Any = SimpleNamespace(reporter=SimpleNamespace(tally=SimpleNamespace(give_up="lr is nan")))
    assert ending._is_agreed(run, error) is agreed


@pytest.mark.parametrize(
    ("rank", "error", "code"),
    [
        (1, SystemExit(), 1),
        (0, SystemExit(0), 1),
        (1, SystemExit(7), 7),
        (-1, SystemExit(0), 0),
        (1, StopRequested("x"), 3),
    ],
    ids=["a rank", "the first", "a code of its own", "no ranks", "in order"],
)
def test_a_rank_that_a_callback_ended_has_not_finished_for_its_launcher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: int, error: SystemExit, code: int
) -> None:
    monkeypatch.setattr(ending, "RANK", rank)
    monkeypatch.setattr(ending, "_put_on_record", lambda *_: None)
    saver = SimpleNamespace(latest_epoch_state=lambda: None)
    ending.ended(SimpleNamespace(layout=RunLayout(tmp_path), saver=saver), Position(), error)  # type: ignore[arg-type]
    assert error.code == code


@pytest.mark.parametrize(
    ("process", "rank", "left", "told"),
    [
        (GONE, 1, None, True),
        (GONE, 1, {"attempt": 1}, True),
        (GONE, 1, {"attempt": 2, "code": 3}, False),
        (GONE, 0, {"attempt": 2, "state": "running"}, True),
        (GONE, 0, {"attempt": 2, "state": "stopped"}, False),
        (THIS, 1, None, False),
    ],
    ids=["nothing", "of another attempt", "its end", "nothing, the first", "its end, the first", "it lives"],
)
def test_a_stop_that_another_rank_was_killed_before_is_none(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    process: psutil.Process | None,
    rank: int,
    left: dict[str, Any] | None,
    told: bool,
) -> None:
    """At the first end of a rank their launcher asks the others to stop, by the signal that a person would send: amid a
    validation, a kill by a host that is out of memory would be on record as a stop on request."""
    layout = RunLayout(tmp_path)
    layout.guard.mkdir()
    if left is not None:
        replace_json(layout.guard / f".rank{rank}.json" if rank else layout.run_json, left)
    events: list[Any] = []
    event = lambda *_, **facts: events.append(facts)  # noqa: E731
    recorder = SimpleNamespace(attempt=2, state=RunRecordState.RUNNING, event=event)
    run: Any = SimpleNamespace(layout=layout, recorder=recorder, others={rank: process})
    guard: Any = object.__new__(RunGuard)
    guard._run, guard.position = run, Position()
    guard._on_request("SIGTERM")
    assert bool(events) is not told
    monkeypatch.setattr(rank_ends, "DYING_S", 0.0)
    for error in (StopRequested("SIGTERM"), CLOSED):
        found = ending._what_ended(run, error)
        assert isinstance(found, tuple) is told
        assert not told or found[0].startswith(f"rank {rank}: DistError: it is gone")
        assert ending._of_this_rank(run, error).follows is (told or error is CLOSED)


@pytest.mark.parametrize("error", [CLOSED, StopRequested("SIGTERM")], ids=["connection", "signal"])
@pytest.mark.parametrize(("phase", "left"), [(Phase.STARTUP, True), (Phase.TRAINING, False)])
def test_who_ended_ranks_that_had_not_begun_is_said_by_who_launched_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, phase: Phase, left: bool, error: BaseException
) -> None:
    """A signal at that time leaves no word: whether a person sent it, their launcher alone knows."""
    monkeypatch.setattr(ending, "RANK", 0)
    monkeypatch.setattr(ranks, "inherited", lambda: {"launcher": 1})
    monkeypatch.setattr(rank_ends, "DYING_S", 0.0)
    told: list[Any] = []
    monkeypatch.setattr(ending, "_put_on_record", lambda *given: told.append(given[2]))
    recorder = SimpleNamespace(attempt=2, phase=phase)
    saver = SimpleNamespace(latest_epoch_state=lambda: None)
    run: Any = SimpleNamespace(layout=RunLayout(tmp_path), recorder=recorder, saver=saver, others={1: GONE})
    ending.ended(run, Position(), error)
    assert [one[0].startswith("rank 1: DistError") for one in told] == ([] if left else [True])


@pytest.mark.parametrize(
    ("told", "own", "others"),
    [
        ({"0": THIS, "1": 1}, "0", {1: 1, 2: GONE}),
        ({"0": THIS, "1": 1, "2": 2}, "2", {0: THIS, 1: 1}),
        ({None: THIS}, "0", {}),
    ],
    ids=["one has ended", "all are there", "its launcher is another"],
)
def test_ranks_know_each_other_before_they_meet(
    monkeypatch: pytest.MonkeyPatch, told: dict[str | None, Any], own: str, others: dict[int, Any]
) -> None:
    """Else the signal by which their launcher tells the first that another has crashed would be a stop on request."""
    environs = {process: {} if rank is None else {"RANK": rank} for rank, process in told.items()}
    children = [SimpleNamespace(environ=lambda process=process: environs[process], of=process) for process in environs]
    monkeypatch.setattr(psutil, "Process", lambda _: SimpleNamespace(children=lambda: children))
    found = rank_ends.started_beside({"RANK": own, "WORLD_SIZE": "3"})
    assert {rank: getattr(process, "of", None) for rank, process in found.items()} == others


def test_a_rank_whose_connection_was_closed_is_given_time_to_be_gone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(rank_ends, "is_gone", lambda *_: len(slept) > 2)
    about: dict[str, Any] = {"clock": lambda: sum(slept), "sleep": slept.append}
    layout = RunLayout(tmp_path)
    assert rank_ends.killed(layout, 2, {1: THIS}, wait_s=0.3, **about) is None
    assert rank_ends.killed(layout, 2, {1: THIS}, wait_s=3.0, **about) is not None
    assert rank_ends.killed(layout, 2, {}, wait_s=3.0, **about) is None
    assert len(slept) == 3


def test_a_clock_that_is_set_ends_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """All ranks would stop, since their launcher seemed to be gone."""
    with subprocess.Popen([sys.executable, "-IS", "-c", "input()"], stdin=subprocess.PIPE) as child:
        process = rank_ends.process_of(child.pid)
        booted_ts = psutil.boot_time()
        monkeypatch.setattr("psutil._pslinux.boot_time", lambda: booted_ts + 3600)
        assert not rank_ends.is_gone(process)
        child.communicate(b"\n")
    assert rank_ends.is_gone(process)
    assert rank_ends.is_gone(rank_ends.process_of(child.pid))
