"""Stopping a trainer: exactly that process, then its group, then by force, until nothing of it is left."""

from __future__ import annotations

import json
from collections.abc import Sequence

from trainmaster.bot.core.run.facts import Identity, ProcessStatus
from trainmaster.bot.core.run.forecast import batch_s, duration
from trainmaster.bot.core.run.identity import decode_identity, encode_identity
from trainmaster.bot.core.run.launch_spec import Force
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import OperationError
from trainmaster.bot.operations.gpu_release import let_go, note_holders
from trainmaster.bot.operations.limits import OperationLimits
from trainmaster.bot.operations.operation_context import Course
from trainmaster.bot.ports import Driver
from trainmaster.trainer.contract import EventKind, Phase, RunRecordState

_NOTICE_S = 3.0
"""A trainer that got SIGTERM says so in its events well within this; a second SIGTERM would cut its save short."""

_ORPHAN_S = 1.0
"""Workers of a trainer that ended in an orderly way end with it; the rest is asked after this."""


def grace_s(view: RunView | None, limits: OperationLimits) -> float:
    """What the trainer may take to end its batch and save, from the measured times of its batches and saves."""
    each_s = batch_s(view) if view is not None else None
    save_s = view.phases.longest_s.get(Phase.SAVING) if view is not None else None
    wanted_s = limits.stop_grace_s + limits.stop_grace_batches * (each_s or 0.0)
    wanted_s += limits.stop_grace_saves * (save_s or 0.0)
    return min(wanted_s, limits.stop_grace_max_s)


async def probe_stopped(course: Course) -> str | None:
    """Said when the process is over and nothing of it is left."""
    process = course.operation.process
    if process is None:
        return "no process is known"
    if not course.world.driver.inspect(process).over or _alive(course.world.driver, _members(course, process)):
        return None
    return await outcome(course, "was not running")


async def stop_process(course: Course) -> str:
    """Nothing of the operation's process is left; says how it went and whether the run can be resumed.

    Raises:
        OperationError: it cannot be told whether it lives, or something survives SIGKILL.
    """
    process = course.operation.process
    if process is None:
        return "no process is known"
    await course.refuse_foreign(process)
    how = await end(course, process, note="members")
    view = await course.world.runs.refresh(course.operation.run)
    if view is not None and view.record is not None and not view.record.guarded:
        course.world.attempts.end(view.name)
    return await outcome(course, how)


async def end(course: Course, process: Identity, *, note: str) -> str:
    """Neither ``process`` nor anything that belongs to it lives; says how it ended. May be repeated after a crash: a
    SIGTERM that was heard is not sent again.

    Raises:
        OperationError: see :func:`stop_process`.
    """
    driver, limits = course.world.driver, course.world.limits
    fact = driver.inspect(process)
    if fact.status is ProcessStatus.UNKNOWN:
        raise OperationError(
            "process-unknown",
            f"it cannot be told whether {process.label} lives: {fact.detail}.",
            "nothing was stopped; look where it runs",
        )
    how = "was not running"
    if not fact.over:
        _note_members(course, process, note)
        await note_holders(course, process, f"{note}.gpu")
        waited = fact.status is ProcessStatus.PENDING
        how = await _end_leader(course, process, limits)
        how = f"{process.label} was taken out of the queue" if waited else how
    left = _alive(driver, _members(course, process, note))
    if left:
        left = await _sweep(course, process, left, limits)
    if left or not driver.inspect(process).over:
        raise _survives(left or (process,))
    return how + await let_go(course, f"{note}.gpu")


async def outcome(course: Course, how: str) -> str:
    """``how``, and what is there to resume from."""
    view = await course.world.runs.refresh(course.operation.run)
    if view is None or view.record is None:
        return f"{how}; its record cannot be read"
    if not view.record.guarded:
        return f"{how}; without a guard nothing is saved on a stop, so it can go on from its last epoch only"
    stopped = [event for event in view.notable if event.kind == EventKind.RUN_STOPPED and event.attempt == view.attempt]
    if view.record.state is RunRecordState.STOPPED and stopped and stopped[-1].flag("resumable"):
        return f"{how}; its state is saved and can be resumed"
    clean = view.last_clean
    if clean is not None:
        return f"{how}; nothing newer than the clean checkpoint of epoch {clean.epoch} can be resumed"
    return f"{how}; there is no clean checkpoint to resume from"


async def _end_leader(course: Course, process: Identity, limits: OperationLimits) -> str:
    driver = course.world.driver
    view = await course.world.runs.refresh(course.operation.run)
    patience_s = grace_s(view, limits)
    asked_before = course.operation.note("asked") is not None
    if not asked_before:
        course.note("asked", process.label)
    if not asked_before or not await _heard(course):
        driver.stop(process, Force.ASK)
    if await _gone(course, process, patience_s):
        return f"stopped in {duration(course.step_s)}"
    driver.stop(process, Force.ALL)
    if await _gone(course, process, limits.group_grace_s):
        return f"stopped in {duration(course.step_s)}, at the second request"
    driver.stop(process, Force.KILL)
    await _gone(course, process, limits.kill_wait_s)
    return f"did not stop within {duration(patience_s)} and was killed"


async def _heard(course: Course) -> bool:
    """After a crash of the bot: whether the SIGTERM that was about to be sent had arrived."""
    attempt = course.operation.attempt
    until_s = course.step_s + min(_NOTICE_S, course.world.limits.stop_grace_s)
    while True:
        view = await course.world.runs.refresh(course.operation.run)
        events = view.notable if view is not None else ()
        if any(event.kind == EventKind.STOP_REQUESTED and event.attempt == attempt for event in events):
            return True
        if course.step_s >= until_s:
            return False
        await course.world.pause(course.world.limits.poll_s)


async def _gone(course: Course, process: Identity, within_s: float) -> bool:
    until_s = course.step_s + within_s
    while not (fact := course.world.driver.inspect(process)).over:
        if fact.status is ProcessStatus.PENDING:  # a cluster has queued it again meanwhile
            course.world.driver.stop(process, Force.ASK)
        if course.step_s >= until_s:
            return False
        await course.world.pause(course.world.limits.poll_s)
    return True


async def _sweep(
    course: Course, process: Identity, left: tuple[Identity, ...], limits: OperationLimits
) -> tuple[Identity, ...]:
    """What is alive after the leader's children had time to notice its end, were asked, and were killed."""
    driver = course.world.driver
    stages = ((None, _ORPHAN_S), (Force.ASK, limits.group_grace_s), (Force.KILL, limits.kill_wait_s))
    for force, within_s in stages:
        if force is not None:
            for member in left:
                driver.stop(member, force)
        until_s = course.step_s + min(within_s, limits.kill_wait_s)
        while (left := _alive(driver, (*left, *driver.survivors(process)))) and course.step_s < until_s:
            await course.world.pause(limits.poll_s)
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


def _note_members(course: Course, process: Identity, note: str) -> None:
    """Who belongs to it can be seen only while it lives: afterwards its children have another parent."""
    members = course.world.driver.survivors(process)
    course.note(note, json.dumps([encode_identity(member) for member in members]))


def _members(course: Course, process: Identity, note: str = "members") -> tuple[Identity, ...]:
    noted = course.operation.note(note)
    known = [decode_identity(member) for member in json.loads(noted)] if noted else []
    return tuple(dict.fromkeys([*known, *course.world.driver.survivors(process)]))


def _alive(driver: Driver, members: Sequence[Identity]) -> tuple[Identity, ...]:
    return tuple(one for one in dict.fromkeys(members) if driver.inspect(one).status is ProcessStatus.ALIVE)
