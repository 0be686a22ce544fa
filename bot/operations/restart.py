"""Starting the trainer again, and seeing that it trains."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
from collections.abc import Mapping
from pathlib import Path

from trainmaster.bot.core.conversation.words import losses_text
from trainmaster.bot.core.decisions.going_on import BATCH, ENDED, LAUNCHED
from trainmaster.bot.core.decisions.operation import Direction, Operation, OperationKind
from trainmaster.bot.core.decisions.plan import Launch
from trainmaster.bot.core.run.death import DeathCause, DeathClass, class_of, silent_end
from trainmaster.bot.core.run.facts import Identity, ProcessFact, ProcessIdentity, ProcessStatus
from trainmaster.bot.core.run.forecast import duration
from trainmaster.bot.core.run.identity import same_start
from trainmaster.bot.core.run.job import waiting_text
from trainmaster.bot.core.run.launch_spec import Force, LaunchSpec
from trainmaster.bot.core.run.state import node_refused
from trainmaster.bot.core.run.view import EpochView, RunView
from trainmaster.bot.errors import ClusterSilentError, OperationError, TrainmasterError
from trainmaster.bot.operations.lost_job import KEPT_S, is_lost
from trainmaster.bot.operations.operation_context import OperationContext
from trainmaster.trainer.contract import MODULE_ARGV, RUN_VARIABLE, ExitCode, Heartbeat, Phase, RunRecordState

_LOG_TAIL_BYTES = 4096
_LOG_TAIL_LINES = 6
_WAITING = frozenset({ProcessStatus.PENDING, ProcessStatus.SUSPENDED})
_HELD = "held"
"""The note which job, since it could not be launched, was taken out of the queue."""
_LOST = "lost"
"""The note how often a lost job was submitted once more."""
_LOG_BYTES = "log_bytes/"
"""The note how long its log was before a job was submitted, and the how-manieth that was."""
_OF_SLURM = ("slurmstepd:", "slurmd:")
_MAX_LOST = 3
"""One kill of a controller can cost two: it forgets a job, and the next gets its number, which a node still knows."""
_SETTLE_S = 15.0
"""From a job's being forgotten until it is submitted again. A node may still work on it: the controller hears so when
that registers, within seconds of its own start, and ends it; a new job of the same number would be refused there, and
the node drained."""
_FAILED, _DIED = "restart-failed", "restart-died"
"""A start that ended before it signed in, and one that did so before it was confirmed."""
_EXIT_TEXT: Mapping[int, str] = {
    ExitCode.BAD_ARGUMENTS: "it was given arguments that it does not accept",
    ExitCode.GAVE_UP: "it gave up: too many bad batches, or weights that no step made",
    ExitCode.REFUSED: "it refuses: the checkpoint is not clean",
}


def resume_argv(operation: Operation) -> tuple[str, ...]:
    """The command that goes on from the plan's checkpoint, or from where the run stopped."""
    if operation.launch is not None and not operation.launch.guarded:
        return operation.launch.argv  # it goes on from last.pt, and there is no level that it could be given
    python = operation.launch.python if operation.launch else "python"
    base = (python, *MODULE_ARGV, "resume", str(operation.directory), *again_word(operation.launch))
    if operation.plan is not None:
        return (*base, f"from={operation.plan.target.epoch}", f"level={operation.plan.level_after}")
    told = (("level", operation.note("level")), ("batch", operation.note(BATCH)))
    settings = (operation.note("settings") or "").split()
    return (*base, *(f"{name}={value}" for name, value in told if value), *settings)


def again_word(launch: Launch | None) -> tuple[str, ...]:
    """What a job is given beside its command: a cluster may start it again at any time."""
    return ("again=auto",) if launch is not None and launch.options is not None else ()


def died_again(operation: Operation, error: TrainmasterError) -> bool:
    """Whether the start ended as the attempt before it did, or in another way that has its own alert; what ended it is
    judged as any death is. Not so where it left no attempt and was no accident: nobody else would tell of that."""
    ended = operation.note(ENDED)
    if error.slug == _FAILED and ended in set(DeathCause):
        return class_of(DeathCause(ended)) is DeathClass.TRANSIENT
    return error.slug == _DIED


async def probe_restarted(context: OperationContext) -> str | None:
    """Said when the new attempt has signed in."""
    view = await context.view()
    if not await _is_ours(context, view):
        return None
    return _signed_in(context, view)


async def restart(context: OperationContext) -> str:
    """The trainer was started once, however often this is repeated, and its attempt stands in ``run.json``."""
    return await launch(context, key=context.operation.id, argv=resume_argv(context.operation))


