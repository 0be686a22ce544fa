"""Slurm's states as what is known of a run's job."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.bot.drivers.slurm import recorded
from tests.unit.bot.drivers.slurm.recorded import queue_text
from trainmaster.bot.core.run.facts import ProcessFact, ProcessStatus
from trainmaster.bot.core.run.job import EndCause, JobIdentity, never_ends, waiting_text
from trainmaster.bot.drivers.slurm.rows import JobRow, parse_memory, parse_queue
from trainmaster.bot.drivers.slurm.states import fact_of, is_same_job, newest_memory, row_of


def row(text: str) -> JobRow:
    (one,) = parse_queue(queue_text(text))
    return one


def fact(text: str) -> ProcessFact:
    return fact_of(row(text), 1.0)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (recorded.RUNNING, ProcessStatus.ALIVE),
        (recorded.FIRST_WAIT, ProcessStatus.PENDING),
        (recorded.REQUEUED, ProcessStatus.PENDING),
        (recorded.SUSPENDED, ProcessStatus.SUSPENDED),
        (recorded.STOPPED, ProcessStatus.GONE),
        (recorded.STOPPED.replace("FAILED", "COMPLETING"), ProcessStatus.ALIVE),
        (recorded.FIRST_WAIT.replace("PENDING", "CONFIGURING"), ProcessStatus.PENDING),
        (recorded.FIRST_WAIT.replace("PENDING", "RESV_DEL_HOLD"), ProcessStatus.PENDING),
        (recorded.RUNNING.replace("RUNNING", "RESIZING"), ProcessStatus.ALIVE),
        (recorded.STOPPED.replace("FAILED", "HYPERSLEEP"), ProcessStatus.UNKNOWN),
        (recorded.FIRST_WAIT.replace("PENDING", "REVOKED"), ProcessStatus.UNKNOWN),
    ],
    ids=[
        *("running", "pending", "requeued", "suspended", "failed", "completing", "configuring"),
        *("held, its reservation gone", "running, of another size soon", "of a later version"),
        "another cluster runs it",
    ],
)
def test_state_is_told_for_what_it_is(text: str, status: ProcessStatus) -> None:
    assert fact(text).status is status


@pytest.mark.parametrize(
    ("text", "code", "signum", "cause"),
    [
        (recorded.STOPPED, 3, None, EndCause.FAILED),
        (recorded.KILLED, None, 9, EndCause.FAILED),
        (recorded.COMPLETED, 0, None, EndCause.COMPLETED),
        (recorded.CANCELLED_WAITING, None, None, EndCause.CANCELLED),
        (recorded.STOPPED.replace("FAILED", "TIMEOUT"), 3, None, EndCause.TIMEOUT),
        (recorded.COMPLETED.replace("COMPLETED", "NODE_FAIL"), None, None, EndCause.NODE_FAIL),
        (recorded.KILLED.replace("FAILED", "OUT_OF_MEMORY"), None, 9, EndCause.OUT_OF_MEMORY),
    ],
    ids=["stopped", "killed", "finished", "cancelled before it ran", "time limit", "node failed", "out of memory"],
)
def test_end_has_its_cause_and_what_the_trainer_said(
    text: str, code: int | None, signum: int | None, cause: EndCause
) -> None:
    found = fact(text)
    assert (found.exit_code, found.signal) == (code, signum)
    assert found.job is not None
    assert found.job.cause is cause
    assert found.over


def test_job_of_the_run_s_own_name_is_its_newest_whenever_the_record_says_it_began() -> None:
    ours = JobIdentity(id="5", cluster="lab", name="tm-abc", started_ts=1.0)
    assert is_same_job(row(recorded.FIRST_WAIT), ours)
    assert not is_same_job(row(recorded.FIRST_WAIT), replace(ours, name="tm-other"))
    assert not is_same_job(row(recorded.FIRST_WAIT), replace(ours, name=None))
    assert not is_same_job(row(recorded.FIRST_WAIT), replace(ours, submit_ts=2.0))


def test_waiting_job_tells_why_and_since_when_preempted_one_that_it_must_leave() -> None:
    waits, leaves = fact(recorded.FIRST_WAIT).job, fact(recorded.PREEMPTED_SOON).job
    assert waits is not None
    assert (waits.reason, waits.start_ts, waits.end_ts) == ("Resources", 1795891449.0, None)
    assert waiting_text(waits).startswith("Resources, expected to start ")
    assert waiting_text(fact(recorded.NO_ESTIMATE).job).endswith("no start is planned yet")
    assert leaves is not None
    assert leaves.preempt_ts == 1795891444.0


@pytest.mark.parametrize(
    ("job", "same"),
    [
        pytest.param(JobIdentity(id="6"), True, id="a later start of it"),
        pytest.param(JobIdentity(id="6", restart=1), True, id="this start"),
        pytest.param(JobIdentity(id="6", restart=2), False, id="fewer restarts: another job"),
        pytest.param(JobIdentity(id="6", name="tm-other"), False, id="another name"),
        pytest.param(JobIdentity(id="6", cluster="elsewhere"), False, id="another cluster"),
        pytest.param(JobIdentity(id="6", restart=1, started_ts=1795890000.0), False, id="submitted after it started"),
        pytest.param(JobIdentity(id="6", restart=1, started_ts=1795891300.0), True, id="a node's clock two min behind"),
        pytest.param(JobIdentity(id="6", restart=1, submit_ts=1795800000.0), False, id="another time of submission"),
    ],
)
def test_number_that_came_round_again_is_another_job(job: JobIdentity, same: bool) -> None:
    assert is_same_job(row(recorded.REQUEUED), job) is same
    assert (row_of([row(recorded.RUNNING), row(recorded.REQUEUED)], job) is not None) is same


def test_memory_answers_by_number_and_name() -> None:
    rows = parse_memory(recorded.MEMORY)
    found = newest_memory(rows, JobIdentity(id="1", name="tm-abc"))
    assert found is not None
    assert found.exit_code == 3
    assert newest_memory(rows, JobIdentity(id="1", name="tm-other")) is None
    assert newest_memory(rows, JobIdentity(id="1", started_ts=1795800000.0)) is None


@pytest.mark.parametrize(
    ("reason", "hopeless"),
    [
        ("PartitionTimeLimit", True),
        ("JobHeldAdmin", True),
        ("JobHeldUser", True),
        ("DependencyNeverSatisfied", True),
        ("job requeued in held state", True),
        ("QOSMaxWallDurationPerJobLimit", True),
        ("AssocMaxGRESPerJob", True),
        ("QOSMaxGRESPerNode", True),
        ("QOSMinCpuNotSatisfied", True),
        ("QOSMaxJobsPerUserLimit", False),
        ("QOSMaxGRESPerUser", False),
        ("AssocGrpCpuLimit", False),
        ("AssociationJobLimit", False),
        ("Resources", False),
        ("Priority", False),
        ("Dependency", False),
        ("BeginTime", False),
        ("ReqNodeNotAvail, UnavailableNodes:n3", False),
        ("", False),
    ],
)
def test_reason_that_no_waiting_ends_is_known(reason: str, hopeless: bool) -> None:
    assert never_ends(reason) is hopeless
