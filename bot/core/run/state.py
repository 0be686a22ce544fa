"""A run's state, told from what its records and its process say."""

from __future__ import annotations

from enum import StrEnum

from trainmaster.bot.core.run.facts import ProcessFact, ProcessStatus, RunRecord
from trainmaster.bot.core.run.job import EndCause
from trainmaster.trainer.contract import ExitCode, Heartbeat, Phase, RunRecordState


class RunState(StrEnum):
    """What a person would say of the run. ``UNKNOWN`` is an answer: no evidence is never rounded up to healthy."""

    PENDING = "pending"
    """It waits in the queue of its cluster, for its first start or for the next one."""
    STARTING = "starting"
    TRAINING = "training"
    VALIDATING = "validating"
    SAVING = "saving"
    SUSPENDED = "suspended"
    """Its cluster has halted it."""
    STOPPED = "stopped"
    FINISHED = "finished"
    GAVE_UP = "gave up"
    REFUSED = "refused"
    CRASHED = "crashed"
    DIED = "died"
    """Its record says running, its process is gone: it had no time to say why."""
    UNKNOWN = "unknown"

    @property
    def active(self) -> bool:
        """Whether the trainer is at work."""
        return self in {RunState.STARTING, RunState.TRAINING, RunState.VALIDATING, RunState.SAVING}

    @property
    def goes_on(self) -> bool:
        """Whether the trainer is at work, or will be without anybody's doing."""
        return self.active or self in {RunState.PENDING, RunState.SUSPENDED}


_BY_RECORD = {
    RunRecordState.STOPPED: RunState.STOPPED,
    RunRecordState.FINISHED: RunState.FINISHED,
    RunRecordState.GAVE_UP: RunState.GAVE_UP,
    RunRecordState.REFUSED: RunState.REFUSED,
    RunRecordState.CRASHED: RunState.CRASHED,
}
REFUSED_BY_NODE = 1
"""What Slurm calls a start that a node did not take."""
_REFUSED_WITHIN_S = 2.0
"""Slurm counts whole seconds."""
_AT_WORK = {RunRecordState.RUNNING, RunRecordState.FINISHED}
_BY_PHASE = {
    Phase.STARTUP: RunState.STARTING,
    Phase.FIRST_BATCH: RunState.STARTING,
    Phase.TRAINING: RunState.TRAINING,
    Phase.VALIDATING: RunState.VALIDATING,
    Phase.SAVING: RunState.SAVING,
}


def judge_state(record: RunRecord | None, heartbeat: Heartbeat | None, process: ProcessFact | None) -> RunState:
    """The state that the evidence supports; a record of an end outranks the process, which outranks the heartbeat."""
    if record is None or record.state is None:
        return RunState.UNKNOWN
    status = process.status if process is not None else ProcessStatus.UNKNOWN
    if status is ProcessStatus.PENDING and (
        record.state is not RunRecordState.FINISHED or is_submitted_anew(record, process)
    ):
        return RunState.PENDING
    if starts_again(record, process):
        return RunState.STARTING
    if later_start_died(record, process):
        return RunState.DIED
    ended = _BY_RECORD.get(record.state)
    if ended is not None:
        return ended
    if process is None or status is ProcessStatus.UNKNOWN:
        return RunState.UNKNOWN
    if process.over:
        return RunState.UNKNOWN if record.process_is_older else RunState.DIED
    if status is ProcessStatus.SUSPENDED:
        return RunState.SUSPENDED
    if heartbeat is None or heartbeat.attempt != record.attempt or heartbeat.phase is None:
        return RunState.STARTING
    return _BY_PHASE.get(heartbeat.phase, RunState.STARTING)


def starts_again(record: RunRecord, process: ProcessFact | None) -> bool:
    """Whether the run's job has begun once more and its trainer has not signed in yet: the record is of a start before.

    A job that was submitted anew runs while the record still says how the one before it ended.
    """
    job = process.job if process is not None else None
    if process is None or job is None or record.job is None or process.status is not ProcessStatus.ALIVE:
        return False
    named_before_it_began = record.state not in _AT_WORK and record.node_is_unknown
    return job.restarts > record.job.restart or named_before_it_began or is_submitted_anew(record, process)


def later_start_died(record: RunRecord, process: ProcessFact | None) -> bool:
    """Whether the run's job began once more after an orderly stop, and was over before its trainer signed in: the
    record's word is of the start before, and nobody asked this one to end. What a person cancelled stays stopped.

    Slurm counts a restart where it queued the job again. A controller that was killed has forgotten that; and a node
    that just ended a start may refuse the next ("Job credential revoked"), which Slurm tells as exit code 1. The script
    is the trainer itself where Trainmaster wrote it, so that one that stopped in order ended with its own code.
    """
    job = process.job if process is not None else None
    if process is None or job is None or record.job is None or not process.over:
        return False
    by_hand = job.cause in {None, EndCause.CANCELLED}
    if by_hand or record.state is not RunRecordState.STOPPED:
        return False
    other_code = process.exit_code not in {None, ExitCode.FINISHED, ExitCode.STOPPED}
    return job.restarts > record.job.restart or (other_code and bool(record.launch_key))


def is_later_start(record: RunRecord | None, process: ProcessFact | None) -> bool:
    """Whether what is known of ``process`` is of a start of the run's job whose trainer has not signed in: the record
    is of a start before, however that one ended."""
    if record is None or process is None or process.job is None or record.job is None:
        return False
    return process.job.restarts > record.job.restart or later_start_died(record, process)


def node_refused(process: ProcessFact | None) -> bool:
    """Whether the job is over in the very moment of its start, with the code that Slurm gives a start which a node did
    not take ("Killing non-startable batch: Job credential revoked"). A trainer needs longer to get that far."""
    job = process.job if process is not None else None
    if process is None or job is None or job.cause is not EndCause.FAILED or process.exit_code != REFUSED_BY_NODE:
        return False
    return job.start_ts is not None and job.end_ts is not None and job.end_ts - job.start_ts <= _REFUSED_WITHIN_S


def is_submitted_anew(record: RunRecord, process: ProcessFact | None) -> bool:
    """Whether what is known of ``process`` is of a later job than the record's, submitted since."""
    job = process.job if process is not None else None
    return job is not None and record.job is not None and job.id != record.job.id
