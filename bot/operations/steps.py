"""The steps of operations as data: a probe, an act that may be repeated, a time-out and, early on, a way back."""

from __future__ import annotations

import asyncio
import json
import shlex
import shutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from trainmaster.bot.core.decisions.operation import ARCHIVE, Step
from trainmaster.bot.core.decisions.plan import RollbackPlan, Target, differences
from trainmaster.bot.core.run.forecast import duration
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import CommandError, OperationError
from trainmaster.bot.operations.limits import OperationLimits
from trainmaster.bot.operations.operation_context import OperationContext, WorldChangedError
from trainmaster.bot.operations.rollback.hard_links import bring_pinned_back, pin, unpin
from trainmaster.bot.operations.start.confirm import confirm
from trainmaster.bot.operations.start.gate import CLOSED, pass_gate
from trainmaster.bot.operations.start.lost_job import KEPT_S
from trainmaster.bot.operations.start.restart import again_word, by_hand, launch, probe_restarted, restart, resume_argv
from trainmaster.bot.operations.stop.ending import probe_stopped, stop_process
from trainmaster.trainer.contract import MODULE_ARGV, RunLayout, Verdict

_ARCHIVES_BEFORE: Final = "archives"
"""The note which archives there were before the rollback made its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSpec:
    """``probe`` says what is so when the step is already done, None when it is not; ``apply`` does it and says what it
    found; ``undo`` leaves the world as it was before, and is repeatable too."""

    step: Step
    apply: Callable[[OperationContext], Awaitable[str]]
    timeout_s: Callable[[OperationLimits], float]
    probe: Callable[[OperationContext], Awaitable[str | None]] | None = None
    undo: Callable[[OperationContext], Awaitable[str]] | None = None
    retried: bool = False
    """Whether a failure is tried again before a person is called."""
    queues: bool = False
    """Whether it waits for a cluster's queue, which may take days, when the run is a job."""


def _plan(context: OperationContext) -> RollbackPlan:
    plan = context.operation.plan
    assert plan is not None, "a rollback carries its plan"
    return plan


async def _hold(context: OperationContext) -> str:
    """The world is the one that was approved, and there is room for the rollback.

    Raises:
        WorldChangedError: it is not.
        OperationError: the disk is too full.
    """
    plan = _plan(context)
    view = await _answered_view(context)
    try:
        fresh = await context.world.planner.plan(
            view, context.world.clock.now(), to_epoch=plan.to_epoch, level=plan.level
        )
    except CommandError as error:
        raise WorldChangedError(f"the plan is no longer possible: {error.message}", None, ()) from error
    changed = differences(plan.binding, fresh.binding)
    if changed:
        text = "; ".join(f"{one.what} was {one.then}, is {one.now}" for one in changed)
        raise WorldChangedError(f"since it was approved, {text}.", fresh, changed)
    if new := sorted(set(fresh.against) - set(plan.against)):
        raise OperationError(
            CLOSED,
            f"since it was asked for, something stands against a start: {', '.join(new)}. {' '.join(fresh.risks)}",
            "nothing was touched; ask again: the new card says so, and approving it goes on anyway",
        )
    needed = context.world.limits.min_free_bytes + 3 * plan.target.size_bytes
    free = (await asyncio.to_thread(shutil.disk_usage, plan.directory)).free
    if free < needed:
        raise OperationError(
            "disk-full",
            f"{plan.directory} has {free / 2**30:.1f} GiB free, a rollback wants {needed / 2**30:.1f} GiB.",
            "make room, then ask again: nothing was touched",
        )
    return ""  # the title of the step says it; which plan it is stands in the details


async def _answered_view(context: OperationContext) -> RunView:
    """The run, as soon as somebody answers for its process: what was approved is no less true while nobody does."""
    while (view := await context.view()).process is not None and view.process.silent:
        context.wait_for(f"{view.process.detail}; it is asked until it answers")
        await context.breathe()
    return view


async def _verify(context: OperationContext) -> str:
    """Every file that will be used is read anew, is the one that was approved, and stays while the trainer still runs.

    Raises:
        OperationError: one is not clean, or not the same.
    """
    plan = _plan(context)
    if plan.launch.guarded:  # an unguarded trainer rewrites its files in place, so a second name would hold nothing
        await asyncio.to_thread(pin, context.operation, plan.target)
    return await _judge(context, plan.target)


async def _judge(context: OperationContext, target: Target) -> str:
    view = await context.view()
    wanted = {target.file: target.sha256, **dict(target.companions)}
    verify = context.world.forensics.verify
    facts = await asyncio.gather(*(verify(view, context.operation.directory / file) for file in wanted))
    for (file, sha256), fact in zip(wanted.items(), facts, strict=True):
        if fact.sha256 != sha256:
            raise OperationError(
                "checkpoint-replaced",
                f"{file} has digest {(fact.sha256 or 'none')[:12]}, approved was {sha256[:12]}.",
                "somebody replaced it after the approval; ask again",
            )
        if fact.verdict is not Verdict.CLEAN:
            reasons = "; ".join(fact.reasons) or "no reason given"
            raise OperationError(
                f"checkpoint-{fact.verdict}", f"{file} is {fact.verdict}: {reasons}.", "ask for an earlier epoch"
            )
    return "clean, and the file that was approved"


async def _unpin(context: OperationContext) -> str:
    await asyncio.to_thread(unpin, context.operation, _plan(context).target)
    return "nothing is held any more"


