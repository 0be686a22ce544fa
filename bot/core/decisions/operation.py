"""A journalled operation on a run: its steps, its state, and what is known at each boundary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from trainmaster.bot.core.decisions.plan import Launch, RollbackPlan
from trainmaster.bot.core.run.facts import Identity, ProcessIdentity


class OperationKind(StrEnum):
    """What is being done to the run."""

    ROLLBACK = "rollback"
    STOP = "stop"
    RESUME = "resume"
    CHANGE = "change"
    """A stop and a resume with other settings."""


BOT: Final = "Trainmaster"
"""Who asks for what nobody asked for. It is nobody who could click."""


class Step(StrEnum):
    """In order. From ``RESTORE`` on there is no way back."""

    GATE = "gate"
    HOLD = "hold"
    VERIFY = "verify"
    STOP = "stop"
    ARCHIVE = "archive"
    RESTORE = "restore"
    RESTART = "restart"
    CONFIRM = "confirm"

    @property
    def words(self) -> str:
        """As it stands on the card of the operation."""
        return _WORDS[self]


_WORDS: Final = {
    Step.GATE: "Ready to start",
    Step.HOLD: "Hold: nothing has changed since the approval",
    Step.VERIFY: "Verify the checkpoint",
    Step.STOP: "Stop the trainer",
    Step.ARCHIVE: "Archive what came after",
    Step.RESTORE: "Restore the checkpoint",
    Step.RESTART: "Start the trainer",
    Step.CONFIRM: "See healthy batches",
}

STEPS: Mapping[OperationKind, tuple[Step, ...]] = {
    OperationKind.ROLLBACK: tuple(step for step in Step if step is not Step.GATE),
    OperationKind.STOP: (Step.STOP,),
    OperationKind.RESUME: (Step.GATE, Step.RESTART, Step.CONFIRM),
    OperationKind.CHANGE: (Step.STOP, Step.RESTART, Step.CONFIRM),
}


WAITS = "waits"
"""The note that says what the step under way waits for."""
ARCHIVE = "archive"
"""The note where that lies which a rollback has put aside."""
LEVEL = "level"
"""The note of a resume at another level."""
SETTINGS = "settings"
"""The note of a change: the settings to go on with, as words of a command."""


class Direction(StrEnum):
    """Which way the engine goes through the steps."""

    FORWARD = "forward"
    UNDO = "undo"


class OperationState(StrEnum):
    """``OPEN`` once, then one of the others for good."""

    OPEN = "open"
    DONE = "done"
    UNDONE = "undone"
    """It failed before the point of no return, and the run is as it was."""
    VOIDED = "voided"
    """Before anything was touched it turned out that the world had changed."""
    ABORTED = "aborted"
    """Somebody on call stopped it; the run is stopped."""
    NEEDS_HUMAN = "needs_human"


class EntryKind(StrEnum):
    """What a line of the journal says about a step."""

    OPENED = "opened"
    CLAIMED = "claimed"
    BEGUN = "begun"
    NOTED = "noted"
    """A fact that a later step or a recovery needs, written before the act that it is about."""
    WAITING = "waiting"
    """What the step waits for has changed; the message shows it."""
    DONE = "done"
    FAILED = "failed"
    UNDOING = "undoing"
    UNDONE = "undone"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """One line of the journal."""

    ts: float
    step: Step
    kind: EntryKind
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation as its last committed journal line left it.

    ``owner`` and ``fence`` name the bot process that may act: every write is conditional on both, so a bot that was
    taken over writes nothing more. ``done`` are the steps finished, with what they found. ``notes`` are facts written
    before an act (processes to watch, the archive folder, the process launched).
    """

    id: str
    kind: OperationKind
    run: str
    name: str
    directory: Path
    requester: str
    decided_by: tuple[str, ...]
    channel: str | None
    thread_of: str | None
    created_ts: float
    updated_ts: float
    owner: ProcessIdentity
    fence: int
    step: Step
    process: Identity | None
    attempt: int
    was_active: bool
    launch: Launch | None
    plan: RollbackPlan | None = None
    direction: Direction = Direction.FORWARD
    state: OperationState = OperationState.OPEN
    done: tuple[tuple[Step, str], ...] = ()
    notes: tuple[tuple[str, str], ...] = ()
    problem: str = ""
    halted_by: str | None = None
    """Who asked for an emergency stop while this was under way."""

    @property
    def card(self) -> str:
        """The key of its message."""
        return f"operation/{self.id}"

    @property
    def steps(self) -> tuple[Step, ...]:
        """All its steps, in order."""
        return STEPS[self.kind]

    @property
    def reversible(self) -> bool:
        """Whether everything so far can be undone."""
        return self.kind is OperationKind.ROLLBACK and self.step in {Step.HOLD, Step.VERIFY, Step.STOP, Step.ARCHIVE}

    @property
    def automatic(self) -> bool:
        """Whether it goes on with a run without a person."""
        return self.kind is OperationKind.RESUME and self.requester == BOT

    def note(self, name: str) -> str | None:
        """A fact noted earlier."""
        return dict(self.notes).get(name)


class IntentKind(StrEnum):
    """What a person decided about a run that is not an operation yet, or never will be."""

    STOP_AFTER_EPOCH = "stop_after_epoch"
    CHANGE = "change"
    """A question about other settings; ``why`` is all of it (:mod:`trainmaster.bot.core.decisions.change`)."""
    RESUME_AT = "resume_at"
    """``why`` is the time, in seconds since the epoch."""
    ROLL_BACK_AFTER_EPOCH = "roll_back_after_epoch"
    """``why`` is the id of the question that was answered so."""
    CONTINUE = "continue"
    STORM_TOLD = "storm_told"
    """The bot's own: the newest storm that people were asked about; ``why`` is the key of its evidence."""
    SEEN_AT_WORK = "seen_at_work"
    """The bot's own: the newest attempt that it saw at work. It goes on by itself with no other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A decision with who and why. ``epoch`` is the one that was running then."""

    run: str
    kind: IntentKind
    attempt: int
    epoch: int | None = None
    user: str
    why: str = ""
    channel: str | None = None
    thread_of: str | None = None
    ts: float
