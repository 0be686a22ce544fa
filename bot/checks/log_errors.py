"""Fatal lines of the console log: what no record of the trainer tells, since it had no time to."""

from __future__ import annotations

from trainmaster.bot.checks.limits import CheckLimits
from trainmaster.bot.core.alerts.finding import Finding, Nature, Severity
from trainmaster.bot.core.run.view import RunView
from trainmaster.trainer.contract import EventKind

_KIND_TEXT = {
    "oom": "out of memory",
    "killed": "killed",
    "nccl": "an error between the ranks (NCCL)",
    "cuda_error": "a GPU error",
    "dataloader": "a data loader worker died",
    "exception": "an exception",
}
_ADVICE = {
    "oom": "Use a smaller batch= or imgsz=, or see what else uses the card.",
    "killed": "See what ended it: a person, a scheduler, or the kernel for want of memory.",
    "nccl": "One rank failed or hangs and the others wait for it: look at the first error of any rank.",
    "cuda_error": "The process can't use the card any more; a new start may. /train status shows the card's errors.",
    "dataloader": "Mostly shared memory or main memory ran out: fewer workers=, or a larger /dev/shm.",
    "exception": "The last lines say where.",
}


def check_log_errors(view: RunView, limits: CheckLimits, now: float) -> tuple[Finding, ...]:
    """One occurrence for each fatal line of a guarded run's log that was read since the bot began to follow it. Whether
    it ended the run is told by its process and its record; where the record tells of a crash, it brings the traceback,
    and the same in the log is no news."""
    del limits, now
    crashed = any(event.kind == EventKind.RUN_CRASHED and event.attempt == view.attempt for event in view.notable)
    return tuple(
        Finding(
            run=view.run,
            check="log_error",
            key=f"attempt{view.attempt}/{error.kind}/{error.digest}",
            severity=Severity.WARNING,
            nature=Nature.OCCURRENCE,
            ts=error.ts,
            title=f"{view.name}: the log tells of {_KIND_TEXT.get(error.kind, error.kind)}"
            + (" in a worker or another rank" if error.in_child else ""),
            body=(error.detail, _ADVICE.get(error.kind, _ADVICE["exception"])),
            excerpt=error.text,
            hint="/train status",
        )
        for error in view.log_errors
        if error.in_child or not crashed
    )