async def _archive(context: OperationContext) -> str:
    """Nothing of the run is later than the target, which is certainly still there: from now on nobody prunes it."""
    plan = _plan(context)
    if not await asyncio.to_thread(bring_pinned_back, context.operation, plan.target):
        await _judge(context, plan.target)
    if context.operation.note(_ARCHIVES_BEFORE) is None:
        context.note(_ARCHIVES_BEFORE, json.dumps(await asyncio.to_thread(_archive_names, plan)))
    folder = await context.world.forensics.archive(await context.view(), after_epoch=plan.target.epoch)
    context.note(ARCHIVE, str(folder))
    return "/train archive lists it"


async def _unarchive(context: OperationContext) -> str:
    """What this operation put aside is back; an archive of an earlier rollback stays one."""
    plan, before = _plan(context), context.operation.note(_ARCHIVES_BEFORE)
    if before is None:
        return "nothing was put aside"
    folder = context.operation.note(ARCHIVE)
    if folder is None:
        # Cut off before its answer, or it failed and put everything back itself: repeating it tells.
        try:
            folder = str(await context.world.forensics.archive(await context.view(), after_epoch=plan.target.epoch))
        except OperationError as error:
            return f"nothing was put aside ({error.message})"
    if Path(folder).name in json.loads(before):
        return "nothing was put aside"
    await context.world.forensics.unarchive(await context.view(), Path(folder))
    return "everything is back in its place"


def _archive_names(plan: RollbackPlan) -> list[str]:
    folder = RunLayout(plan.directory).archive
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


async def _restart_as_it_was(context: OperationContext) -> str:
    """The trainer trains on where it was stopped, at its old level; nothing when it was not at work before, or when
    somebody on call wants it stopped."""
    operation = context.operation
    process = operation.process
    if not operation.was_active or operation.halted_by or process is None or operation.launch is None:
        return "it was not running before"
    if not (await context.world.inspect(process)).over:
        return "the trainer was not stopped"
    resume = (operation.launch.python, *MODULE_ARGV, "resume", str(operation.directory), *again_word(operation.launch))
    argv = operation.launch.argv or resume
    return await launch(context, key=f"{operation.id}.undo", argv=argv)


async def _restore(context: OperationContext) -> str:
    plan = _plan(context)
    await context.world.forensics.restore(await context.view(), epoch=plan.target.epoch)
    await asyncio.to_thread(unpin, context.operation, plan.target)
    return f"epoch {plan.target.epoch} is where it goes on"


def _stop_timeout_s(limits: OperationLimits) -> float:
    return limits.stop_grace_max_s + limits.group_grace_s + 3 * limits.kill_wait_s + KEPT_S


SPECS: Mapping[Step, StepSpec] = {
    spec.step: spec
    for spec in (
        StepSpec(step=Step.GATE, apply=pass_gate, timeout_s=lambda limits: limits.gate_timeout_s),
        StepSpec(step=Step.HOLD, apply=_hold, timeout_s=lambda limits: limits.verify_timeout_s),
        StepSpec(step=Step.VERIFY, apply=_verify, undo=_unpin, timeout_s=lambda limits: limits.verify_timeout_s),
        StepSpec(
            step=Step.STOP,
            probe=probe_stopped,
            apply=stop_process,
            undo=_restart_as_it_was,
            timeout_s=_stop_timeout_s,
        ),
        StepSpec(step=Step.ARCHIVE, apply=_archive, undo=_unarchive, timeout_s=lambda limits: limits.archive_timeout_s),
        StepSpec(step=Step.RESTORE, apply=_restore, timeout_s=lambda limits: limits.restore_timeout_s, retried=True),
        StepSpec(
            step=Step.RESTART,
            probe=probe_restarted,
            apply=restart,
            timeout_s=lambda limits: limits.restart_timeout_s,
            retried=True,
            queues=True,
        ),
        # Its own time-outs are those of the phases; this one only bounds a trainer that creeps.
        StepSpec(
            step=Step.CONFIRM, apply=confirm, timeout_s=lambda limits: 24 * limits.first_batch_timeout_s, queues=True
        ),
    )
}


def instructions(context: OperationContext) -> str:
    """The exact commands that a person would type to finish what is under way."""
    operation, plan, launch = context.operation, context.operation.plan, context.operation.launch
    if launch is None:
        return ""
    trainer, run = (launch.python, *MODULE_ARGV), str(operation.directory)
    done = {step for step, _ in operation.done}
    commands: list[tuple[str, ...]] = [(*trainer, "catalog", run)]
    if plan is not None and Step.ARCHIVE not in done:
        commands.append((*trainer, "archive", run, f"after={plan.target.epoch}"))
    if plan is not None and Step.RESTORE not in done:
        commands.append((*trainer, "restore", run, f"epoch={plan.target.epoch}"))
    start = by_hand(launch, resume_argv(operation))
    if launch.options is None:
        start = f"nohup {start} >> {shlex.quote(str(launch.log))} 2>&1 &"
    return "\n".join((f"cd {shlex.quote(str(launch.cwd))}", *map(shlex.join, commands), start))


def waited(context: OperationContext, spec: StepSpec) -> OperationError:
    """The fault of a step that took too long."""
    limit_s = spec.timeout_s(context.world.limits)
    return OperationError(
        "step-timeout",
        f"“{spec.step.words}” was not done within {duration(limit_s)}.",
        "look at the host: load, disk, network file system",
    )
