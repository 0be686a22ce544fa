from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from tests.unit.trainer.run.test_rank_ends import end
from trainmaster.bot.drivers.local.proc_stat import catches
from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.batches.budget import SkipBudget, SkipLimit
from trainmaster.trainer.contract import ExitCode, RunLayout, RunRecordState, read_json, replace_json
from trainmaster.trainer.records.recorder import Recorder
from trainmaster.trainer.run import open_run, rank_ends, ranks
from trainmaster.trainer.run.ending import ended_unheard
from trainmaster.trainer.run.open_run import OpenRun
from trainmaster.trainer.run.ranks import launch
from trainmaster.trainer.run.tally import Tally
from trainmaster.trainer.stop import RunEnded, StopRequested

NOBODY = 2**22 + 1
"""No process has that number."""


@pytest.mark.parametrize("in_thread", [False, True], ids=["main thread", "another thread"])
def test_ranks_are_launched_and_signals_are_the_old_ones_afterwards(tmp_path: Path, in_thread: bool) -> None:
    before = signal.getsignal(signal.SIGTERM)
    handlers: list[object] = []
    takes_stacks: list[bool] = []

    def start() -> None:
        handlers.append(signal.getsignal(signal.SIGTERM))
        takes_stacks.append(catches(os.getpid(), signal.SIGUSR1))

    def launched() -> None:
        launch(RunLayout(tmp_path), {}, start, print)

    if in_thread:
        thread = threading.Thread(target=launched)
        thread.start()
        thread.join()
    else:
        launched()
    assert [handler == before for handler in handlers] == [in_thread]
    assert takes_stacks == [not in_thread]  # else SIGUSR1 would end it, which a trainer takes for a question
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("before", [None, "", "1"])
def test_no_file_of_the_current_folder_hides_a_module_of_the_launcher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    if before is None:
        monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    else:
        monkeypatch.setenv("PYTHONSAFEPATH", before)
    (tmp_path / "json.py").write_text("raise SystemExit(9)\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    command = [sys.executable, "-m", "json.tool", "--help"]  # -m, as Ultralytics starts torch.distributed.run

    def start() -> int:
        return subprocess.run(command, check=False, capture_output=True).returncode

    assert launch(RunLayout(tmp_path), {}, start, print) == 0
    assert os.environ.get("PYTHONSAFEPATH") == before


@pytest.mark.parametrize("given", [None, "600"])
def test_ranks_are_not_killed_while_the_first_may_be_saving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str | None
) -> None:
    """Torch gives them 30 s, in which a large state is not on a slow disk."""
    monkeypatch.delenv("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", raising=False)
    if given:
        monkeypatch.setenv("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", given)
    seconds = launch(RunLayout(tmp_path), {}, lambda: os.environ["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"], print)
    assert float(seconds) == (600 if given else rank_ends.WAIT_S)
    assert os.environ.get("TORCH_ELASTIC_SHUTDOWN_TIMEOUT") == given


def test_an_interrupt_of_the_terminal_reaches_the_launcher_through_this_process_alone(tmp_path: Path) -> None:
    """Its group is another one; with two interrupts for one, the ranks would leave without saving."""
    before, groups, layout = subprocess.run, [], RunLayout(tmp_path / "run")

    def start() -> None:
        command = [sys.executable, "-I", "-S", "-c", "import os; print(os.getpgid(0))"]
        groups.append(int(subprocess.run(command, check=True, capture_output=True).stdout))
        assert layout.root.is_dir()  # Ultralytics has removed it, and another run would take the name for free

    launch(layout, {}, start, print)
    assert groups[0] != os.getpgid(0)
    assert subprocess.run is before


@pytest.mark.parametrize(
    ("rank", "named", "world_size", "refused"),
    [
        (-1, "1", 2, False),
        (-1, "1", 0, False),
        (1, "2", 2, False),
        (1, "2", 1, True),
        (0, "2", 0, True),
        (0, "2", 3, True),
    ],
    ids=["no rank", "on a CPU", "a rank", "pod", "each alone", "too few"],
)
def test_a_rank_that_would_train_alone_or_wait_for_nobody_is_refused(
    monkeypatch: pytest.MonkeyPatch, rank: int, named: str, world_size: int, refused: bool
) -> None:
    """Clusters put RANK and WORLD_SIZE into the environment of every pod; all but the first would save nothing."""
    monkeypatch.setattr(ranks, "RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", named)
    with pytest.raises(ArgumentsError, match="WORLD_SIZE") if refused else nullcontext():
        ranks.require_world(world_size, "0,1")


