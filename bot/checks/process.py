"""The trainer's process: gone without a word, a zombie, its pid reused; and what outlived it."""

from __future__ import annotations

import signal as signals

from trainmaster.bot.checks.job import lives_unseen
from trainmaster.bot.checks.limits import CheckLimits
from trainmaster.bot.core.alerts.finding import Finding, Nature, Severity
from trainmaster.bot.core.check_name import CheckName
from trainmaster.bot.core.conversation.tokens import moment
from trainmaster.bot.core.conversation.words import counted
from trainmaster.bot.core.decisions.buttons import rollback_button
from trainmaster.bot.core.run.facts import OomEvidence, ProcessFact, ProcessStatus
from trainmaster.bot.core.run.state import RunState, is_later_start, node_refused
from trainmaster.bot.core.run.view import RunView
from trainmaster.trainer.contract import RunRecordState

_PLAIN_END = "NonZeroExitCode"
"""Slurm's reason where the exit code says it all."""


def check_process(view: RunView, limits: CheckLimits, now: float) -> tuple[Finding, ...]:
    """A condition while the record says running and the process is over, until a new attempt starts; and one while
    anything that belonged to a process that is over lives on."""
    return (*_death(view, now), *_orphans(view, now))


def _death(view: RunView, now: float) -> tuple[Finding, ...]:
    if view.state is not RunState.DIED or view.process is None:
        return ()
    if lives_unseen(view, now):
        return ()  # told for what it is: its cluster has lost sight of it
    identity = view.record.process if view.record else None
    beat = view.beat
    where = "before the first batch"
    if beat is not None and beat.epoch is not None:
        where = f"at epoch {beat.epoch}" + ("" if beat.batch is None else f", batch {beat.batch:,}")
    clean = view.last_clean
    return (
        Finding(
            run=view.run,
            check=CheckName.PROCESS_DIED,
            key=f"attempt{view.attempt}",
            severity=Severity.CRITICAL,
            nature=Nature.CONDITION,
            ts=view.process.ts,
            title=f"{view.name}: the training process died {where}",
            body=(
                *(ending_text(view.process), *_before_it_trained(view), *_why_a_job(view.process)),
                *(*_last_error(view), *_left(view.process)),
            ),
            fields=(
                ("Process", identity.label if identity is not None else "unknown"),
                ("Phase", beat.phase.value.replace("_", " ") if beat and beat.phase else "unknown"),
                ("Last sign of life", moment(beat.ts) if beat else "none"),
                ("Last clean checkpoint", f"epoch {clean.epoch}" if clean else "none"),
                *_memory(view, view.process),
                *((_to_end(view.process),) if view.process.orphans else ()),
            ),
            excerpt="\n".join(view.log_tail),
            hint=_way_on(view),
            resolution=f"{view.name}: training runs again",
            buttons=(rollback_button(view.run),),
        ),
    )


def _before_it_trained(view: RunView) -> tuple[str, ...]:
    if view.record is None or not is_later_start(view.record, view.process):
        return ()
    in_order = view.record.state is RunRecordState.STOPPED
    before = "had saved and ended in order" if in_order else "left no word"
    refused = ("Its node refused that start, of which nothing ran.",) if node_refused(view.process) else ()
    return (f"Its job was queued again and ended before it trained; the start before {before}.", *refused)


def _why_a_job(process: ProcessFact) -> tuple[str, ...]:
    if process.job is None or process.signal != signals.SIGKILL:
        return ()
    return ("It was killed by hand, for its memory, or with its node, which may be back by now.",)


def _way_on(view: RunView) -> str:
    """A job often dies for reasons of its cluster: its run is as good as its newest state."""
    if view.record is None or view.record.job is None:
        return "/train execute rollback"
    if view.record.state is RunRecordState.SUBMITTED:
        return "mend what its output names, then /train resume: the same command in a new job"
    return "/train resume, from the newest state that it saved; or /train execute rollback"


def _last_error(view: RunView) -> tuple[str, ...]:
    """What the training did not go on after."""
    errors = [one for one in view.log_errors if not one.outlived]
    return (f"Its log says: {errors[-1].detail}",) if errors else ()


