"""What is told of a run that is a job of a cluster, and what is no trouble there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.support.run_dirs import START_TS, WrittenRun
from tests.unit.conftest import Look
from trainmaster.bot.checks import CHECKS, CheckLimits
from trainmaster.bot.checks.job import check_job
from trainmaster.bot.checks.lifecycle import check_lifecycle
from trainmaster.bot.checks.process import check_process
from trainmaster.bot.checks.progress import check_progress
from trainmaster.bot.core.alerts.finding import Finding, Severity
from trainmaster.bot.core.run.death import DeathClass, death_of
from trainmaster.bot.core.run.facts import ProcessStatus
from trainmaster.bot.core.run.job import EndCause, JobFact
from trainmaster.bot.core.run.state import RunState
from trainmaster.bot.core.run.view import RunView
from trainmaster.trainer.contract import EventKind, Phase, RunRecordState

LIMITS = CheckLimits(pending_max_s=3600)
JOB = {"id": "17", "cluster": "lab", "restart": 0, "node": "n1", "partition": "gpu", "options": []}


def fact(**changes: Any) -> JobFact:
    return replace(
        JobFact(id="17", cluster="lab", state="running", partition="gpu", node="n1", submit_ts=START_TS), **changes
    )


@pytest.fixture
def job_run(written: WrittenRun) -> WrittenRun:
    """A run that trains as job 17 on node n1."""
    written.record(job=JOB)
    written.beat(90, epoch=1, batch=7)
    return written


def told(view: RunView, after_s: float = 100.0) -> dict[str, Finding]:
    return {one.check: one for one in check_job(view, LIMITS, START_TS + after_s)}


def seen(view: RunView, after_s: float) -> RunView:
    """Whose heartbeat was seen to change then."""
    return replace(view, beat_seen_ts=START_TS + after_s)


def test_running_job_and_a_process_of_this_host_are_no_news(job_run: WrittenRun, look: Look) -> None:
    assert told(look(job=fact(end_ts=START_TS + 500_000))) == {}
    assert told(look()) == {}
    assert look(job=fact()).state is RunState.TRAINING


def test_silent_cluster_says_nothing_of_a_job(job_run: WrittenRun, look: Look) -> None:
    view = look(status=ProcessStatus.UNKNOWN, detail="no answer")
    assert told(view) == {}
    assert view.state is RunState.UNKNOWN
    assert check_process(view, LIMITS, START_TS + 100) == ()


@pytest.mark.parametrize(("waited_s", "is_told"), [(3500, False), (3700, True)])
def test_wait_is_told_beyond_its_limit(job_run: WrittenRun, look: Look, waited_s: float, is_told: bool) -> None:
    view = look(waited_s, status=ProcessStatus.PENDING, job=fact(state="pending", reason="Resources"))
    assert view.state is RunState.PENDING
    assert ("job_waits" in told(view, waited_s)) is is_told


@pytest.mark.parametrize(
    ("reason", "is_told"),
    [("PartitionTimeLimit", True), ("JobHeldAdmin", True), ("JobHoldMaxRequeue", True), ("Priority", False)],
)
def test_reason_that_never_ends_is_told_at_once(job_run: WrittenRun, look: Look, reason: str, is_told: bool) -> None:
    found = told(look(status=ProcessStatus.PENDING, job=fact(state="pending", reason=reason)))
    assert ("job_hopeless" in found) is is_told
    if is_told:
        assert reason in found["job_hopeless"].title
        assert found["job_hopeless"].severity is Severity.CRITICAL


def test_requeued_job_is_told_once_a_restart_with_its_next_start(job_run: WrittenRun, look: Look) -> None:
    job_run.record(job=JOB, state=RunRecordState.STOPPED)
    pending = fact(state="pending", reason="BeginTime", restarts=1, start_ts=START_TS + 221)
    view = look(status=ProcessStatus.PENDING, job=pending)
    found = told(view)["job_queued_again"]
    assert "attempt 2 waits until" in found.title
    assert "in an orderly way" in found.body[0]
    assert found.key == "job17/restart1"
    assert view.state is RunState.PENDING


def test_power_cut_says_that_the_trainer_left_no_word(job_run: WrittenRun, look: Look) -> None:
    found = told(look(status=ProcessStatus.PENDING, job=fact(state="pending", reason="BeginTime", restarts=1)))
    assert "left no word" in found["job_queued_again"].body[0]


@pytest.mark.parametrize("state", [RunRecordState.STOPPED, RunRecordState.FINISHED, RunRecordState.RUNNING])
@pytest.mark.parametrize(
    ("status", "shown"), [(ProcessStatus.PENDING, RunState.PENDING), (ProcessStatus.ALIVE, RunState.STARTING)]
)
def test_job_that_was_submitted_since_is_what_the_run_s_state_tells(
    job_run: WrittenRun, look: Look, state: RunRecordState, status: ProcessStatus, shown: RunState
) -> None:
    job_run.record(job=JOB, state=state)
    view = look(status=status, job=fact(id="18", state="pending", reason="Priority"))
    assert view.state is shown
    assert view.at_work is not None
    assert view.at_work.label == "job 18"
    assert told(view) == {}


def test_job_whose_trainer_refused_its_arguments_is_told_with_what_to_do(job_run: WrittenRun, look: Look) -> None:
    job_run.record(job=JOB, state=RunRecordState.SUBMITTED, attempt=0)
    ended = fact(cause=EndCause.FAILED, reason="NonZeroExitCode")
    view = look(status=ProcessStatus.GONE, exit_code=2, job=ended, detail="its job failed")
    (death,) = check_process(view, LIMITS, START_TS + 100)
    assert "exit code 2" in death.body[0]
    assert "its output" in death.hint


def test_number_that_another_job_got_is_told_without_a_word_of_pids(job_run: WrittenRun, look: Look) -> None:
    said = "the job's number is another one's now (job 17 is 'wrap'), how it ended is not known"
    (death,) = check_process(look(status=ProcessStatus.REPLACED, detail=said), LIMITS, START_TS + 100)
    assert death.body[0] == said.capitalize() + "."


def test_job_that_the_record_names_is_what_is_at_work(job_run: WrittenRun, look: Look) -> None:
    view = look(job=fact())
    assert view.at_work is not None
    assert view.at_work.label == "job 17"


def test_first_wait_is_no_requeue(job_run: WrittenRun, look: Look) -> None:
    assert told(look(status=ProcessStatus.PENDING, job=fact(state="pending", reason="Priority"))) == {}


def test_suspended_job_is_told_and_is_no_stall(job_run: WrittenRun, look: Look) -> None:
    view = look(90_000, status=ProcessStatus.SUSPENDED, job=fact(state="suspended"))
    assert view.state is RunState.SUSPENDED
    assert "job_suspended" in told(view, 90_000)
    assert check_progress(view, LIMITS, START_TS + 90_000) == ()
    assert check_progress(look(90_000, job=fact()), LIMITS, START_TS + 90_000) != ()


def test_pending_job_is_no_stall_and_no_death(job_run: WrittenRun, look: Look) -> None:
    view = look(90_000, status=ProcessStatus.PENDING, job=fact(state="pending", reason="BeginTime", restarts=1))
    assert check_progress(view, LIMITS, START_TS + 90_000) == ()
    assert check_process(view, LIMITS, START_TS + 90_000) == ()


def test_job_that_begins_again_is_starting_and_its_old_heartbeat_no_stall(job_run: WrittenRun, look: Look) -> None:
    again = fact(restarts=1, start_ts=START_TS + 4_000)
    assert look(4_010, job=again).state is RunState.STARTING
    assert check_progress(look(4_010, job=again), LIMITS, START_TS + 4_010) == ()
    assert check_progress(look(6_000, job=again), LIMITS, START_TS + 6_000) != ()


def test_preemption_is_announced(job_run: WrittenRun, look: Look) -> None:
    assert "make room" in told(look(job=fact(preempt_ts=START_TS + 95)))["job_preempted"].title


def test_limit_before_the_epoch_s_end_is_told_with_how_much_is_missing(job_run: WrittenRun, look: Look) -> None:
    job_run.start_epoch(1, 0)
    job_run.beat(100, epoch=1, batch=10, epoch_elapsed_s=1000.0)  # 100 s a batch, 90 to go
    early = told(look(job=fact(end_ts=START_TS + 100 + 9000 - 3 * 3600 + 5400)))["job_limit"]
    assert "limit comes 1 h 30 min before the end of epoch 1" in early.title
    assert "job_limit" not in told(look(job=fact(end_ts=START_TS + 20_000)))


def test_trainer_that_slurm_has_lost_sight_of_is_told_and_not_called_dead(job_run: WrittenRun, look: Look) -> None:
    moved = fact(restarts=1, node="n2", submit_ts=START_TS + 60)
    view = seen(look(job=moved), 99)
    assert "still works though its job is on n2" in told(view)["two_trainers"].title
    over = seen(look(status=ProcessStatus.GONE, job=fact(cause=EndCause.FAILED, end_ts=START_TS + 60)), 99)
    assert "two_trainers" in told(over)
    assert check_process(over, LIMITS, START_TS + 100) == ()


def test_last_heartbeat_before_a_requeue_is_no_second_trainer(job_run: WrittenRun, look: Look) -> None:
    pending = fact(state="pending", restarts=1, submit_ts=START_TS + 98)
    assert "two_trainers" not in told(seen(look(status=ProcessStatus.PENDING, job=pending), 99))
    ended = fact(cause=EndCause.FAILED, end_ts=START_TS + 98)
    dead = seen(look(status=ProcessStatus.GONE, signal=9, job=ended, detail="its job failed"), 99)
    assert "two_trainers" not in told(dead)
    (death,) = check_process(dead, LIMITS, START_TS + 100)
    assert death.body[0] == "Slurm says: its job failed. Its trainer was ended by signal 9."
    assert death.fields[0] == ("Process", "job 17")


@pytest.mark.parametrize("ahead_s", [200.0, -200.0], ids=["the bot's clock is ahead", "it is behind"])
def test_clock_of_the_bot_s_host_makes_no_second_trainer_and_no_death(
    job_run: WrittenRun, look: Look, ahead_s: float
) -> None:
    pending = fact(state="pending", restarts=1, submit_ts=START_TS + 91)
    view = seen(look(status=ProcessStatus.PENDING, job=pending), 91 + ahead_s)
    assert "two_trainers" not in told(view, 92 + ahead_s)
    lost = seen(look(status=ProcessStatus.GONE, job=fact(cause=EndCause.NODE_FAIL, end_ts=START_TS + 60)), 90 + ahead_s)
    assert check_process(lost, LIMITS, START_TS + 91 + ahead_s) == ()


def test_death_of_a_job_has_slurm_s_reason_and_both_ways_on(job_run: WrittenRun, look: Look) -> None:
    ended = fact(cause=EndCause.FAILED, reason="JobLaunchFailure")
    view = look(status=ProcessStatus.GONE, signal=9, job=ended, detail="its job failed")
    (death,) = check_process(view, LIMITS, START_TS + 100)
    assert death.body[0].startswith("Slurm says: its job failed (JobLaunchFailure).")
    assert "with its node" in death.body[1]
    assert death.hint.startswith("/train resume")
    assert "/train execute rollback" in death.hint
    ended = fact(cause=EndCause.FAILED, reason="NonZeroExitCode")
    view = look(status=ProcessStatus.GONE, exit_code=1, job=ended, detail="its job failed")
    (death,) = check_process(view, LIMITS, START_TS + 100)
    assert death.body[0] == "Slurm says: its job failed. Its trainer ended with exit code 1."


@pytest.mark.parametrize(
    ("status", "is_told"),
    [
        (ProcessStatus.ALIVE, False),
        (ProcessStatus.PENDING, False),
        (ProcessStatus.UNKNOWN, False),
        (ProcessStatus.GONE, True),
    ],
)
def test_stop_of_a_job_is_told_as_a_stop_once_it_is_over(
    job_run: WrittenRun, look: Look, status: ProcessStatus, is_told: bool
) -> None:
    """A cluster that takes a job, or queues it again, asks its trainer as a person does."""
    job_run.record(job=JOB, state=RunRecordState.STOPPED)
    job_run.event(EventKind.RUN_STOPPED, 95, epoch=1, batch=7, resumable=True)
    view = look(status=status, job=fact(cause=EndCause.PREEMPTED if status is ProcessStatus.GONE else None))
    found = [one for one in check_lifecycle(view, LIMITS, START_TS + 100) if one.check == EventKind.RUN_STOPPED]
    assert bool(found) is is_told
    if is_told:
        assert "preempted" in found[0].body[1]


def test_submitted_run_waits_then_starts_then_may_die_before_it_began(written: WrittenRun, look: Look) -> None:
    written.record(job={**JOB, "node": None}, state=RunRecordState.SUBMITTED, attempt=0)
    assert look(status=ProcessStatus.PENDING, job=fact(state="pending")).state is RunState.PENDING
    assert look(job=fact()).state is RunState.STARTING
    gone = look(status=ProcessStatus.GONE, job=fact(cause=EndCause.CANCELLED), detail="its job was cancelled")
    assert gone.state is RunState.DIED
    (death,) = check_process(gone, LIMITS, START_TS + 100)
    assert death.title.endswith("the training process died before the first batch")


def test_finished_run_stays_finished_whatever_becomes_of_its_job(job_run: WrittenRun, look: Look) -> None:
    job_run.record(job=JOB, state=RunRecordState.FINISHED)
    assert look(status=ProcessStatus.PENDING, job=fact(restarts=1)).state is RunState.FINISHED


def test_every_condition_of_the_check_is_declared() -> None:
    declared = next(one.conditions for one in CHECKS if one.look is check_job)
    assert set(declared) == {"job_waits", "job_hopeless", "job_suspended", "job_limit", "two_trainers"}


def test_phase_of_a_live_job_is_its_heartbeat_s(job_run: WrittenRun, look: Look) -> None:
    job_run.beat(95, epoch=1, batch=7, phase=Phase.VALIDATING)
    assert look(job=fact()).state is RunState.VALIDATING


@pytest.mark.parametrize(
    ("cause", "restarts", "state"),
    [
        (EndCause.FAILED, 1, RunState.DIED),
        (EndCause.NODE_FAIL, 1, RunState.DIED),
        (EndCause.CANCELLED, 1, RunState.STOPPED),
        (EndCause.FAILED, 0, RunState.STOPPED),
    ],
    ids=["by a late signal", "with its node", "cancelled by a person", "the start that stopped"],
)
def test_start_that_is_over_before_it_signed_in_is_a_death_and_no_stop(
    job_run: WrittenRun, look: Look, cause: EndCause, restarts: int, state: RunState
) -> None:
    """Its job was queued again after an orderly stop; the record's word is of the start before."""
    job_run.record(job=JOB, state=RunRecordState.STOPPED)
    job_run.event(EventKind.STOP_REQUESTED, 94, signal=15)
    job_run.event(EventKind.RUN_STOPPED, 95, epoch=1, batch=7, resumable=True)
    ended = fact(state="failed", restarts=restarts, cause=cause, end_ts=START_TS + 99)
    view = look(status=ProcessStatus.GONE, job=ended, signal=15, detail=cause.text)
    assert view.state is state
    death = death_of(view)
    assert death is not None
    died = state is RunState.DIED
    assert (death.kind is DeathClass.TRANSIENT) is died
    findings = check_process(view, LIMITS, START_TS + 100)
    assert [one.check for one in findings] == (["process_died"] if died else [])
    if died:
        assert cause.text in findings[0].body[0]
        assert "ended before it trained" in findings[0].body[1]
    stops = [one for one in check_lifecycle(view, LIMITS, START_TS + 100) if one.check == EventKind.RUN_STOPPED]
    assert bool(stops) is not died
