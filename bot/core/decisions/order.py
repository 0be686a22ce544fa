"""What a person wants of operations, as data: commands and buttons make an order, operations perform it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOrder:
    """An order about the run of that id, by ``user``. What comes of it is told in ``channel``, in the thread of the
    message whose key is ``thread_of``; without a channel, in that of alerts."""

    run: str
    user: str
    channel: str | None = None
    thread_of: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposeRollback(RunOrder):
    """The plan shall stand in the channel with a card for the people on call; with ``dry_run`` it is only shown."""

    to_epoch: int | None = None
    """None: the newest clean one."""
    level: str | None = None
    """To go on with; None: the next one."""
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StopNow(RunOrder):
    """The trainer shall be stopped at once, resumable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StopAfterEpoch(RunOrder):
    """The trainer shall be stopped when the running epoch has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContinueRun(RunOrder):
    """It shall be on record that the run goes on without a rollback."""

    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeRun(RunOrder):
    """A stopped run shall be started again from its newest state."""

    level: str | None = None
    """To go on with; None: as before."""
    attempt: int | None = None
    """The one whose end the person was told of; None where none was named."""
    anyway: bool = False
    """Whatever stands against a start."""
    told: str = ""
    """What of that the person was told of, as :func:`gate.told_of` has it; empty: all is meant."""
    batch: int | None = None
    """Another batch size; None: as before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeRecipe(RunOrder):
    """People on call shall be asked whether the run goes on with these settings, as (name, value)."""

    settings: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseRun(RunOrder):
    """The trainer shall be stopped at once, resumable, and resumed at ``until_ts`` (seconds since the epoch, UTC) if
    that is given."""

    until_ts: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeLater(RunOrder):
    """A stopped run shall be started again at ``due_ts``, seconds since the epoch, UTC."""

    due_ts: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowCheckpoints(RunOrder):
    """Every checkpoint of the run shall be told, judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowArchives(RunOrder):
    """What rollbacks of the run put aside shall be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BringBack(RunOrder):
    """What one rollback put aside, in ``folder``, shall be back in its place."""

    folder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decide:
    """A vote on the question ``approval_id``. Only a button gives this order."""

    approval_id: str
    user: str
    approve: bool
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RollBackAfterEpoch:
    """The question ``approval_id`` shall be answered so: back at the end of the running epoch. Only a button gives this
    order; what comes of it is told in ``channel``."""

    approval_id: str
    user: str
    channel: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowAudit:
    """The newest ``limit`` entries of the audit log shall be told."""

    limit: int = 15


Order = (
    ProposeRollback
    | StopNow
    | StopAfterEpoch
    | ContinueRun
    | ResumeRun
    | ChangeRecipe
    | PauseRun
    | ResumeLater
    | ShowCheckpoints
    | ShowArchives
    | BringBack
    | Decide
    | RollBackAfterEpoch
    | ShowAudit
)
