"""What a rollback would do, before anybody decides: frozen, and bound to the world it was made in."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from trainmaster.bot.core.run.facts import Identity
from trainmaster.trainer.contract import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The checkpoint to go back to. ``epoch`` counts from 1: training goes on with the epoch after it."""

    epoch: int
    file: str
    sha256: str
    size_bytes: int
    verdict: Verdict
    reasons: tuple[str, ...]
    fitness: float | None
    saved_ts: float | None
    exact: bool
    """Whether it is a full-precision state; a rollback to an Ultralytics file loses optimizer precision."""
    companions: tuple[tuple[str, str], ...] = ()
    """Further files of the same epoch that the rollback uses, each with its digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """Bad batches of one epoch."""

    epoch: int
    num_bad: int
    num_skipped: int
    num_in_weights: int | None = None
    """Neither skipped nor run again; None in plans of an older version."""


class Keeper(StrEnum):
    """Why a setting has the value that it will have."""

    LEVEL = "level"
    USER = "user"
    """Given on the command line, and at least as careful as the level."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingChange:
    """One setting that the next level names. ``before`` is what runs now, ``after`` what will."""

    layer: str
    setting: str
    before: str
    after: str
    kept_by: Keeper

    @property
    def changes(self) -> bool:
        """Whether the rollback alters it."""
        return self.before != self.after


class OptionName(StrEnum):
    """The two sides of the decision, and leaving things as they are."""

    NOW = "Roll back now"
    AFTER_EPOCH = "Roll back at the end of the epoch"
    CONTINUE = "Continue forward"


@dataclass(frozen=True, slots=True, kw_only=True)
class Milestone:
    """What happens at ``ts``, in a few words."""

    ts: float
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One way to decide. ``lost_s`` is the training time that it gives up; a time that nothing supports is None."""

    name: OptionName
    start_ts: float | None
    end_ts: float | None
    lost_s: float | None
    note: str = ""
    milestones: tuple[Milestone, ...] = ()
    """Its phases, from the moment of the plan to the end of the run as far as times are known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How this run's trainer is started, as the run itself recorded it.

    ``argv`` is empty for a guarded run, whose own ``resume`` is used; else it is the whole command, and ``env`` what it
    needs beside the bot's own environment.
    """

    python: str
    cwd: Path
    log: Path
    argv: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    options: tuple[str, ...] | None = None
    """Of a job that is submitted again; None for a process of this host."""
    margin_s: int | None = None
    """As :class:`trainmaster.bot.core.run.launch_spec.LaunchSpec` says of it."""
    waited_s: float | None = None
    """How long the last start of the job waited in the queue."""

    @property
    def guarded(self) -> bool:
        """Whether the guarded trainer is started."""
        return not self.argv


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """The world that a decision is about. Two plans with equal bindings are the same plan."""

    run: str
    attempt: int
    process: str | None
    create_time: float | None
    at_epoch: int | None
    target_epoch: int
    target_file: str
    target_sha256: str
    companions: tuple[tuple[str, str], ...]
    level: str
    changes: tuple[tuple[str, str, str], ...]

    @property
    def digest(self) -> str:
        """Names the plan: equal digests, equal plans."""
        values = [getattr(self, name) for name in self.__slots__]
        return hashlib.sha256(json.dumps(values, ensure_ascii=True).encode()).hexdigest()


_BINDING_LABELS = {
    "run": "run",
    "attempt": "attempt",
    "process": "process id or job",
    "create_time": "its start time",
    "at_epoch": "epoch in training",
    "target_epoch": "epoch of the checkpoint",
    "target_file": "checkpoint file",
    "target_sha256": "digest of the checkpoint",
    "companions": "digests of the files beside it",
    "level": "level",
    "changes": "settings that change",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that is no longer as it was when the decision was asked for."""

    what: str
    then: str
    now: str


def differences(then: Binding, now: Binding) -> tuple[Difference, ...]:
    """What has changed, in words a person can check; empty when the plan still holds."""
    return tuple(
        Difference(what=label, then=_shown(getattr(then, name)), now=_shown(getattr(now, name)))
        for name, label in _BINDING_LABELS.items()
        if getattr(then, name) != getattr(now, name)
    )


def _shown(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return ", ".join(" ".join(map(_shown, item)) for item in value) or "none"
    text = str(value)
    return text[:12] if len(text) == 64 else text


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackPlan:
    """Everything that a person needs to decide, and everything that the engine needs to act after a restart."""

    run: str
    name: str
    directory: Path
    attempt: int
    process: Identity | None
    was_active: bool
    """Whether the trainer was at work when the plan was made."""
    state: str
    at_epoch: int | None
    at_batch: int | None
    batches: int | None
    epochs: int | None
    target: Target
    level_before: str | None
    level_after: str
    settings: tuple[SettingChange, ...]
    incidents: tuple[Incident, ...]
    gives_up: tuple[int, ...]
    """Epochs whose training is lost, the running one included."""
    gives_up_s: float | None
    options: tuple[Option, ...]
    risks: tuple[str, ...]
    launch: Launch
    made_ts: float
    to_epoch: int | None = None
    """As asked for; None means the newest clean one."""
    level: str | None = None
    """As asked for; None means the next one."""
    against: tuple[str, ...] = ()
    """What stood against a start when the plan was made, by its checks; the first risks, one each, say it in words."""

    @property
    def binding(self) -> Binding:
        """What a decision on this plan is bound to."""
        return Binding(
            run=self.run,
            attempt=self.attempt,
            process=self.process.label if self.process else None,
            create_time=self.process.started_ts if self.process else None,
            at_epoch=self.at_epoch,
            target_epoch=self.target.epoch,
            target_file=self.target.file,
            target_sha256=self.target.sha256,
            companions=self.target.companions,
            level=self.level_after,
            changes=tuple((c.setting, c.before, c.after) for c in self.settings if c.changes),
        )

    @property
    def digest(self) -> str:
        """The digest of the binding, by which two plans are compared."""
        return self.binding.digest
