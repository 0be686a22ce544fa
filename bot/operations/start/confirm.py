"""Whether the trainer that was started again trains. A job that its cluster loses meanwhile is submitted anew."""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import Final

from trainmaster.bot.core.conversation.words import losses_text
from trainmaster.bot.core.decisions.going_on import ENDED
from trainmaster.bot.core.decisions.operation import OperationKind
from trainmaster.bot.core.run.death import end_of_start
from trainmaster.bot.core.run.facts import Identity, ProcessFact, ProcessStatus
from trainmaster.bot.core.run.forecast import duration
from trainmaster.bot.core.run.identity import same_start
from trainmaster.bot.core.run.job import waiting_text
from trainmaster.bot.core.run.launch_spec import Force
from trainmaster.bot.core.run.view import EpochView, RunView
from trainmaster.bot.errors import ClusterSilentError, OperationError
from trainmaster.bot.operations.operation_context import OperationContext
from trainmaster.bot.operations.start.gate import OvertakenError
from trainmaster.bot.operations.start.last_words import log_tail
from trainmaster.bot.operations.start.lost_job import KEPT_S, is_lost
from trainmaster.bot.operations.start.restart import (
    DIED,
    LOST,
    end_text,
    is_mute_so_far,
    is_ours,
    launch_once,
    resume_argv,
)
from trainmaster.trainer.contract import Heartbeat, Phase, RunRecordState

_WAITING: Final = frozenset({ProcessStatus.PENDING, ProcessStatus.SUSPENDED})
_HELD: Final = "held"
"""The note which job, since it could not be launched, was taken out of the queue."""
_MAX_LOST: Final = 3
"""One kill of a controller can cost two: it forgets a job, and the next gets its number, which a node still knows."""
_SETTLE_S: Final = 15.0
"""From a job's being forgotten until it is submitted again. A node may still work on it: the controller hears so when
that registers, within seconds of its own start, and ends it; a new job of the same number would be refused there, and
the node drained."""


async def confirm(context: OperationContext) -> str:
    """The new attempt has done its first batches, the last ones healthy; says how it compares.

    Raises:
        OperationError: it ended, or makes no progress.
    """
    progress = _Progress(context)
    # A job that its controller forgets has its trainer ended as soon as its node registers.
    kept_s = context.step_s + KEPT_S
    while True:
        launched = context.launched
        fact = await context.world.inspect(launched) if launched is not None else None
        view = await context.view()
        if await _launch_failed(context, launched, fact):
            continue
        if fact is not None and (fact.status in _WAITING or fact.silent):
            await _give_way(context, view)
            queued = f"waits in the queue, however long: {waiting_text(fact.job)}"
            context.wait_for(fact.detail if fact.silent else queued)
            progress.counts_from_now()
            await context.breathe()
            continue
        context.wait_for("")
        if fact is not None and fact.job is not None and not fact.over and not await is_ours(context, view):
            _refuse_unless_signed_in_soon(context, fact, progress.moved_s)
            await context.breathe()
            continue
        if await _submitted_again(context, view, fact):
            progress.counts_from_now()
            kept_s = context.step_s + KEPT_S
            continue
        _refuse_if_over(context, view, fact)
        if view.record is not None and view.record.state is RunRecordState.FINISHED:
            return f"attempt {view.attempt} has already finished"
        if fact is not None and fact.job is not None and context.step_s < kept_s:
            await context.breathe()
            continue
        progress.look(view)
        if (text := _trains_well(context, view)) is not None:
            return text
        progress.refuse_standstill(view)
        await context.breathe()


async def _give_way(context: OperationContext, view: RunView) -> None:
    """No other start of the run trains while the one made here waits for its turn, which may take days.

    Raises:
        OvertakenError: one does, which is what a resume was for.
        OperationError: one does, and not as it was asked for here.
    """
    record, launched = view.record, context.launched
    process = record.process if record is not None else None
    if process is None or launched is None or view.attempt <= context.operation.attempt:
        return
    if same_start(process, launched) or (await context.world.inspect(process)).status is not ProcessStatus.ALIVE:
        return
    plan = context.operation.plan
    if plan is not None and record is not None and record.from_epoch == plan.target.epoch + 1:
        return  # a job of this operation that its cluster had lost
    text = f"attempt {view.attempt} of {view.name}, {process.label}, was started by somebody else and trains"
    stays = f"{launched.label} stays in the queue behind it"
    if context.operation.kind is OperationKind.RESUME:
        raise OvertakenError("overtaken", f"{text}; {stays}.")
    raise OperationError("foreign-attempt", f"{text}.", f"/train stop now, then ask anew; {stays}")


