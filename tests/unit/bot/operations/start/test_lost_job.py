"""Which job is submitted once more, and which end is the trainer's own word."""

from __future__ import annotations

import pytest

from trainmaster.bot.core.run.facts import ProcessFact, ProcessStatus, RunRecord
from trainmaster.bot.core.run.job import EndCause, JobFact
from trainmaster.bot.operations.start.lost_job import is_lost
from trainmaster.trainer.contract import RunRecordState

BEFORE = RunRecord(run="abc", attempt=2, state=RunRecordState.STOPPED)


def over(cause: EndCause | None, reason: str = "") -> ProcessFact:
    job = None if cause is None else JobFact(id="7", cause=cause, reason=reason)
    return ProcessFact(status=ProcessStatus.GONE, ts=1.0, job=job)


def begun(state: RunRecordState) -> RunRecord:
    return RunRecord(run="abc", attempt=3, state=state)


@pytest.mark.parametrize(
    ("fact", "record", "held", "lost"),
    [
        pytest.param(over(None), BEFORE, False, True, id="forgotten by a controller that was killed"),
        pytest.param(over(None), begun(RunRecordState.RUNNING), False, True, id="forgotten while it trained"),
        pytest.param(over(EndCause.CANCELLED), BEFORE, True, True, id="held, and taken out by us"),
        pytest.param(
            over(EndCause.CANCELLED), begun(RunRecordState.STOPPED), True, True, id="held though its trainer had begun"
        ),
        pytest.param(over(EndCause.NODE_FAIL), BEFORE, False, True, id="its node failed"),
        pytest.param(over(EndCause.FAILED, "JobLaunchFailure"), BEFORE, False, True, id="could not be launched"),
        pytest.param(over(EndCause.CANCELLED), BEFORE, False, False, id="cancelled by somebody else"),
        pytest.param(over(EndCause.CANCELLED), begun(RunRecordState.STOPPED), False, False, id="stopped by a person"),
        pytest.param(over(EndCause.FAILED, "NonZeroExitCode"), BEFORE, False, False, id="refused by its trainer"),
        pytest.param(over(None), begun(RunRecordState.STOPPED), False, True, id="forgotten, and its trainer ended"),
        pytest.param(over(None), begun(RunRecordState.CRASHED), False, False, id="crashed"),
        pytest.param(over(EndCause.CANCELLED), begun(RunRecordState.CRASHED), True, False, id="held, and crashed"),
        pytest.param(None, BEFORE, False, False, id="nothing known"),
        pytest.param(
            ProcessFact(status=ProcessStatus.PENDING, ts=1.0, job=JobFact(id="7")), BEFORE, True, False, id="it waits"
        ),
    ],
)
def test_only_what_the_cluster_lost_is_submitted_again(
    fact: ProcessFact | None, record: RunRecord, held: bool, lost: bool
) -> None:
    assert is_lost(fact, record, attempt=2, held=held) is lost


SIGNED_IN_TS = 1000.0


def signed_in(state: str, *, attempt: int = 3) -> RunRecord:
    job = {"id": "2", "restart": 0, "node": "n1"}
    fields = {"attempt": attempt, "state": state, "started_ts": SIGNED_IN_TS, "launch_key": "op-1", "job": job}
    made = RunRecord.parse({"run": "r", "pid": 7, **fields})
    assert made is not None
    return made


def ended(code: int, start_ts: float, *, restarts: int = 0) -> ProcessFact:
    job = JobFact(id="2", cause=EndCause.FAILED, reason="NonZeroExitCode", start_ts=start_ts, restarts=restarts)
    return ProcessFact(status=ProcessStatus.GONE, ts=2000.0, exit_code=code, job=job)


@pytest.mark.parametrize(
    ("state", "fact", "lost"),
    [
        pytest.param("running", ended(1, SIGNED_IN_TS + 9), True, id="killed, and its next start refused by the node"),
        pytest.param("stopped", ended(1, SIGNED_IN_TS + 9), True, id="stopped, and its next start refused"),
        pytest.param("stopped", ended(1, SIGNED_IN_TS + 9, restarts=1), True, id="the same, where Slurm counted it"),
        pytest.param("running", ended(1, SIGNED_IN_TS - 5), False, id="the start that signed in failed"),
        pytest.param("running", ended(2, SIGNED_IN_TS + 9), False, id="a word of the trainer's own"),
        pytest.param("stopped", ended(3, SIGNED_IN_TS - 5), False, id="stopped on request"),
        pytest.param("crashed", ended(1, SIGNED_IN_TS - 5), False, id="crashed"),
    ],
)
def test_start_that_a_node_refused_is_no_end_of_the_trainer_before_it(
    state: str, fact: ProcessFact, lost: bool
) -> None:
    """Recorded: a controller was killed as it started a job, queued it again when the node registered, and started it
    where it had just been killed."""
    assert is_lost(fact, signed_in(state), attempt=2, held=False) is lost


def refused_at_once(code: int, *, end_ts: float) -> ProcessFact:
    job = JobFact(id="2", cause=EndCause.FAILED, reason="NonZeroExitCode", start_ts=2000.0, end_ts=end_ts)
    return ProcessFact(status=ProcessStatus.GONE, ts=2100.0, exit_code=code, job=job)


@pytest.mark.parametrize(
    ("fact", "mute", "lost"),
    [
        pytest.param(refused_at_once(1, end_ts=2000.0), True, True, id="over as it began, and not a word"),
        pytest.param(refused_at_once(1, end_ts=2000.0), False, False, id="Python says why"),
        pytest.param(refused_at_once(1, end_ts=2009.0), True, False, id="it worked for a while"),
        pytest.param(refused_at_once(2, end_ts=2000.0), True, False, id="a code of the trainer's"),
    ],
)
def test_start_that_a_node_refused_before_it_signed_in_is_submitted_again(
    fact: ProcessFact, mute: bool, lost: bool
) -> None:
    assert is_lost(fact, BEFORE, attempt=2, held=False, mute=mute) is lost
