"""Slurm's states and causes -> what is known of a run's job. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from trainmaster.bot.core.run.facts import ProcessFact, ProcessStatus
from trainmaster.bot.core.run.job import EndCause, JobFact, JobIdentity
from trainmaster.bot.drivers.slurm.rows import JobRow

_WAITS: Final = frozenset(
    {
        *("PENDING", "CONFIGURING", "POWER_UP_NODE", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD"),
        *("RECONFIG_FAIL", "SPECIAL_EXIT"),
    }
)
_WORKS: Final = frozenset({"RUNNING", "RESIZING", "COMPLETING", "SIGNALING", "STAGE_OUT"})
_HALTS: Final = frozenset({"SUSPENDED", "STOPPED"})
_ENDS: Final = {
    "COMPLETED": EndCause.COMPLETED,
    "FAILED": EndCause.FAILED,
    "CANCELLED": EndCause.CANCELLED,
    "TIMEOUT": EndCause.TIMEOUT,
    "PREEMPTED": EndCause.PREEMPTED,
    "NODE_FAIL": EndCause.NODE_FAIL,
    "OUT_OF_MEMORY": EndCause.OUT_OF_MEMORY,
    "BOOT_FAIL": EndCause.BOOT_FAIL,
    "DEADLINE": EndCause.DEADLINE,
}
_REVOKED: Final = "REVOKED"

CLOCK_SKEW_S: Final = 300.0
"""A node's clock may differ from the controller's by so much: munge refuses more (its default TTL)."""


def is_same_job(row: JobRow, job: JobIdentity) -> bool:
    """Whether ``row`` is a start of that job, this one or a later one, and no other job that got its number.

    A queue that lost its database counts from 1 again. A requeue keeps the number and resets the time of submission,
    so that one tells only while the count of restarts is the same.
    """
    if row.id != job.id or (job.cluster and row.cluster and row.cluster != job.cluster):
        return False
    if job.name and row.name and row.name != job.name:
        return False
    if row.restarts is not None and row.restarts != job.restart:
        return row.restarts > job.restart
    if job.submit_ts is not None and row.submit_ts is not None:
        return abs(row.submit_ts - job.submit_ts) <= 1.0
    if job.name and row.name == job.name:
        return True  # of the same run, and its newest: nobody else gives a job that name
    if job.started_ts is not None and row.submit_ts is not None:
        return row.submit_ts <= job.started_ts + CLOCK_SKEW_S
    return True


def row_of(rows: Iterable[JobRow], job: JobIdentity) -> JobRow | None:
    """The newest row of that job; None when there is none."""
    same = [row for row in rows if is_same_job(row, job)]
    return same[-1] if same else None


def fact_of(row: JobRow, ts: float) -> ProcessFact:
    """What the row says."""
    job = JobFact(
        id=row.id,
        cluster=row.cluster,
        task=row.task,
        state=row.state.lower(),
        restarts=row.restarts or 0,
        partition=row.partition,
        node=row.node,
        submit_ts=row.submit_ts,
        start_ts=row.start_ts,
        end_ts=row.end_ts,
        preempt_ts=row.preempt_ts,
        limit_ts=None if row.start_ts is None or row.limit_s is None else row.start_ts + row.limit_s,
    )
    if row.state in _WAITS:
        waits = replace(job, reason=row.reason, end_ts=None, limit_ts=None)
        return ProcessFact(status=ProcessStatus.PENDING, ts=ts, job=waits, detail=f"waits in the queue: {row.reason}")
    if row.state in _WORKS:
        return ProcessFact(status=ProcessStatus.ALIVE, ts=ts, job=job, detail=f"{row.state.lower()} on {row.node}")
    if row.state in _HALTS:
        return ProcessFact(status=ProcessStatus.SUSPENDED, ts=ts, job=job, detail=f"suspended on {row.node}")
    cause = _ENDS.get(row.state)
    if cause is None:
        text = f"Slurm calls its state {row.state}, which this version does not know"
        if row.state == _REVOKED:
            text = "another cluster of the federation took its job, and this bot does not ask that one"
        return ProcessFact(status=ProcessStatus.UNKNOWN, ts=ts, job=job, detail=text)
    said = bool(row.exit_code or row.signal) or cause is EndCause.COMPLETED
    # A job that waited when it was cancelled has no exit code of its own; 0:0 beside such a cause says nothing.
    return ProcessFact(
        status=ProcessStatus.GONE,
        ts=ts,
        exit_code=row.exit_code if said else None,
        signal=row.signal if said else None,
        job=replace(job, reason=row.reason, cause=cause),
        detail=cause.text,
    )


def newest_memory(rows: Sequence[JobRow], job: JobIdentity) -> JobRow | None:
    """The newest start of that job that the accounting tells; None when it tells none.

    It shows one row a start and counts no restarts, so the number must do, with the name or the time where they are
    known.
    """
    same = [row for row in rows if row.id == job.id and not (job.name and row.name and row.name != job.name)]
    if not job.name and job.started_ts is not None:
        limit_ts = job.started_ts + CLOCK_SKEW_S
        same = [row for row in same if row.submit_ts is None or row.submit_ts <= limit_ts]
    return same[-1] if same else None
