"""What each alert means and what to do about it, in a sentence each: ``docs/alerts.md`` for somebody with a phone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from trainmaster.bot.core.check_name import AnyCheck, CheckName


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """``means`` and ``do`` begin small, as in a table."""

    means: str
    do: str


def explanation_of(check: AnyCheck) -> Explanation | None:
    """That of an alert; None of one that this version does not know."""
    found = _EXPLANATIONS.get(check)
    return None if found is None else Explanation(means=found[0], do=found[1])


_EXPLANATIONS: Final[Mapping[str, tuple[str, str]]] = {
    CheckName.NONFINITE: (
        "a batch was bad. Guarded: skipped without a trace. Unguarded or observe: it went into the weights",
        (
            "guarded: it ran twice more at once, and the alert says whether it is the data, the hardware or "
            "an overflow; look at the images named, or at the card; else /train execute rollback"
        ),
    ),
    CheckName.STATE_HEALED: (
        "values that the average, the optimizer or the batch-norm can't have were put right",
        "nothing; when it comes often, look at the images named, or /train execute rollback",
    ),
    CheckName.GRADIENT_GROWTH: (
        "the trainer saw a norm far above its recent median; the loss shows it later",
        "watch; at the next level the rate and the clip are lower",
    ),
    CheckName.GRADIENT_TREND: (
        "norms stay far above the run's own median",
        "watch; at the next level the rate and the clip are lower",
    ),
    CheckName.CLIP_RATE: (
        "far more steps are clipped than in the run's own earlier epochs",
        "watch; at the next level the rate and the clip are lower",
    ),
    CheckName.LOSS_SPIKE: (
        "a stretch of batches far above the run's own noise",
        "/train epoch N progress",
    ),
    CheckName.LOSS_TREND: (
        "no better loss or fitness for epochs; a plateau at the end of the schedule is none",
        "/train epoch N progress",
    ),
    CheckName.RUN_GAVE_UP: (
        "too many bad batches (its state is saved), or weights that no step made (what was saved before stays)",
        "the plan for a rollback is already in the channel: decide",
    ),
    CheckName.PROCESS_DIED: (
        (
            "gone without a word: exit code or signal, the last lines of the log, out-of-memory kills as the "
            "kernel counted them"
        ),
        "/train resume, or execute rollback",
    ),
    CheckName.RUN_CRASHED: (
        "ended with an error of its own, which the alert shows",
        "mend what it names; /train resume",
    ),
    CheckName.RUN_REFUSED: (
        "the trainer did not start from a checkpoint that is not clean",
        "a rollback takes a clean one",
    ),
    CheckName.STALLED: (
        (
            "nothing for several times the longest that this phase ever took (before the first batch too); "
            "with the stacks of the trainer when it can still write them"
        ),
        "the stacks say whether it waits for data, disk or GPU; /train stop now, then resume",
    ),
    CheckName.ORPHANS: (
        "loader processes of a dead trainer hold memory",
        "end the ones named",
    ),
    CheckName.LOG_ERROR: (
        "a traceback, CUDA, NCCL or loader error in the console log",
        "the line is in the alert",
    ),
    CheckName.OUT_OF_MEMORY: (
        "Ultralytics halved the batch size and goes on",
        "a smaller batch= or imgsz= at the next start",
    ),
    CheckName.SLOWDOWN: (
        "batches take a multiple of the run's own median",
        "look at the host; nothing is lost",
    ),
    CheckName.EPOCH_LATE: (
        "an epoch takes longer than the run's own ones",
        "look at the host; nothing is lost",
    ),
    CheckName.RUN_STARTED: (
        "what happened, once",
        "nothing",
    ),
    CheckName.RUN_STOPPED: (
        "what happened, once",
        "nothing",
    ),
    CheckName.RUN_FINISHED: (
        "what happened, once",
        "nothing",
    ),
    CheckName.EPOCH_FINISHED: (
        "its success criteria; a warning when bad batches went into the weights",
        "then: choose between both buttons",
    ),
    CheckName.JOB_WAITS: (
        "longer than PENDING_MAX_S in the queue, with the reason and the start that is expected",
        "nothing, or another partition",
    ),
    CheckName.JOB_HOPELESS: (
        "no waiting ends its reason: held, beyond the partition's limit, a dependency that failed",
        "change the job; /train stop now takes it out",
    ),
    CheckName.JOB_QUEUED_AGAIN: (
        "a requeue, a preemption or a power cut; it goes on by itself",
        "nothing",
    ),
    CheckName.JOB_SUSPENDED: (
        "the cluster has halted it",
        "nothing; it comes back",
    ),
    CheckName.JOB_PREEMPTED: (
        "a preemption was announced; it saves and ends",
        "nothing",
    ),
    CheckName.JOB_LIMIT: (
        "its time is up before the running epoch is",
        "more time, or /train resume afterwards",
    ),
    CheckName.TWO_TRAINERS: (
        "Slurm has given a start up whose trainer still writes",
        "look at that node before anything else",
    ),
    CheckName.CLUSTER_SILENT: (
        "nobody has answered for the cluster for CLUSTER_SILENT_S; one alert for all runs, which train on",
        "trainmaster doctor",
    ),
    CheckName.CHECKPOINT_CONTAMINATED: (
        "a checkpoint is not clean",
        "a rollback takes the newest clean one",
    ),
    CheckName.CHECKPOINT_MISSING: (
        "an epoch ended without one",
        "space and permissions of the run directory",
    ),
    CheckName.CHECKPOINT_STALE: (
        "none for long",
        "space and permissions of the run directory",
    ),
    CheckName.STORAGE_FAULT: (
        "a record or state could not be saved; training goes on, older clean ones are untouched",
        "make space",
    ),
    CheckName.DATA_FAULT: (
        "they are left out or stood in for; named and counted",
        "mend the files named",
    ),
    CheckName.UNREADABLE: (
        'the bot sees less than it should, and says so instead of "healthy"',
        "the mount, permissions",
    ),
    CheckName.DISK_LOW: (
        "little room where runs or state are written",
        "old runs, archives that nobody needs, caches",
    ),
    CheckName.MEMORY_LOW: (
        "the host runs out of memory, or works from swap",
        "see what else runs there; fewer workers=",
    ),
    CheckName.SWAP_BUSY: (
        "the host runs out of memory, or works from swap",
        "see what else runs there; fewer workers=",
    ),
    CheckName.GPU_MEMORY: (
        "the next larger batch may not fit",
        "see whether something else uses the card",
    ),
    CheckName.GPU_HOT: (
        "epochs take longer",
        "cooling, power supply",
    ),
    CheckName.GPU_THROTTLED: (
        "epochs take longer",
        "cooling, power supply",
    ),
    CheckName.GPU_ERRORS: (
        "lost, memory errors, an Xid of its driver",
        "have the card looked at; a clean checkpoint",
    ),
    CheckName.HOST_UNSEEN: (
        "a part of the host gives no answer, and is not watched meanwhile",
        "as the alert says",
    ),
    CheckName.DUTY_FAILED: (
        "it failed or was missed several times, or a check ended with an error",
        "the bot's log says more; of a page target: trainmaster doctor",
    ),
    CheckName.ONLY_WATCHES: (
        "another Trainmaster acts on the same RUNS_DIR; this one tells, and takes over when that is gone",
        "end one of the two, or leave it as a spare",
    ),
    CheckName.CHECK_FAILED: (
        "it failed or was missed several times, or a check ended with an error",
        "the bot's log has the traceback",
    ),
    CheckName.DATABASE: (
        "the bot can't write it, or a damaged one was set aside; watching goes on",
        "the disk of STATE_DIR",
    ),
    CheckName.OPERATION: (
        "a stop or a rollback can't go on by itself",
        "its message has the exact commands",
    ),
}
