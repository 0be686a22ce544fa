"""Whether a run that died goes on without a person: by itself, asked for, or not at all. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from trainmaster.bot.core.decisions.operation import BOT, Operation, OperationKind, OperationState
from trainmaster.bot.core.run.death import Death, DeathCause, DeathClass
from trainmaster.bot.core.run.facts import Identity
from trainmaster.bot.core.run.identity import decode_identity, same_start
from trainmaster.bot.core.run.parsing import member_of
from trainmaster.bot.core.run.view import RunView

CAUSE, ROOT, FINISHED, ARTEFACT, NUMBER, PAUSE_S = "cause", "root", "finished", "artefact", "number", "pause_s"
"""Notes of an automatic resume: why it goes on, what is counted as one cause, the newest epoch finished before, the
fault and its place, which try it is, and how long it waits first."""
PLACE: Final = "place"
"""The note of an automatic resume where the attempt before stood: "epoch/batch", empty where that is not known."""
SEEN_CAUSE: Final = "seen_cause"
"""The note of how the attempt ended as it looked when the start began; what operations tell of it left out."""
BATCH: Final = "batch"
"""The note of a resume with another batch size."""
ENDED: Final = "ended"
"""The note of how a start ended that did not get as far as its first batches: a cause of death."""
HANG: Final = "hang"
"""The note of a stop of what hung, asked for by nobody."""
LAST_SIGN: Final = "last_sign"
"""The note of such a stop: the sign of life after which there was none."""
ASKED: Final = "asked"
"""The note whom an operation has asked to end."""
LAUNCHED: Final = "launched"
"""The note what it has started."""

MAX_STARTS: Final = 3
"""For one cause without a finished epoch between (NVRx restart agent: three restarts for the same root without
progress)."""
MAX_STARTS_IN_ALL: Final = 6
"""For all causes together, without a finished epoch between: faults that take turns are one fault that is not known."""
_PLANNED: Final = frozenset({DeathCause.TIME_LIMIT.value, DeathCause.PREEMPTED.value})
"""Ends that a cluster plans: a job of two hours never finishes an epoch of nine, and nothing is wrong with it."""
_PAUSE_FACTOR: Final = 6.0
"""Of one pause to the next: 5 s, 30 s, 3 min."""


class AutoResume(StrEnum):
    """What the operator wants for a run that died. Capitals are taken, too."""

    ASK = "ask"
    AUTO = "auto"
    OFF = "off"

    @classmethod
    def _missing_(cls, value: object) -> AutoResume | None:
        lowered = value.lower() if isinstance(value, str) else None
        return next((one for one in cls if one.value == lowered), None)


class Going(StrEnum):
    """What becomes of the run."""

    ON = "on"
    """It is started again by itself."""
    ASK = "ask"
    """People on call are asked, with a button."""
    LEAVE = "leave"
    """As if nothing of this existed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """``why`` says why it is not started by itself; empty where it is, or where nobody wants that. ``starts`` are those
    so far for this cause, ``finished`` is the newest finished epoch."""

    going: Going
    why: str = ""
    starts: int = 0
    finished: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondThought:
    """What became of a start by itself when the death was looked at once more: ``why`` it must not go on, empty where
    it may; ``notes`` are those of the operation that were of another death."""

    why: str = ""
    notes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What else is known: ``history`` are the run's operations, newest first. ``hands_off`` says why only a person may
    do anything now; empty when nothing is in the way."""

    mode: AutoResume
    history: Sequence[Operation]
    hands_off: str = ""
    seen_at_work: bool = True


def decide(view: RunView, death: Death, known: Circumstances) -> Decision:
    """What becomes of a run that died. The first rule that applies counts."""
    if known.mode is AutoResume.OFF or view.watched_only or known.hands_off:
        return Decision(going=Going.LEAVE, why=known.hands_off)
    if death.kind is DeathClass.PERSON or _was_decided(view, known.history, death):
        return Decision(going=Going.LEAVE)
    finished = newest_finished(view)
    before = [one for one in automatic_since_progress(view, known.history) if not _trained_on(one, death)]
    starts = sum(one.note(ROOT) == death.cause.root for one in before)
    if known.mode is AutoResume.ASK:  # nothing is started by itself, whatever it died of
        return Decision(going=Going.ASK, starts=starts, finished=finished)
    why = _why_not(view, death, known, before, starts)
    going = Going.ASK if why else Going.ON
    return Decision(going=going, why=why, starts=starts, finished=finished)


def _why_not(view: RunView, death: Death, known: Circumstances, before: Sequence[Operation], starts: int) -> str:
    """Why it may not go on by itself; empty when it may."""
    if death.kind is DeathClass.UNKNOWN:
        return death.why
    if not view.guarded:
        return "nobody guards it, so no state of it is known to be clean"
    if not known.seen_at_work:
        return "this bot did not see its last attempt at work"
    if death.artefact and any(one.note(ARTEFACT) == death.artefact for one in before):
        return "the very same fault in the very same place, for the second time"
    if starts >= MAX_STARTS:
        return f"resumed {starts} times for the same cause, and no epoch was finished between"
    if len(before) >= MAX_STARTS_IN_ALL:
        return f"resumed {len(before)} times for several causes, and no epoch was finished between"
    return ""


def _was_decided(view: RunView, history: Sequence[Operation], death: Death) -> bool:
    """Whether the end was seen to by an operation after it, or was part of one. A start by the bot itself that did not
    get as far as its first batches decided nothing, nor did a stop of what hung."""
    newest = next(iter(history), None)
    if newest is None:
        return False
    if newest.state is OperationState.OPEN:
        return True
    if newest.halted_by is not None and (newest.attempt >= death.attempt or _started(newest, view)):
        return True  # what it had started already was ended with it
    if newest.kind is OperationKind.STOP and newest.attempt >= death.attempt:
        return not hung(newest)
    if newest.automatic and newest.state is OperationState.UNDONE:
        return False
    if _left_alone(newest) and death.last_ts > newest.updated_ts:
        return False  # it trained on after that
    if newest.state is OperationState.DONE and _started(newest, view):
        return False  # whatever their numbers: a run that came back from its copies counts from what those know
    # One that was launched and never signed in left the attempt as it was.
    return newest.attempt >= death.attempt and newest.state is not OperationState.VOIDED


def _left_alone(operation: Operation) -> bool:
    """Whether it ended before it touched a run that was at work."""
    return operation.state is OperationState.UNDONE and operation.was_active and operation.note(ASKED) is None


def _started(operation: Operation, view: RunView) -> bool:
    """Whether it started what trained last."""
    launched, trained = launched_by(operation), view.record.process if view.record is not None else None
    return launched is not None and trained is not None and same_start(launched, trained)


def launched_by(operation: Operation) -> Identity | None:
    """The process or job that it started, the newest where there were several."""
    noted = operation.note(LAUNCHED)
    return decode_identity(json.loads(noted)) if noted else None


def hung(operation: Operation) -> bool:
    """Whether it stops what hung by itself, and nobody wants that stopped meanwhile."""
    by_itself = operation.requester == BOT and operation.halted_by is None
    return operation.kind is OperationKind.STOP and by_itself and operation.note(HANG) is not None


def sign_of_life(view: RunView) -> str:
    """The newest of the run, to be told from any other."""
    beat = view.beat
    return "" if beat is None else f"{beat.ts!r} {beat.phase} {beat.epoch} {beat.batch}"


def automatic_since_progress(view: RunView, history: Sequence[Operation]) -> tuple[Operation, ...]:
    """Automatic starts, newest first, since which no epoch was finished that was not finished before, and no rollback
    was done."""
    found = []
    for one in history:
        if one.kind is OperationKind.ROLLBACK and one.state is OperationState.DONE:
            break
        if not one.automatic:
            continue
        if _progress_since(view, one):
            break
        found.append(one)
    return tuple(found)


def _progress_since(view: RunView, start: Operation) -> bool:
    before = int(start.note(FINISHED) or 0)
    return any(
        epoch.finished and epoch.attempt > start.attempt and epoch.epoch > before for epoch in view.epochs.values()
    )


def _trained_on(start: Operation, death: Death) -> bool:
    """Whether the run got further since ``start``, which went on after an end that its cluster had planned."""
    then, now = start.note(PLACE), _place(death)
    if start.note(CAUSE) not in _PLANNED or not then or not now:
        return False
    return [int(part) for part in now.split("/")] > [int(part) for part in then.split("/")]


def _place(death: Death) -> str:
    return "" if death.epoch is None or death.batch is None else f"{death.epoch}/{death.batch}"


def newest_finished(view: RunView) -> int:
    """The newest epoch that was finished, as the run now stands; 0 before the first."""
    return max((epoch.epoch for epoch in view.story() if epoch.finished), default=0)


def pause_s(first_s: float, starts: int) -> float:
    """Before the start that follows ``starts`` others for the same cause."""
    return float(first_s * _PAUSE_FACTOR**starts)


def notes_of(death: Death, seen_cause: DeathCause) -> tuple[tuple[str, str], ...]:
    """What an operation keeps of the death that it goes on after; ``seen_cause`` as :data:`SEEN_CAUSE` has it."""
    return (
        (CAUSE, death.cause.value),
        (ROOT, death.cause.root),
        (ARTEFACT, death.artefact),
        (SEEN_CAUSE, seen_cause.value),
        (PLACE, _place(death)),
    )


def cause_of_start(history: Sequence[Operation], death: Death) -> DeathCause | None:
    """What ended the newest automatic start, where that never got as far as an attempt of its own."""
    newest = next(iter(history), None)
    if newest is None or not newest.automatic or newest.attempt < death.attempt:
        return None
    return member_of(DeathCause, newest.note(ENDED))