@pytest.mark.parametrize(("name", "attempt", "is_opened"), [("run", 1, False), ("run-2", 1, True), ("run", 2, True)])
def test_a_rank_that_torchrun_has_launched_works_where_the_first_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, attempt: int, is_opened: bool
) -> None:
    """It has chosen its directory by itself; evidence of its batches, and of its end, lay in another run's."""
    first = RunLayout(tmp_path / name)
    hosts = {"here": os.getpid(), "elsewhere": NOBODY}
    others = [(pid, host, first, attempt) for host, pid in hosts.items()]
    monkeypatch.setattr(open_run, "of_all", lambda own: [others[0], own, others[1]])
    monkeypatch.setattr(open_run, "RANK", 1)
    parts: Any = dict.fromkeys(["saver", "drill", "reporter", "data_faults", "evaluation"])
    trainer: Any = SimpleNamespace(world_size=2, args=SimpleNamespace(save_dir=None))

    def opened(layout: RunLayout, *, attempt: int) -> OpenRun:
        return OpenRun(layout=layout, recorder=SimpleNamespace(attempt=attempt, host="here"), **parts)  # type: ignore[arg-type]

    own = opened(RunLayout(tmp_path / "run"), attempt=1)
    met = own.met(trainer, opened)
    assert (met is not own, met.layout, met.recorder.attempt) == (is_opened, first, attempt)
    assert trainer.args.save_dir == (str(first.root) if is_opened else None)
    assert met.others == {0: psutil.Process()}  # of one on another host nothing can be seen: it is not gone for that


@pytest.mark.parametrize(("rank", "launched", "known"), [(-1, False, True), (1, True, True), (1, False, False)])
def test_a_rank_makes_no_directory_that_the_first_might_take(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rank: int, launched: bool, known: bool
) -> None:
    """``increment_path`` of the first then takes the next name."""
    monkeypatch.setattr(ranks, "IS_FIRST", rank < 1)
    monkeypatch.setattr(ranks, "inherited", lambda: {"launcher": 1} if launched else None)
    assert (ranks.stacks_of(RunLayout(tmp_path)) is not None) is known


@pytest.mark.parametrize("lost", ["the launcher", "who started that", None])
def test_ranks_see_that_what_started_them_is_gone(monkeypatch: pytest.MonkeyPatch, lost: str | None) -> None:
    """Without torch's launcher nobody passes a stop on, and whoever waits for it calls the run a crash."""
    monkeypatch.setattr(ranks, "inherited", lambda: {"launcher": NOBODY if lost == "who started that" else os.getpid()})
    monkeypatch.setattr(ranks, "_PARENT", NOBODY if lost == "the launcher" else os.getppid())
    assert ranks.Launcher().gone is (lost is not None)
    assert ("is gone" in ranks.why_all_stop()) is (lost is not None)


def ended(
    layout: RunLayout,
    *,
    run: dict[str, Any] | None,
    asked: bool = False,
    other: rank_ends.RankEnd | None = None,
    phase: str | None = None,
) -> Any:
    """How a launch ends whose ranks leave that behind, and what of it was put on record."""
    layout.guard.mkdir()

    def start() -> None:
        if run is not None:
            replace_json(layout.run_json, {"attempt": 2, **run})
        if phase is not None:
            replace_json(layout.heartbeat, {"attempt": 2, "phase": phase})
        if other is not None:
            rank_ends.keep(layout, other)
        code = "import os, signal; os.kill(os.getppid(), 15); signal.pause()" if asked else "raise SystemExit(1)"
        subprocess.run([sys.executable, "-IS", "-c", code, "torch.distributed.run"], check=True)

    told: list[Any] = []
    with pytest.raises((RunEnded, subprocess.CalledProcessError)) as raised:
        launch(layout, {"attempt": 2}, start, told.append)
    assert len(told) <= 1
    return raised.value, (told[0] if told else None)


@pytest.mark.parametrize(
    ("asked", "other", "code", "why"),
    [
        (True, None, ExitCode.STOPPED, "SIGTERM"),
        (False, end(code=4, why="lr is nan"), ExitCode.GAVE_UP, "in rank 1, lr is nan"),
        (False, end(), None, "rank 1: ValueError: x"),
        (True, end(), None, "rank 1: ValueError: x"),
        (False, end(follows=True), None, None),
        (False, None, None, None),
    ],
    ids=["asked to stop", "another gave up", "another crashed", "asked, and another crashed", "it followed", "killed"],
)
def test_what_a_killed_first_rank_could_not_say_is_put_on_record_in_its_place(
    tmp_path: Path, asked: bool, other: rank_ends.RankEnd | None, code: ExitCode | None, why: str | None
) -> None:
    run = {"state": "running", "pid": NOBODY, "create_time": 1.0}
    raised, told = ended(RunLayout(tmp_path), run=run, asked=asked, other=other)
    assert getattr(raised, "code", None) == code
    assert (told[0] if isinstance(told, tuple) else getattr(told, "why", None)) == why


