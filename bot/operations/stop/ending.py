"""Stopping a trainer: exactly that process, then its group, then by force, until nothing of it is left."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

from trainmaster.bot.core.decisions.going_on import ASKED, LAST_SIGN, hung, sign_of_life
from trainmaster.bot.core.run.facts import Identity, ProcessFact, ProcessStatus
from trainmaster.bot.core.run.forecast import batch_s, duration
from trainmaster.bot.core.run.identity import decode_identity, encode_identity
from trainmaster.bot.core.run.launch_spec import Force
from trainmaster.bot.core.run.view import RunView, stands_at
from trainmaster.bot.errors import ClusterSilentError, OperationError
from trainmaster.bot.operations.limits import OperationLimits
from trainmaster.bot.operations.operation_context import OperationContext
from trainmaster.bot.operations.start.gate import OvertakenError
from trainmaster.bot.operations.start.lost_job import KEPT_S
from trainmaster.bot.operations.stop.gpu_release import let_go, note_holders
from trainmaster.trainer.contract import EventKind, Phase, RunRecordState

_NOTICE_S = 3.0
"""A trainer that got SIGTERM says so in its events well within this; a second SIGTERM would cut its save short."""

_SILENCE_PAUSE_S = 1.0
"""Between two questions to a cluster that does not answer; the step's own time-out ends them."""
_ORPHAN_S = 1.0
"""Workers of a trainer that ended in an orderly way end with it; the rest is asked after this."""


def grace_s(view: RunView | None, limits: OperationLimits) -> float:
    """What the trainer may take to end its batch and save, from the measured times of its batches and saves."""
    each_s = batch_s(view) if view is not None else None
    save_s = view.phases.longest_s.get(Phase.SAVING) if view is not None else None
    wanted_s = limits.stop_grace_s + limits.stop_grace_batches * (each_s or 0.0)
    wanted_s += limits.stop_grace_saves * (save_s or 0.0)
    return min(wanted_s, limits.stop_grace_max_s)


async def probe_stopped(context: OperationContext) -> str | None:
    """Said when the process is over and nothing of it is left."""
    process = context.operation.process
    if process is None:
        return "no process is known"
    if process.may_come_back and context.operation.note(ASKED) is not None:
        return None  # whether it stays over is seen to by the step
    if not (await context.world.inspect(process)).over or await _alive(context, await _members(context, process)):
        return None
    return await outcome(context, "was not running")


async def stop_process(context: OperationContext) -> str:
    """Nothing of the operation's process is left; says how it went and whether the run can be resumed.

    Raises:
        OperationError: it cannot be told whether it lives, or something survives SIGKILL.
    """
    process = context.operation.process
    if process is None:
        return "no process is known"
    await context.refuse_foreign(process)
    await _refuse_awake(context)
    how = await end(context, process, note="members")
    view = await context.world.runs.refresh(context.operation.run)
    if view is not None and view.record is not None and not view.record.guarded:
        context.world.attempts.end(view.name)
    return await outcome(context, how)


async def _refuse_awake(context: OperationContext) -> None:
    """What hung is still without a sign of life: between the decision and the act a bot may have died for hours.

    Raises:
        OvertakenError: it gave one.
    """
    operation = context.operation
    if not hung(operation) or operation.note(ASKED) is not None or context.halted_by is not None:
        return
    view = await context.world.runs.refresh(operation.run)
    if view is not None and (view.attempt, sign_of_life(view)) != (operation.attempt, operation.note(LAST_SIGN)):
        raise OvertakenError("awake", f"run {operation.name} gave a sign of life, so it was not stopped.")


async def end(context: OperationContext, process: Identity, *, note: str) -> str:
    """Neither ``process`` nor anything that belongs to it lives; says how it ended. May be repeated after a crash: a
    SIGTERM that was heard is not sent again.

    Raises:
        OperationError: see :func:`stop_process`.
    """
    limits = context.world.limits
    fact = await _answered(context, process)
    if fact.status is ProcessStatus.UNKNOWN:
        raise OperationError(
            "process-unknown",
            f"it cannot be told whether {process.label} lives: {fact.detail}.",
            "nothing was stopped; look where it runs",
        )
    how = "was not running"
    if not fact.over:
        await _note_members(context, process, note)
        await note_holders(context, process, f"{note}.gpu")
        waited = fact.status is ProcessStatus.PENDING
        how = await _end_leader(context, process, limits)
        how = f"{process.label} was taken out of the queue" if waited else how
    left = await _alive(context, await _members(context, process, note))
    if left:
        left = await _sweep(context, process, left, limits)
    if left or not (await _answered(context, process)).over:
        raise _survives(left or (process,))
    if process.may_come_back and context.operation.note(ASKED) is not None:
        await _stays_over(context, process)
    return how + await let_go(context, f"{note}.gpu")


async def _answered(context: OperationContext, process: Identity) -> ProcessFact:
    """What is known of it, as soon as somebody answers for it."""
    while (fact := await context.world.inspect(process)).silent:
        context.wait_for(f"{fact.detail}; it is asked until it answers")
        await context.world.pause(_SILENCE_PAUSE_S)
    return fact


async def outcome(context: OperationContext, how: str) -> str:
    """``how``, and what is there to resume from."""
    view = await context.world.runs.refresh(context.operation.run)
    if view is None or view.record is None:
        return f"{how}; its record cannot be read"
    if not view.record.guarded:
        return f"{how}; without a guard nothing is saved on a stop, so it can go on from its last epoch only"
    stopped = [event for event in view.notable if event.kind == EventKind.RUN_STOPPED and event.attempt == view.attempt]
    if view.record.state is RunRecordState.STOPPED and stopped and stopped[-1].flag("resumable"):
        return f"{how}; its state is saved and can be resumed"
    stands = stands_at(view, view.attempt)
    if view.record.state is RunRecordState.STOPPED and stands:
        return f"{how}; it had trained nothing yet, so the run stands {stands} and can be resumed"
    clean = view.last_clean
    if clean is not None:
        return f"{how}; nothing newer than the clean checkpoint of epoch {clean.epoch} can be resumed"
    return f"{how}; there is no clean checkpoint to resume from"


