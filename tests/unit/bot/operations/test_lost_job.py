"""Which job of a restart is submitted once more."""

from __future__ import annotations

import pytest

from trainmaster.bot.core.run.facts import ProcessFact, ProcessStatus, RunRecord
from trainmaster.bot.core.run.job import EndCause, JobFact
from trainmaster.bot.operations.lost_job import is_lost

SIGNED_IN_TS = 1000.0


def record(state: str, *, attempt: int = 3) -> RunRecord:
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
    assert is_lost(fact, record(state), attempt=2, held=False) is lost