async def launch(context: OperationContext, *, key: str, argv: tuple[str, ...]) -> str:
    """A new attempt has signed in, or waits in the queue of a cluster.

    Raises:
        OperationError: it ended before that; says with which code, and its last lines.
        DriverError: it could not be started.
    """
    how = context.operation.launch
    if how is None:
        raise OperationError("run-unguarded", "it is not known how this run is started.", "start it by hand")
    process = await _launched(context, how, key, argv)
    if not how.guarded and isinstance(process, ProcessIdentity):  # it signs in nowhere by itself
        plan = context.operation.plan
        undoing = context.operation.direction is Direction.UNDO
        from_epoch = plan.target.epoch + 1 if plan is not None and not undoing else None
        context.world.attempts.begin(context.operation.name, process, how.log, from_epoch)
    while True:
        # The process first: one that ended after writing its record is judged by the record.
        fact = await context.world.inspect(process)
        view = await context.view()
        if await _is_ours(context, view):
            return _signed_in(context, view)
        if fact.status is ProcessStatus.PENDING:
            return f"{process.label} is in the queue: {waiting_text(fact.job)}"
        if fact.job is not None and not fact.over:  # whether its trainer signs in is seen to by the next step
            return f"{process.label} runs on {fact.job.node}, and its trainer has not signed in yet"
        if fact.over:
            refused = node_refused(fact) and _is_mute(context)
            context.note(ENDED, DeathCause.NODE_REFUSED if refused else silent_end(fact))
            raise OperationError(
                _FAILED,
                f"the trainer ended before it began to train: {_end_text(fact)}.{_log_tail(how.log)}",
                f"by hand: cd {how.cwd} && {' '.join(argv)}",
            )
        await context.breathe()


async def _launched(context: OperationContext, how: Launch, key: str, argv: tuple[str, ...]) -> Identity:
    """It was launched; a cluster that gives no answer is asked until it does, since it may have taken the job."""
    spec = LaunchSpec(
        key=key,
        argv=argv,
        cwd=how.cwd,
        log=how.log,
        env={**dict(how.env), RUN_VARIABLE: str(context.operation.directory)},
        run=context.operation.run,
        options=how.options,
        margin_s=how.margin_s,
    )
    before = _LOG_BYTES + (context.operation.note(_LOST) or "0")
    if how.options is not None and context.operation.note(before) is None:
        context.note(before, f"{how.log.stat().st_size if how.log.exists() else 0}")
    while True:
        try:
            launched = await asyncio.to_thread(context.world.driver.launch, spec)
            context.note_process(LAUNCHED, launched)
            return launched
        except ClusterSilentError as error:
            context.wait_for(error.message)
        await context.breathe()


async def confirm(context: OperationContext) -> str:
    """The new attempt has done its first batches, the last ones healthy; says how it compares.

    Raises:
        OperationError: it ended, or makes no progress.
    """
    limits = context.world.limits
    # A job that its controller forgets has its trainer ended as soon as its node registers.
    moved, moved_s, kept_s = None, context.step_s, context.step_s + KEPT_S
    while True:
        launched = context.noted_process(LAUNCHED)
        fact = await context.world.inspect(launched) if launched is not None else None
        view = await context.view()
        if await _launch_failed(context, launched, fact):
            continue
        if fact is not None and (fact.status in _WAITING or fact.silent):
            queued = f"waits in the queue, however long: {waiting_text(fact.job)}"
            context.wait_for(fact.detail if fact.silent else queued)
            moved_s = context.step_s
            await context.breathe()
            continue
        context.wait_for("")
        if fact is not None and fact.job is not None and not fact.over and not await _is_ours(context, view):
            await _breathe_until_signed_in(context, fact, moved_s)
            continue
        if await _submitted_again(context, view, fact):
            moved_s, kept_s = context.step_s, context.step_s + KEPT_S
            continue
        _refuse_if_over(context, view, fact)
        if view.record is not None and view.record.state is RunRecordState.FINISHED:
            return f"attempt {view.attempt} has already finished"
        if fact is not None and fact.job is not None and context.step_s < kept_s:
            await context.breathe()
            continue
        beat = view.beat
        place = (beat.phase, beat.epoch, beat.batch) if beat else None
        if place != moved:
            moved, moved_s = place, context.step_s
        if beat is not None and beat.batch and _enough(beat, limits.confirm_batches):
            return _healthy_text(context, view, beat)
        done = _finished_well(view)
        if done is not None and not (beat and beat.streak):
            return f"epoch {done.epoch} is done: {losses_text(done.losses)}; {_skipped_text(done.num_skipped)}"
        waiting = beat is None or beat.phase is not Phase.TRAINING
        allowed_s = limits.first_batch_timeout_s if waiting else limits.batch_timeout_s
        if context.step_s - moved_s > allowed_s:
            where = beat.phase.value if beat and beat.phase else "start-up"
            raise OperationError(
                "not-confirmed",
                f"attempt {view.attempt} has made no progress for {duration(allowed_s)}, in {where}.",
                "see where it hangs: kill -USR1 its process, then read guard/stacks.txt",
            )
        await context.breathe()