async def _end_leader(context: OperationContext, process: Identity, limits: OperationLimits) -> str:
    view = await context.world.runs.refresh(context.operation.run)
    patience_s = grace_s(view, limits)
    asked_before = context.operation.note(ASKED) is not None
    if not asked_before:
        context.note(ASKED, process.label)
    if not asked_before or not await _heard(context):
        await _stop(context, process, Force.ASK)
    if await _gone(context, process, patience_s):
        return f"stopped in {duration(context.step_s)}"
    await _stop(context, process, Force.ALL)
    if await _gone(context, process, limits.group_grace_s):
        return f"stopped in {duration(context.step_s)}, at the second request"
    await _stop(context, process, Force.KILL)
    await _gone(context, process, limits.kill_wait_s)
    return f"did not stop within {duration(patience_s)} and was killed"


async def _stop(context: OperationContext, process: Identity, force: Force) -> None:
    """It was asked, as soon as somebody answers for it."""
    while True:
        try:
            await asyncio.to_thread(context.world.driver.stop, process, force)
        except ClusterSilentError as error:
            context.wait_for(f"{error.message} It is asked until it answers.")
        else:
            return
        await context.world.pause(_SILENCE_PAUSE_S)


async def _heard(context: OperationContext) -> bool:
    """After a crash of the bot: whether the SIGTERM that was about to be sent had arrived."""
    attempt = context.operation.attempt
    until_s = context.step_s + min(_NOTICE_S, context.world.limits.stop_grace_s)
    while True:
        view = await context.world.runs.refresh(context.operation.run)
        events = view.notable if view is not None else ()
        if any(event.kind == EventKind.STOP_REQUESTED and event.attempt == attempt for event in events):
            return True
        if context.step_s >= until_s:
            return False
        await context.world.pause(context.world.limits.poll_s)


async def _gone(context: OperationContext, process: Identity, within_s: float) -> bool:
    until_s = context.step_s + within_s
    while not (fact := await context.world.inspect(process)).over:
        if fact.status is ProcessStatus.PENDING:  # a cluster has queued it again meanwhile
            await _stop(context, process, Force.ASK)
        if context.step_s >= until_s:
            return False
        await context.world.pause(context.world.limits.poll_s)
    return True


async def _stays_over(context: OperationContext, process: Identity) -> None:
    """Its end is on record: a controller that was killed at once after it would queue the job again, and what was
    stopped would train on.

    Raises:
        OperationError: it was queued again, and does not end.
    """
    limits, until_s = context.world.limits, context.step_s + KEPT_S
    context.wait_for(f"{process.label} has ended; it is seen to that it stays so, {KEPT_S:g} s")
    while context.step_s < until_s:
        fact = await _answered(context, process)
        if not fact.over:
            context.wait_for(
                f"the cluster had forgotten that {process.label} was ended ({fact.detail}); it is cancelled"
            )
            await _stop(context, process, Force.ALL)
            if not await _gone(context, process, limits.stop_grace_max_s):
                raise _survives((process,))
            until_s = context.step_s + KEPT_S
        await context.world.pause(limits.poll_s)


async def _sweep(
    context: OperationContext, process: Identity, left: tuple[Identity, ...], limits: OperationLimits
) -> tuple[Identity, ...]:
    """What is alive after the leader's children had time to notice its end, were asked, and were killed."""
    stages = ((None, _ORPHAN_S), (Force.ASK, limits.group_grace_s), (Force.KILL, limits.kill_wait_s))
    for force, within_s in stages:
        if force is not None:
            for member in left:
                await asyncio.to_thread(context.world.driver.stop, member, force)
        until_s = context.step_s + min(within_s, limits.kill_wait_s)
        while (
            left := await _alive(context, (*left, *await context.world.survivors(process)))
        ) and context.step_s < until_s:
            await context.world.pause(limits.poll_s)
        if not left:
            return ()
    return left


def _survives(left: Sequence[Identity]) -> OperationError:
    pids = sorted(pid for one in left for pid in one.pids)
    labels = ", ".join(one.label for one in left)
    if not pids:
        return OperationError(
            "process-survives",
            f"{labels} is not over though it was cancelled; its node may not answer.",
            "see: squeue, and sinfo -R for its node",
        )
    return OperationError(
        "process-survives",
        f"{labels} survives SIGKILL; the kernel holds it, often for a disk that does not answer.",
        f"see: ps -o pid,stat,wchan:30,cmd -p {','.join(map(str, pids))}",
    )


async def _note_members(context: OperationContext, process: Identity, note: str) -> None:
    """Who belongs to it can be seen only while it lives: afterwards its children have another parent."""
    members = await context.world.survivors(process)
    context.note(note, json.dumps([encode_identity(member) for member in members]))


async def _members(context: OperationContext, process: Identity, note: str = "members") -> tuple[Identity, ...]:
    noted = context.operation.note(note)
    known = [decode_identity(member) for member in json.loads(noted)] if noted else []
    return tuple(dict.fromkeys([*known, *await context.world.survivors(process)]))


async def _alive(context: OperationContext, members: Sequence[Identity]) -> tuple[Identity, ...]:
    facts = [(one, await context.world.inspect(one)) for one in dict.fromkeys(members)]
    return tuple(one for one, fact in facts if fact.status is ProcessStatus.ALIVE)