def _left(process: ProcessFact) -> tuple[str, ...]:
    if not process.orphans:
        return ()
    return ("What belonged to it lives on and may hold GPU memory; the details have the command that ends it.",)


def _to_end(process: ProcessFact) -> tuple[str, str]:
    return ("On the host", f"kill {' '.join(str(pid) for pid in process.orphans)}")


def _memory(view: RunView, process: ProcessFact) -> tuple[tuple[str, str], ...]:
    """What it last used, when memory may be why it died."""
    beat = view.beat
    perhaps = process.signal == signals.SIGKILL or process.oom in {OomEvidence.OWN_GROUP, OomEvidence.HOST}
    unknown = process.signal is None and process.exit_code is None and process.oom is not OomEvidence.NONE
    if not perhaps and not unknown:
        return ()
    main = f"{process.rss_gib:.1f} GiB" if process.rss_gib is not None else "unknown"
    device = f"{beat.memory_gib:.1f} GiB" if beat and beat.memory_gib is not None else "unknown"
    return (("Memory at the last look", f"{main} main, {device} GPU"),)


def _orphans(view: RunView, now: float) -> tuple[Finding, ...]:
    process = view.process
    if process is None or not process.over or not process.orphans:
        return ()
    identity = view.record.process if view.record else None
    count = len(process.orphans)
    return (
        Finding(
            run=view.run,
            check=CheckName.ORPHANS,
            key=f"attempt{view.attempt}",
            severity=Severity.WARNING,
            nature=Nature.CONDITION,
            ts=now,
            title=f"{view.name}: {counted(count, 'process', 'processes')} outlived the training",
            body=(
                "Data loader workers or ranks of an ended trainer hold memory, of the GPU too: the next may not start.",
                "The details have the command that ends them.",
            ),
            fields=(_to_end(process), *((("Trainer", identity.label),) if identity is not None else ())),
            hint="/train status",
            resolution=f"{view.name}: nothing of the ended training is left",
        ),
    )


def ending_text(process: ProcessFact) -> str:
    """How the process ended, as far as the operating system or the cluster told."""
    if process.job is not None or (process.over and process.detail.startswith("the job")):
        return _job_ending(process)
    if process.oom is OomEvidence.OWN_GROUP:
        return "The kernel's out-of-memory killer ended it: its control group ran out of memory."
    killed = process.signal == signals.SIGKILL
    if process.oom is OomEvidence.HOST and (killed or (process.signal is None and process.exit_code is None)):
        return "Most likely the kernel's out-of-memory killer ended it: it killed on this host when the process died."
    if process.signal is not None:
        try:
            name = signals.Signals(process.signal).name
        except ValueError:
            name = "unknown signal"
        return f"It was ended by signal {process.signal}, {name}{_who_kills(process) if killed else ''}."
    if process.exit_code is not None:
        code = process.exit_code
        return f"It ended with exit code {code}{_shell_signal(code)}; its record does not say why."
    if process.status is ProcessStatus.REPLACED:
        return "Its pid now belongs to another process; its exit code is not known."
    if process.status is ProcessStatus.ZOMBIE:
        return "It is a zombie: ended, and not yet collected by its parent."
    text = "Its exit code is not known: it was not started by this bot, so only its parent was told."
    return text if process.oom is not OomEvidence.NONE else f"{text} The out-of-memory killer was not at work."


def _job_ending(process: ProcessFact) -> str:
    said = f"{process.detail.capitalize()}."
    if process.job is not None:
        reason = process.job.reason
        said = f"Slurm says: {process.detail}{f' ({reason})' if reason and reason != _PLAIN_END else ''}."
    if process.signal is not None:
        return f"{said} Its trainer was ended by signal {process.signal}."
    if process.exit_code:
        return f"{said} Its trainer ended with exit code {process.exit_code}{_shell_signal(process.exit_code)}."
    return said


def _who_kills(process: ProcessFact) -> str:
    if process.oom is OomEvidence.NONE:
        return ": not by the out-of-memory killer, whose counter stands as before"
    return ": perhaps by the kernel's out-of-memory killer"


def _shell_signal(code: int) -> str:
    """A shell adds 128 to the signal that ended what it ran."""
    if code - 128 not in set(signals.Signals):
        return ""
    return f" (as a shell tells {signals.Signals(code - 128).name})"