@pytest.mark.parametrize(
    ("run", "code"),
    [
        ({"state": "stopped"}, ExitCode.STOPPED),
        ({"state": "crashed"}, None),
        ({"state": "running", **psutil.Process(os.getppid()).as_dict(["pid", "create_time"])}, ExitCode.STOPPED),
        (None, ExitCode.STOPPED),
    ],
    ids=["it said so", "it said that it crashed", "it lives", "it has not begun"],
)
def test_what_the_first_rank_can_say_itself_is_left_to_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run: dict[str, Any] | None, code: int | None
) -> None:
    layout, waited = RunLayout(tmp_path), []
    monkeypatch.setattr(rank_ends, "wait_for_first", lambda *given: waited.append(given))
    raised, told = ended(layout, run=run, asked=True, other=None)
    assert getattr(raised, "code", None) == code
    assert told is None
    assert waited == [(layout, 2)]  # it may be saving still


@pytest.mark.parametrize(
    ("run", "phase", "is_told"),
    [
        (None, None, True),
        ({"state": "running", "pid": os.getpid()}, "startup", True),
        ({"state": "running", "pid": NOBODY}, "startup", True),
        ({"state": "running", "pid": NOBODY}, "training", False),
        ({"state": "running", "pid": os.getppid()}, "startup", False),
    ],
    ids=["fresh", "resumed", "the first had", "all had", "the first lives"],
)
def test_ranks_that_ended_before_all_had_begun_have_crashed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run: dict[str, Any] | None, phase: str | None, is_told: bool
) -> None:
    """One that can't be imported has no word on record, and the first, whom their launcher then asks to stop while it
    waits for that one, has the word of a stop on request."""
    monkeypatch.setattr(rank_ends, "wait_for_first", lambda *_: None)
    raised, told = ended(RunLayout(tmp_path), run=run, phase=phase)
    assert isinstance(raised, subprocess.CalledProcessError)
    assert bool(told and told[0].startswith("ChildFailedError: a rank ended before")) is is_told


def test_a_first_rank_that_saves_since_the_launcher_was_killed_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It has seen that, and nobody was asked: that would be a crash."""
    layout = RunLayout(tmp_path)
    saved = {"attempt": 2, "state": "stopped"}
    monkeypatch.setattr(rank_ends, "wait_for_first", lambda *_: replace_json(layout.run_json, saved))
    raised, told = ended(layout, run={"state": "running", "pid": os.getppid()}, phase="training")
    assert (getattr(raised, "code", None), told) == (ExitCode.STOPPED, None)


def test_a_run_that_has_finished_has_whatever_became_of_a_rank(tmp_path: Path) -> None:
    """One that only evaluated at the end was killed, say."""
    layout = RunLayout(tmp_path)
    layout.guard.mkdir()
    replace_json(layout.run_json, {"attempt": 2, "state": "finished", "pid": NOBODY, "create_time": 1.0})

    def start() -> None:
        subprocess.run([sys.executable, "-IS", "-c", "raise SystemExit(1)"], check=True)

    assert launch(layout, {"attempt": 2}, start, pytest.fail) is None


def test_a_stop_before_anything_is_launched_is_not_lost(tmp_path: Path) -> None:
    def start() -> None:
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError("it went on")

    with pytest.raises(StopRequested):
        launch(RunLayout(tmp_path), {}, start, print)


@pytest.mark.parametrize("finished", [False, True], ids=["before they began", "after they had finished"])
def test_what_fails_around_ranks_is_a_crash_on_record_unless_they_have_told_their_end(
    tmp_path: Path, finished: bool
) -> None:
    """With batch=-1, or a callback that can't be pickled. Ultralytics may have removed the run's directory by then; it
    removes files of its own afterwards, too."""
    layout = RunLayout(tmp_path / "run")
    layout.guard.mkdir(parents=True)
    run: Any = SimpleNamespace(
        layout=layout,
        recorder=Recorder(layout, warn=print),
        reporter=SimpleNamespace(tally=Tally(budget=SkipBudget(SkipLimit(streak=1, count=1, window=1)))),
        saver=SimpleNamespace(latest_epoch_state=lambda: None),
    )

    def start() -> None:
        if finished:
            run.recorder.end(RunRecordState.FINISHED, 0)
        else:
            shutil.rmtree(layout.root)
        raise TypeError("cannot pickle")

    with pytest.raises(TypeError):
        launch(layout, {"attempt": 1}, start, partial(ended_unheard, run))
    state = RunRecordState.FINISHED if finished else RunRecordState.CRASHED
    assert (read_json(layout.run_json) or {})["state"] == state
    assert ("TypeError: cannot pickle" in layout.events.read_text(encoding="utf-8")) is not finished