class _Progress:
    """How long the new attempt has stood at one place."""

    def __init__(self, context: OperationContext) -> None:
        self._context = context
        self._place: tuple[object, ...] | None = None
        self.moved_s = context.step_s

    def counts_from_now(self) -> None:
        """What came before was not the attempt's to use."""
        self.moved_s = self._context.step_s

    def look(self, view: RunView) -> None:
        """Notes where the attempt stands."""
        beat = view.beat
        place = (beat.phase, beat.epoch, beat.batch) if beat else None
        if place != self._place:
            self._place, self.moved_s = place, self._context.step_s

    def refuse_standstill(self, view: RunView) -> None:
        """It moved lately.

        Raises:
            OperationError: it did not.
        """
        beat, limits = view.beat, self._context.world.limits
        waiting = beat is None or beat.phase is not Phase.TRAINING
        allowed_s = limits.first_batch_timeout_s if waiting else limits.batch_timeout_s
        if self._context.step_s - self.moved_s > allowed_s:
            where = beat.phase.value if beat and beat.phase else "start-up"
            raise OperationError(
                "not-confirmed",
                f"attempt {view.attempt} has made no progress for {duration(allowed_s)}, in {where}.",
                "see where it hangs: kill -USR1 its process, then read guard/stacks.txt",
            )


def _trains_well(context: OperationContext, view: RunView) -> str | None:
    """How the attempt compares, once enough good batches or a good epoch are done; None before."""
    beat = view.beat
    if beat is not None and beat.batch and _enough(beat, context.world.limits.confirm_batches):
        return _healthy_text(context, view, beat)
    done = _finished_well(view)
    if done is not None and not (beat and beat.streak):
        return f"epoch {done.epoch} is done: {losses_text(done.losses)}; {_skipped_text(done.num_skipped)}"
    return None


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
    how, launched = context.operation.launch, context.launched
    held = launched is not None and context.operation.note(_HELD) == launched.label
    num_lost = int(context.operation.note(LOST) or 0)
    if how is None or how.options is None or num_lost >= _MAX_LOST:
        return False
    attempt, mute = context.operation.attempt, is_mute_so_far(context)
    if not is_lost(fact, view.record, attempt=attempt, held=held, mute=mute):
        return False
    if fact is not None and fact.job is None:
        beat = view.beat
        await _settle(context)
        fact, view = await context.world.inspect(launched) if launched is not None else fact, await context.view()
        lives = view.attempt > attempt and view.beat != beat
        if lives or not is_lost(fact, view.record, attempt=attempt, held=held, mute=mute):
            return True  # it is known again, or trains on all the same
    context.note(LOST, f"{num_lost + 1}")
    context.wait_for("the cluster has lost the job, which is submitted once more")
    await launch_once(context, how, context.operation.id, resume_argv(context.operation))
    return True


async def _settle(context: OperationContext) -> None:
    context.wait_for("the cluster does not know the job any more; its nodes may, so it is given a moment")
    until_s = context.step_s + _SETTLE_S
    while context.step_s < until_s:
        await context.breathe()


def _refuse_unless_signed_in_soon(context: OperationContext, fact: ProcessFact, since_s: float) -> None:
    """Its job has not run for long.

    Raises:
        OperationError: it has, and its trainer has not signed in.
    """
    allowed_s = context.world.limits.restart_timeout_s
    if context.step_s - since_s > allowed_s:
        raise OperationError(
            "not-confirmed",
            f"its job runs, {fact.detail}, and its trainer has not signed in for {duration(allowed_s)}.",
            "see its log; if another trainer holds the run, it says so there",
        )


def _refuse_if_over(context: OperationContext, view: RunView, fact: ProcessFact | None) -> None:
    record = view.record
    ended = (
        record is not None
        and record.attempt > context.operation.attempt  # not the word of the one before
        and record.state not in {RunRecordState.RUNNING, RunRecordState.FINISHED, None}
    )
    if fact is not None and fact.job is not None and not fact.over:
        return  # a job that is not over yet may be queued again, whatever its last start left on record
    if not ended and not (fact is not None and fact.over):
        return
    if record is not None and record.state is RunRecordState.FINISHED:
        return
    if view.attempt <= context.operation.attempt and fact is not None and fact.job is not None:
        context.note(ENDED, end_of_start(fact))  # it left no attempt that could be judged
    said = f"its record says {view.record.state}" if ended and view.record else "it left no word"
    num_lost = context.operation.note(LOST)
    said += f", and its job was submitted {num_lost} times more" if num_lost else ""
    text = f"; {end_text(fact)}" if fact is not None and fact.over else ""
    log = context.operation.launch.log if context.operation.launch else None
    raise OperationError(
        DIED,
        f"attempt {view.attempt} ended before it was confirmed: {said}{text}.{log_tail(log)}",
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
    batches = f"{beat.batches:,}" if beat.batches else "?"
    text = f"epoch {beat.epoch}, batch {beat.batch or 0:,} of {batches}: {losses_text(beat.losses)}; {skipped}"
    old = view.epochs.get((context.operation.attempt, -1 if beat.epoch is None else beat.epoch))
    if context.operation.kind is OperationKind.ROLLBACK and old is not None and old.losses:
        text += f"; attempt {context.operation.attempt} had {losses_text(old.losses)} in this epoch"
    return text


def _skipped_text(num_skipped: int) -> str:
    return f"{num_skipped} bad batches skipped" if num_skipped else "no bad batch"
