"""A hang is told by phase: by fixed limits first, by what the run has shown later, and by the bot's own clock."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.run_dirs import START_TS, WrittenRun
from tests.unit.conftest import Look
from trainmaster.bot.checks import CheckLimits
from trainmaster.bot.checks.progress import check_progress
from trainmaster.bot.core.run.facts import ProcessFact, ProcessStatus
from trainmaster.bot.core.run.folding import shift_clock
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.reading.run_files import RunReader
from trainmaster.trainer.contract import EventKind, Phase

LIMITS = CheckLimits()


@pytest.mark.parametrize(
    ("phase", "silent_s", "stalled"),
    [
        pytest.param(Phase.TRAINING, 119, False, id="training within"),
        pytest.param(Phase.TRAINING, 121, True, id="training beyond the least"),
        pytest.param(Phase.FIRST_BATCH, 1799, False, id="first batch within"),
        pytest.param(Phase.FIRST_BATCH, 1801, True, id="first batch hang"),
        pytest.param(Phase.VALIDATING, 3599, False, id="validation within"),
        pytest.param(Phase.VALIDATING, 3601, True, id="validation hang"),
    ],
)
def test_stall_follows_the_phase(written: WrittenRun, look: Look, phase: Phase, silent_s: float, stalled: bool) -> None:
    written.beat(0, epoch=1, batch=5, phase=phase)
    assert bool(check_progress(look(silent_s), LIMITS, START_TS + silent_s)) is stalled


def test_stall_limit_grows_with_slow_batches(written: WrittenRun, look: Look) -> None:
    written.beat(0, epoch=1, batch=5, epoch_elapsed_s=500.0)  # 100 s a batch: the limit is 500 s
    assert check_progress(look(499), LIMITS, START_TS + 499) == ()
    assert check_progress(look(501), LIMITS, START_TS + 501)


def test_a_run_that_never_wrote_a_heartbeat_stalls_in_start_up(written: WrittenRun, look: Look) -> None:
    assert check_progress(look(1801), LIMITS, START_TS + 1801)


@pytest.mark.parametrize("status", [ProcessStatus.GONE, ProcessStatus.ZOMBIE])
def test_the_dead_do_not_stall(written: WrittenRun, look: Look, status: ProcessStatus) -> None:
    written.beat(0, epoch=1, batch=5)
    assert check_progress(look(9999, status=status), LIMITS, START_TS + 9999) == ()


def _stalls(view: RunView, after_s: float) -> bool:
    return bool(check_progress(view, LIMITS, START_TS + after_s))


@pytest.mark.parametrize(
    ("longest_batch_s", "limit_s"),
    [
        pytest.param(1.0, 120, id="not before the least"),
        pytest.param(60.0, 300, id="five times the longest"),
        pytest.param(2000.0, 3600, id="not after the most"),
    ],
)
def test_the_limit_of_a_batch_is_learnt_from_the_longest(
    written: WrittenRun, look: Look, longest_batch_s: float, limit_s: float
) -> None:
    written.beat(0, epoch=1, batch=5, longest_batch_s=longest_batch_s, epoch_elapsed_s=5000.0)
    assert not _stalls(look(limit_s), limit_s)
    assert _stalls(look(limit_s + 1), limit_s + 1)


@pytest.mark.parametrize(
    ("took_s", "limit_s"),
    [
        pytest.param(10.0, 600, id="not before the least"),
        pytest.param(1000.0, 5000, id="five times the longest"),
        pytest.param(9000.0, 21_600, id="not after the most"),
    ],
)
@pytest.mark.parametrize("phase", [Phase.VALIDATING, Phase.SAVING, Phase.STARTUP, Phase.FIRST_BATCH])
def test_the_limit_of_a_phase_is_learnt_from_the_longest(
    written: WrittenRun, look: Look, phase: Phase, took_s: float, limit_s: float
) -> None:
    written.event(EventKind.PHASE, 0, phase=phase, epoch=1)
    written.event(EventKind.PHASE, took_s, phase=Phase.TRAINING, epoch=1)
    written.event(EventKind.PHASE, took_s + 1, phase=phase, epoch=2)
    written.event(EventKind.PHASE, took_s + 2, phase=Phase.TRAINING, epoch=2)
    written.beat(10_000, epoch=2, batch=100, phase=phase)
    assert not _stalls(look(10_000 + limit_s), 10_000 + limit_s)
    assert _stalls(look(10_001 + limit_s), 10_001 + limit_s)


def test_the_time_between_two_attempts_is_nobodys_phase(written: WrittenRun, look: Look) -> None:
    written.event(EventKind.PHASE, 0, phase=Phase.VALIDATING, epoch=1)
    written.attempt = 2
    written.event(EventKind.PHASE, 90_000, phase=Phase.STARTUP, epoch=1)
    assert dict(look().phases.longest_s) == {}


def test_a_trainer_whose_clock_is_ahead_stalls_all_the_same(written: WrittenRun) -> None:
    reader = RunReader(written.layout.root, first_seen_ts=START_TS)
    written.beat(3600, epoch=1, batch=5)
    reader.read(START_TS)
    written.beat(3601, epoch=1, batch=6)
    view = reader.read(START_TS + 1)
    assert not _stalls(_alive(view), 100)
    assert _stalls(_alive(view), 130)


def test_a_trainer_whose_clock_is_behind_does_not_stall_while_it_works(written: WrittenRun) -> None:
    reader = RunReader(written.layout.root, first_seen_ts=START_TS)
    written.beat(-3600, epoch=1, batch=5)
    reader.read(START_TS)
    written.beat(-3599, epoch=1, batch=6)
    assert not _stalls(_alive(reader.read(START_TS + 1)), 2)


@pytest.mark.parametrize("by_s", [-86_400.0, 86_400.0])
@pytest.mark.parametrize("phase", [Phase.TRAINING, Phase.VALIDATING])
def test_setting_the_bots_clock_makes_no_stall_and_hides_none(
    written: WrittenRun, look: Look, by_s: float, phase: Phase
) -> None:
    written.beat(0, epoch=1, batch=5, phase=phase)
    view = shift_clock(look(10), by_s)
    assert not _stalls(view, by_s + 100)
    assert _stalls(view, by_s + 3700)


def test_a_start_in_the_future_counts_from_the_first_look(written: WrittenRun, look: Look) -> None:
    written.record(started_ts=START_TS + 90_000)
    assert not _stalls(look(1800), 1800)
    assert _stalls(look(1801), 1801)


def test_a_stall_tells_what_the_trainer_is_doing_and_its_last_lines(written: WrittenRun, look: Look) -> None:
    written.beat(0, epoch=1, batch=5)
    view = look(500, detail="stopped by a signal (SIGSTOP)")
    view = replace(view, stacks=("File train.py, line 1 in forward",), log_tail=("1/4  640: 5/100",))
    (found,) = check_progress(view, LIMITS, START_TS + 500)
    assert found.excerpt.index("in forward") < found.excerpt.index("5/100")
    assert ("Process", "alive, stopped by a signal (SIGSTOP)") in found.fields


def _alive(view: RunView) -> RunView:
    return replace(view, process=ProcessFact(status=ProcessStatus.ALIVE, ts=view.ts))
