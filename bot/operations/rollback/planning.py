"""From a run as it stands to a plan that a person can judge, or to the reasons why there is none."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from trainmaster.bot.core.conversation.words import capitalized
from trainmaster.bot.core.decisions.choices import incidents_of, options_of
from trainmaster.bot.core.decisions.gate import GateCheck, closed
from trainmaster.bot.core.decisions.plan import (
    Keeper,
    Launch,
    RollbackPlan,
    SettingChange,
    Target,
)
from trainmaster.bot.core.run.facts import CheckpointFact, ProcessStatus
from trainmaster.bot.core.run.forecast import Forecast, forecast
from trainmaster.bot.core.run.state import RunState
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import CommandError
from trainmaster.bot.operations.ports import Forensics, Levels, StartGate
from trainmaster.bot.operations.refusals import refuse_foreign_process, refuse_unless_ours
from trainmaster.bot.operations.rollback.target import choose_target
from trainmaster.bot.operations.start.launch import launch_of
from trainmaster.bot.operations.start.open_gate import OpenGate
from trainmaster.trainer.contract import Phase

_USER_SOURCE = "user"
"""``source`` of a layer's row in run.json when the command line gave the value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planner:
    """Makes plans for runs of this host."""

    forensics: Forensics
    levels: Levels
    host: str | None
    gate: StartGate = field(default_factory=OpenGate)

    async def plan(self, view: RunView, now: float, *, to_epoch: int | None, level: str | None) -> RollbackPlan:
        """The plan for the world as it is now.

        Raises:
            CommandError: there is nothing to go back to, or the run cannot be handled from here; says why.
            OperationError: the checkpoints could not be examined.
        """
        wanted = self.levels.check(level) if level else None
        refuse_unless_ours(view, self.host)
        catalog = await self.forensics.catalog(view)
        plan = make_plan(view, catalog, self.levels, now, to_epoch=to_epoch, level=wanted)
        # What a trainer at work holds is free once it is stopped.
        freed = {GateCheck.MEMORY, GateCheck.GPU_USERS} if view.state.active else set()
        against = [one for one in closed(await self.gate.look(view)) if one.check not in freed]
        risks = (f"{capitalized(one.text)}." for one in against)
        return replace(plan, risks=(*risks, *plan.risks), against=tuple(one.check.value for one in against))


def _launch_to(view: RunView, epoch: int, file: str, level: str) -> Launch:
    """As :func:`launch_of`; when it is not known, the refusal has the commands for a person."""
    try:
        return launch_of(view)
    except CommandError as error:
        process = view.record.process if view.record else None
        run = shlex.quote(str(view.directory))
        commands = [
            *([f"kill -TERM {pid}" for pid in process.pids] if process and view.state.active else []),
            f"trainmaster archive {run} after={epoch}",
            f"trainmaster restore {run} epoch={epoch}",
            f"trainmaster resume {run} level={level}",
        ]
        raise CommandError(
            error.slug,
            f"run {view.name} was not started by the guarded trainer, and how to start it again was not told. The "
            f"checkpoint of epoch {epoch} ({file}) shows no sign of damage.",
            "by hand: " + " && ".join(commands) + "; or tell it: trainmaster adopt ... --launch COMMAND",
        ) from error


def make_plan(
    view: RunView,
    catalog: Sequence[CheckpointFact],
    levels: Levels,
    now: float,
    *,
    to_epoch: int | None = None,
    level: str | None = None,
) -> RollbackPlan:
    """The plan; see :meth:`Planner.plan`."""
    record = view.record
    if record is None:
        raise CommandError("run-unguarded", f"run {view.name} has no readable guard/run.json.", "/train status")
    _refuse_by_state(view, to_epoch)
    _refuse_unguarded(view, level)
    target = choose_target(view, catalog, to_epoch)
    refuse_foreign_process(view)
    if view.total_epochs is not None and target.epoch >= view.total_epochs:
        raise CommandError(
            "nothing-to-train",
            f"epoch {target.epoch} is the last of {view.total_epochs}: there is nothing left to train after it.",
            "name an earlier one: /train execute rollback to epoch N",
        )
    level_after = level or levels.next(record.level if record.guarded else None)
    launch = _launch_to(view, target.epoch, target.file, level_after)
    if not launch.guarded:
        level_after = record.level or "none"
    settings = _settings(view, levels, level_after) if launch.guarded else ()
    times = forecast(view, now)
    running = view.current
    beat = view.beat
    at_epoch = running.epoch if running else (beat.epoch if beat else None)
    gives_up = tuple(range(target.epoch + 1, at_epoch + 1)) if at_epoch is not None else ()
    gives_up_s = _lost_s(view, gives_up)
    return RollbackPlan(
        run=view.run,
        name=view.name,
        directory=view.directory,
        attempt=view.attempt,
        process=view.at_work,
        was_active=view.state.goes_on,
        state=view.state.value,
        at_epoch=at_epoch,
        at_batch=beat.batch if beat else None,
        batches=beat.batches if beat else None,
        epochs=view.total_epochs,
        target=target,
        level_before=record.level,
        level_after=level_after,
        settings=settings,
        incidents=incidents_of(view),
        gives_up=gives_up,
        gives_up_s=gives_up_s,
        options=options_of(times, target, view, gives_up_s),
        risks=_risks(view, target, settings, times, launch),
        launch=launch,
        made_ts=now,
        to_epoch=to_epoch,
        level=level,
    )


