"""The job of a run on a cluster: what it waits for, what it was taken for, and whether its time will do. Nothing here
asks which cluster; a run that is a process has no such facts."""

from __future__ import annotations

from typing import Final

from trainmaster.bot.checks.limits import CheckLimits
from trainmaster.bot.core.alerts.finding import Finding, Nature, Severity
from trainmaster.bot.core.check_name import CheckName
from trainmaster.bot.core.conversation.tokens import moment
from trainmaster.bot.core.run.facts import ProcessFact, ProcessStatus
from trainmaster.bot.core.run.forecast import duration, forecast
from trainmaster.bot.core.run.job import JobFact, never_ends, waiting_text
from trainmaster.bot.core.run.view import RunView
from trainmaster.trainer.contract import RunRecordState

CONDITIONS: Final = (
    CheckName.JOB_WAITS,
    CheckName.JOB_HOPELESS,
    CheckName.JOB_SUSPENDED,
    CheckName.JOB_LIMIT,
    CheckName.TWO_TRAINERS,
)

BEATS_S: Final = 10.0
"""A heartbeat comes once a second; one that was seen to change within this is written by somebody who lives."""
_READ_LATE_S: Final = 3.0
"""From a heartbeat's being written until it is seen."""
_SETTLED_S: Final = 15.0
"""After Slurm's word that a start is over, what its trainer wrote before may still be read."""


def check_job(view: RunView, limits: CheckLimits, now: float) -> tuple[Finding, ...]:
    """Nothing for a run that is a process of this host, or while the cluster gives no answer."""
    process = view.process
    if process is None or process.job is None:
        return ()
    job = process.job
    return (
        *_waits(view, process, job, limits, now),
        *_queued_again(view, process, job),
        *_suspended(view, process, job),
        *_preempted(view, process, job),
        *_limit(view, process, job, now),
        *_two_trainers(view, process, job, now),
    )


def beats(view: RunView, now: float) -> bool:
    """Whether somebody who lives writes the heartbeat."""
    return view.beat_seen_ts is not None and now - view.beat_seen_ts < BEATS_S


def lives_unseen(view: RunView, now: float) -> bool:
    """Whether the trainer of a job that is over still writes, beyond what it wrote just before its end."""
    process = view.process
    if view.record is None or view.record.job is None or process is None or not beats(view, now):
        return False
    ended_ts = process.job.end_ts if process.job is not None else None
    return ended_ts is None or max(_beat_by_each_clock(view)) > ended_ts + _READ_LATE_S


def _beat_by_each_clock(view: RunView) -> tuple[float, float]:
    """When the newest heartbeat was seen by the bot, and when it was written by its node: what a cluster says is by the
    clock of its controller, and any of the three may be minutes off (munge allows five)."""
    return view.beat_seen_ts or 0.0, view.beat.ts if view.beat is not None else 0.0


def _waits(view: RunView, process: ProcessFact, job: JobFact, limits: CheckLimits, now: float) -> tuple[Finding, ...]:
    if process.status is not ProcessStatus.PENDING:
        return ()
    since_ts = job.submit_ts if job.submit_ts is not None else now
    if never_ends(job.reason):
        return (
            _job_finding(
                view,
                job,
                CheckName.JOB_HOPELESS,
                Severity.CRITICAL,
                ts=since_ts,
                title=f"its job never starts by itself: {job.reason}",
                body=("No waiting ends that reason: a person must change the job or let it go.",),
                hint=(
                    f"scontrol show job {job.address}; if held: scontrol release {job.address}; "
                    "to let it go: /train stop now"
                ),
                resolution="its job can start",
            ),
        )
    if now - since_ts <= limits.pending_max_s:
        return ()
    return (
        _job_finding(
            view,
            job,
            CheckName.JOB_WAITS,
            Severity.WARNING,
            ts=since_ts,
            title=f"its job has waited for {duration(now - since_ts)} (limit {duration(limits.pending_max_s)})",
            body=(f"It waits for: {waiting_text(job)}.",),
            hint="/train status",
            resolution="its job waits no longer",
        ),
    )


def _queued_again(view: RunView, process: ProcessFact, job: JobFact) -> tuple[Finding, ...]:
    if process.status is not ProcessStatus.PENDING or not job.restarts:
        return ()
    stopped = view.record is not None and view.record.state is RunRecordState.STOPPED
    until = f" until {moment(job.start_ts)}" if job.start_ts else ""
    saved = (
        "Its trainer saved and ended in an orderly way; the next start goes on from there."
        if stopped
        else "Its trainer left no word; the next start goes on from the newest state that it saved."
    )
    return (
        _job_finding(
            view,
            job,
            CheckName.JOB_QUEUED_AGAIN,
            Severity.WARNING,
            nature=Nature.OCCURRENCE,
            ts=job.submit_ts or process.ts,
            title=f"its job was queued again; attempt {view.attempt + 1} waits{until}",
            body=(saved, f"It waits for: {waiting_text(job)}. Nothing is asked of anybody."),
            hint="/train status",
        ),
    )