async def _is_ours(context: OperationContext, view: RunView) -> bool:
    """Whether the newest attempt is the one that this operation started.

    Raises:
        OperationError: somebody else started one meanwhile.
    """
    record = view.record
    launched = context.noted_process(LAUNCHED)
    signed_in = record.process if record is not None else None
    if launched is not None and signed_in is not None and same_start(signed_in, launched):
        return True  # whatever its number: a run that came back from its copies counts from what those know
    if record is None or record.attempt <= context.operation.attempt:
        return False
    plan = context.operation.plan
    if launched is None and (plan is None or record.from_epoch == plan.target.epoch + 1):
        return True  # ``from_epoch`` is the one that it trains first
    if launched is not None and not (await context.world.inspect(launched)).over:
        return False
    raise OperationError(
        "foreign-attempt",
        f"attempt {record.attempt} of {view.name} was started by somebody else.",
        "decide which one shall go on; nothing more is done from here",
    )


def _signed_in(context: OperationContext, view: RunView) -> str:
    record = view.record
    assert record is not None
    level = f", level {record.level}" if record.level else ""
    if record.process is not None and context.noted_process(LAUNCHED) is None:
        context.note_process(LAUNCHED, record.process)
    return f"attempt {record.attempt}{level}"


async def _launch_failed(context: OperationContext, launched: Identity | None, fact: ProcessFact | None) -> bool:
    """Whether a job that its cluster could not launch, and so holds for ever, was taken out of the queue, as soon as it
    answers: what is lost is submitted again."""
    job = fact.job if fact is not None and fact.status is ProcessStatus.PENDING else None
    if launched is None or job is None or "launch failed" not in job.reason.lower():
        return False
    if context.operation.note(_HELD) != launched.label:
        context.note(_HELD, launched.label)
    context.wait_for(f"{launched.label} could not be launched; it is taken out of the queue and submitted again")
    with contextlib.suppress(ClusterSilentError):
        await asyncio.to_thread(context.world.driver.stop, launched, Force.ASK)
    await context.breathe()
    return True


async def _submitted_again(context: OperationContext, view: RunView, fact: ProcessFact | None) -> bool:
    """Whether a job that its cluster has lost was submitted again, with the same key: what was asked for has been
    done where its trainer had begun, and it goes on from there."""
    how, launched = context.operation.launch, context.noted_process(LAUNCHED)
    held = launched is not None and context.operation.note(_HELD) == launched.label
    num_lost = int(context.operation.note(_LOST) or 0)
    if how is None or how.options is None or num_lost >= _MAX_LOST:
        return False
    attempt, mute = context.operation.attempt, _is_mute(context)
    if not is_lost(fact, view.record, attempt=attempt, held=held, mute=mute):
        return False
    if fact is not None and fact.job is None:
        await _settle(context)
        fact, view = await context.world.inspect(launched) if launched is not None else fact, await context.view()
        if not is_lost(fact, view.record, attempt=attempt, held=held, mute=mute):
            return True  # it is known again
    context.note(_LOST, f"{num_lost + 1}")
    context.wait_for("the cluster has lost the job, which is submitted once more")
    await _launched(context, how, context.operation.id, resume_argv(context.operation))
    return True


def _is_mute(context: OperationContext) -> bool:
    """Whether the newest job has said nothing: its trainer has not run, or not since Slurm ended it."""
    how, before = context.operation.launch, context.operation.note(_LOG_BYTES + (context.operation.note(_LOST) or "0"))
    return how is not None and before is not None and is_mute(how.log, since=int(before))


def is_mute(log: Path, *, since: int) -> bool:
    """Whether nobody but Slurm had the last word in ``log`` since it was that long. False where that can't be read."""
    lines = _last_lines(log, since=since)
    return lines is not None and (not lines or lines[-1].startswith(_OF_SLURM))