def _refuse_by_state(view: RunView, to_epoch: int | None) -> None:
    process = view.process
    if view.state is RunState.UNKNOWN and process is not None and process.status is ProcessStatus.UNKNOWN:
        raise CommandError(
            "process-unknown",
            f"it cannot be told whether the process of {view.name} lives: {process.detail or 'no answer'}.",
            "a rollback waits until that is known; see /train status",
        )
    if view.state is RunState.FINISHED and to_epoch is None:
        raise CommandError(
            "run-finished",
            f"run {view.name} has finished, so there is nothing to rescue.",
            "to train on from an earlier epoch all the same: /train execute rollback to epoch N",
        )


def _refuse_unguarded(view: RunView, level: str | None) -> None:
    """A run that something else started has a known process, and is asked for nothing that only a guard could do."""
    record = view.record
    if record is None or record.relaunch is None:
        return
    if record.process is None:
        raise CommandError(
            "process-unknown",
            f"it is not known which process trains {view.name}, so it can't be stopped.",
            "adopt it anew with --pid",
        )
    if level is not None:
        raise CommandError(
            "run-unguarded",
            f"run {view.name} is not guarded: it has no levels, its settings stand in its checkpoint.",
            "leave the level out; or go on with the guard by hand: trainmaster resume RUN_DIR level=...",
        )


def _settings(view: RunView, levels: Levels, level_after: str) -> tuple[SettingChange, ...]:
    record = view.record
    now = record.settings if record else {}
    user = {setting: value for setting, (value, source) in now.items() if source == _USER_SOURCE}
    changes = []
    for setting, (layer, wanted, by_user) in levels.settings(level_after, user).items():
        value, _ = now.get(setting, ("unknown", ""))
        kept = by_user or (record is not None and level_after == record.level and setting in user)
        changes.append(
            SettingChange(
                layer=layer,
                setting=setting,
                before=value,
                after=value if kept or _equal(value, wanted) else wanted,
                kept_by=Keeper.USER if kept else Keeper.LEVEL,
            )
        )
    return tuple(changes)


def _equal(one: str, other: str) -> bool:
    try:
        return math.isclose(float(one), float(other), rel_tol=1e-9)
    except ValueError:
        return one == other


def _lost_s(view: RunView, gives_up: Sequence[int]) -> float | None:
    """Training time of those epochs, as measured; None when one of them was not."""
    total_s = 0.0
    beat = view.beat
    for number in gives_up:
        epoch = view.epoch(number)
        if epoch is not None and epoch.seconds is not None:
            total_s += epoch.seconds
        elif beat is not None and beat.epoch == number and beat.epoch_elapsed_s is not None:
            total_s += beat.epoch_elapsed_s
        else:
            return None
    return total_s


def _risks(
    view: RunView, target: Target, settings: Sequence[SettingChange], times: Forecast, launch: Launch
) -> tuple[str, ...]:
    risks = []
    if not launch.guarded:
        risks.append(
            "Nothing guards this run: no setting changes, and the next bad batch goes into its weights again. It is "
            f"started with: {shlex.join(launch.argv)}"
        )
    if launch.options is not None:
        risks.append("It goes back to the cluster's queue: until its job starts, nothing trains.")
    if not target.exact:
        risks.append(
            "The checkpoint is Ultralytics' own, in half precision: the optimizer goes on a little rougher than it was."
        )
    kept = [change.setting for change in settings if change.kept_by is Keeper.USER]
    if kept:
        risks.append(f"Kept as given on the command line: {', '.join(kept)}.")
    if launch.guarded and not any(change.changes for change in settings):
        risks.append("No setting changes: what happened may well happen again.")
    if any(change.setting == "optimizer" and change.changes for change in settings):
        risks.append("The optimizer changes, so its saved state cannot be used.")
    images = {image for epoch in view.story() for bad in epoch.bad_batches for image in bad.images}
    if images:
        these = f"{len(images):,} images" if len(images) > 1 else "image"
        risks.append(
            f"The {these} of the bad batches will be trained on again: a bad batch does not tell which of its images "
            "was at fault."
        )
    if view.beat is not None and view.beat.phase is Phase.VALIDATING:
        risks.append("Validation is running and will be lost; its epoch's checkpoint is not saved yet.")
    if times.epoch_s is None:
        risks.append("No epoch has been measured yet, so no end time can be given.")
    return tuple(risks)