def _suspended(view: RunView, process: ProcessFact, job: JobFact) -> tuple[Finding, ...]:
    if process.status is not ProcessStatus.SUSPENDED:
        return ()
    return (
        _job_finding(
            view,
            job,
            CheckName.JOB_SUSPENDED,
            Severity.WARNING,
            ts=process.ts,
            title="the cluster has suspended its job",
            body=("It stands still and keeps its memory until the cluster goes on with it; that is no hang.",),
            hint=f"whoever may: scontrol resume {job.address}",
            resolution="its job goes on",
        ),
    )


def _preempted(view: RunView, process: ProcessFact, job: JobFact) -> tuple[Finding, ...]:
    if process.status is not ProcessStatus.ALIVE or job.preempt_ts is None:
        return ()
    return (
        _job_finding(
            view,
            job,
            CheckName.JOB_PREEMPTED,
            Severity.WARNING,
            nature=Nature.OCCURRENCE,
            ts=job.preempt_ts,
            title="its job must make room for another one",
            body=("It is asked to save and to end; what becomes of it then is told here.",),
            hint="/train status",
        ),
    )


def _limit(view: RunView, process: ProcessFact, job: JobFact, now: float) -> tuple[Finding, ...]:
    ahead = forecast(view, now)
    if process.status is not ProcessStatus.ALIVE or job.end_ts is None or ahead.epoch_end_ts is None:
        return ()
    early_s = ahead.epoch_end_ts - job.end_ts
    if early_s <= 0:
        return ()
    return (
        _job_finding(
            view,
            job,
            CheckName.JOB_LIMIT,
            Severity.WARNING,
            ts=now,
            title=f"the job's limit comes {duration(early_s)} before the end of epoch {ahead.epoch}",
            body=(
                f"Its time is up {moment(job.end_ts)}; the epoch ends {moment(ahead.epoch_end_ts)}.",
                "Before the limit it is asked to save, in the middle of the epoch, and ends.",
                "Slurm does not start it again by itself.",
            ),
            hint=f"more time: scontrol update JobId={job.address} TimeLimit=+HOURS:00:00; or afterwards: /train resume",
            resolution="its epoch ends before the limit, or that job is over",
        ),
    )


def _two_trainers(view: RunView, process: ProcessFact, job: JobFact, now: float) -> tuple[Finding, ...]:
    """A start that Slurm has given up, and whose trainer still writes: a node or its daemon does not answer."""
    record = view.record
    if record is None or record.job is None or not beats(view, now):
        return ()
    given_up_ts = job.submit_ts if job.restarts > record.job.restart else (job.end_ts if process.over else None)
    if given_up_ts is None or min(_beat_by_each_clock(view)) < given_up_ts + _SETTLED_S:
        return ()
    where = record.job.node or record.host or "its node"
    now_is = f"on {job.node}" if process.status is ProcessStatus.ALIVE else ("over" if process.over else "in the queue")
    return (
        _job_finding(
            view,
            job,
            CheckName.TWO_TRAINERS,
            Severity.CRITICAL,
            ts=now,
            title=f"its trainer on {where} still works though its job is {now_is}",
            body=(
                f"Slurm has lost sight of {where}: it may have been cut off, or its daemon died.",
                "A second trainer does not touch the run: it waits for the first one's lock, then refuses.",
            ),
            hint=f"look at {where}: sinfo -R; end the old trainer there, or the new job: scancel {job.address}",
            resolution="one trainer is left",
        ),
    )


def _job_finding(
    view: RunView,
    job: JobFact,
    check: CheckName,
    severity: Severity,
    *,
    ts: float,
    title: str,
    body: tuple[str, ...],
    hint: str,
    resolution: str = "",
    nature: Nature = Nature.CONDITION,
) -> Finding:
    return Finding(
        run=view.run,
        check=check,
        key=f"job{job.id}/restart{job.restarts}",
        severity=severity,
        nature=nature,
        ts=ts,
        title=f"{view.name}: {title}",
        body=body,
        fields=(
            ("Job", f"{job.address}" + (f" in {job.partition}" if job.partition else "")),
            ("Node", job.node or "none"),
            ("Restarts", f"{job.restarts}"),
        ),
        hint=hint,
        resolution=f"{view.name}: {resolution}" if resolution else "",
    )