async def _settle(context: OperationContext) -> None:
    context.wait_for("the cluster does not know the job any more; its nodes may, so it is given a moment")
    until_s = context.step_s + _SETTLE_S
    while context.step_s < until_s:
        await context.breathe()


async def _breathe_until_signed_in(context: OperationContext, fact: ProcessFact, since_s: float) -> None:
    """Raises:
    OperationError: its job runs, and it has not signed in for too long.
    """
    allowed_s = context.world.limits.restart_timeout_s
    if context.step_s - since_s > allowed_s:
        raise OperationError(
            "not-confirmed",
            f"its job runs, {fact.detail}, and its trainer has not signed in for {duration(allowed_s)}.",
            "see its log; if another trainer holds the run, it says so there",
        )
    await context.breathe()


def _refuse_if_over(context: OperationContext, view: RunView, fact: ProcessFact | None) -> None:
    record = view.record
    ended = record is not None and record.state not in {RunRecordState.RUNNING, RunRecordState.FINISHED, None}
    ended = (
        ended and record is not None and record.attempt > context.operation.attempt
    )  # not the word of the one before
    if fact is not None and fact.job is not None and not fact.over:
        return  # a job that is not over yet may be queued again, whatever its last start left on record
    if not ended and not (fact is not None and fact.over):
        return
    if record is not None and record.state is RunRecordState.FINISHED:
        return
    said = f"its record says {view.record.state}" if ended and view.record else "it left no word"
    num_lost = context.operation.note(_LOST)
    said += f", and its job was submitted {num_lost} times more" if num_lost else ""
    text = f"; {_end_text(fact)}" if fact is not None and fact.over else ""
    log = context.operation.launch.log if context.operation.launch else None
    raise OperationError(
        _DIED,
        f"attempt {view.attempt} ended before it was confirmed: {said}{text}.{_log_tail(log)}",
        "/train status shows what it said; /train execute rollback plans anew",
    )


def _enough(beat: Heartbeat, num_batches: int) -> bool:
    if beat.streak or not all(map(math.isfinite, beat.losses.values())):
        return False
    # An epoch may have fewer batches than are asked for.
    return (beat.batch or 0) >= (min(num_batches, beat.batches) if beat.batches else num_batches)


def _finished_well(view: RunView) -> EpochView | None:
    """An epoch of this attempt that ended with good batches in it: epochs of a second leave hardly a heartbeat."""
    for (attempt, _), epoch in view.epochs.items():
        finite = epoch.losses and all(map(math.isfinite, epoch.losses.values()))
        if attempt == view.attempt and epoch.finished and finite and epoch.num_skipped < (epoch.batches or 1):
            return epoch
    return None


def _healthy_text(context: OperationContext, view: RunView, beat: Heartbeat) -> str:
    skipped = _skipped_text(beat.skipped or 0)
    text = f"epoch {beat.epoch}, batch {beat.batch} of {beat.batches or '?'}: {losses_text(beat.losses)}; {skipped}"
    old = view.epochs.get((context.operation.attempt, -1 if beat.epoch is None else beat.epoch))
    if context.operation.kind is OperationKind.ROLLBACK and old is not None and old.losses:
        text += f"; attempt {context.operation.attempt} had {losses_text(old.losses)} in this epoch"
    return text


def _skipped_text(num_skipped: int) -> str:
    return f"{num_skipped} bad batches skipped" if num_skipped else "no bad batch"


def _end_text(fact: ProcessFact) -> str:
    if fact.signal is not None:
        return f"killed by signal {fact.signal}"
    if fact.exit_code is None:
        return "its exit code is not known"
    meaning = _EXIT_TEXT.get(fact.exit_code)
    return f"exit code {fact.exit_code}" + (f", {meaning}" if meaning else "")


def _log_tail(log: Path | None) -> str:
    """The last lines of the console log, for a person; empty when it cannot be read."""
    if log is None:
        return ""
    lines = (_last_lines(log) or [])[-_LOG_TAIL_LINES:]
    return " Last lines: " + " | ".join(lines) if lines else ""


def _last_lines(log: Path, *, since: int = 0) -> list[str] | None:
    """None when it cannot be read."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(since, os.fstat(stream.fileno()).st_size - _LOG_TAIL_BYTES))
            text = stream.read().decode(errors="replace").replace("\r", "\n")
    except FileNotFoundError:
        return []
    except OSError:
        return None
    return [line.strip() for line in text.splitlines() if line.strip()]
