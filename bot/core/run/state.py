"""A run's state, told from what its records and its process say."""

from __future__ import annotations

from enum import StrEnum

from trainmaster.bot.core.run.facts import ProcessFact, ProcessStatus, RunRecord
from trainmaster.trainer.contract import Heartbeat, Phase, RunRecordState


class RunState(StrEnum):
    """What a person would say of the run. ``UNKNOWN`` is an answer: no evidence is never rounded up to healthy."""

    STARTING = "starting"
    TRAINING = "training"
    VALIDATING = "validating"
    SAVING = "saving"
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


_BY_RECORD = {
    RunRecordState.STOPPED: RunState.STOPPED,
    RunRecordState.FINISHED: RunState.FINISHED,
    RunRecordState.GAVE_UP: RunState.GAVE_UP,
    RunRecordState.REFUSED: RunState.REFUSED,
    RunRecordState.CRASHED: RunState.CRASHED,
}
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
    ended = _BY_RECORD.get(record.state)
    if ended is not None:
        return ended
    if process is None or process.status is ProcessStatus.UNKNOWN:
        return RunState.UNKNOWN
    if process.over:
        return RunState.UNKNOWN if record.process_is_older else RunState.DIED
    if heartbeat is None or heartbeat.attempt != record.attempt or heartbeat.phase is None:
        return RunState.STARTING
    return _BY_PHASE.get(heartbeat.phase, RunState.STARTING)
