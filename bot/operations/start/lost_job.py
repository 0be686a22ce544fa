"""Which job of a restart its cluster has lost, so that it is submitted once more. Pure."""

from __future__ import annotations

from typing import Final

from trainmaster.bot.core.run.facts import ProcessFact, RunRecord
from trainmaster.bot.core.run.job import EndCause, JobFact
from trainmaster.bot.core.run.state import REFUSED_BY_NODE, later_start_died, node_refused
from trainmaster.trainer.contract import RunRecordState

KEPT_S: Final = 8.0
"""From what is asked of a cluster until that is certain to outlive its controller. One that is killed forgets what it
took in its last 5 s (Slurm, slurmctld/state_save.c, SAVE_MAX_WAIT): a job that was submitted then is unknown, and one
that was ended then is believed to run, and queued again."""
_BY_THE_CLUSTER: Final = frozenset({EndCause.NODE_FAIL, EndCause.BOOT_FAIL})
_NOT_BY_ITSELF: Final = "JobLaunchFailure"
"""Slurm's reason where a batch script did not begin, or was ended by a signal: it can't tell one from the other."""


def is_lost(
    fact: ProcessFact | None, record: RunRecord | None, *, attempt: int, held: bool, mute: bool = False
) -> bool:
    """Whether the job of a restart is over by no doing of its trainer's. ``attempt`` is the one before the restart;
    ``held``: whether the operation itself has taken the job out of the queue, since it could not be launched; ``mute``:
    whether nothing was written to its log since it was submitted.

    A controller that is killed forgets what it took in its last seconds, or holds a job whose trainer it has started:
    that trainer is asked to end, and says so in its record; or starts that job once more on a node which refuses it
    for having just ended it. Any other word of its own is the truth.
    """
    if fact is None or not fact.over:
        return False
    cancelled_by_us = held and fact.job is not None and fact.job.cause is EndCause.CANCELLED
    signed_in = record is not None and record.attempt > attempt
    if signed_in and record is not None and record.state is not RunRecordState.RUNNING:
        if later_start_died(record, fact):
            return True
        return record.state is RunRecordState.STOPPED and (cancelled_by_us or fact.job is None)
    refused = signed_in and record is not None and _was_refused(fact, record)
    refused = refused or (not signed_in and mute and node_refused(fact))  # whatever a trainer fails of, Python tells
    return cancelled_by_us or refused or fact.job is None or _is_of_the_cluster(fact.job)


def _was_refused(fact: ProcessFact, record: RunRecord) -> bool:
    """Whether what is over is a start of the job that began when its trainer had signed in already: that trainer was
    killed, and the node refused the next start. The code is Slurm's own; a trainer that fails says so on record."""
    start_ts = fact.job.start_ts if fact.job is not None else None
    later = start_ts is not None and record.started_ts is not None and start_ts > record.started_ts
    return later and fact.exit_code == REFUSED_BY_NODE


def _is_of_the_cluster(job: JobFact) -> bool:
    return job.cause in _BY_THE_CLUSTER or job.reason == _NOT_BY_ITSELF
