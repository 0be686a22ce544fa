"""Which job is submitted once more, and which end is the trainer's own word."""

from __future__ import annotations

import pytest

from trainmaster.bot.core.run.facts import ProcessFact, ProcessStatus, RunRecord
from trainmaster.bot.core.run.job import EndCause, JobFact
from trainmaster.bot.operations.lost_job import is_lost
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
