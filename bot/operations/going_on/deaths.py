"""What became of a run that is over, and what its alert says: see docs/going-on.md."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from trainmaster.bot.core.alerts.finding import Finding, Severity
from trainmaster.bot.core.check_name import CheckName
from trainmaster.bot.core.conversation.message import ActionId
from trainmaster.bot.core.conversation.words import quoted
from trainmaster.bot.core.decisions import going_on
from trainmaster.bot.core.decisions.buttons import resume_button
from trainmaster.bot.core.decisions.going_on import AutoResume, Circumstances, Decision, Going, SecondThought, decide
from trainmaster.bot.core.decisions.operation import BOT, Intent, IntentKind, Operation, OperationKind
from trainmaster.bot.core.decisions.smaller_batch import smaller_batch
from trainmaster.bot.core.run.death import Death, DeathCause, DeathClass, death_of
from trainmaster.bot.core.run.state import RunState
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import StoreError
from trainmaster.bot.operations.books import Books
from trainmaster.bot.operations.limits import GoingOnLimits
from trainmaster.bot.ports import Clock

_LOG = logging.getLogger(__name__)

_HISTORY: Final = 50
"""Operations of a run that are looked through; a run that had more without a finished epoch has been asked about."""
ENDS: Final = frozenset({CheckName.PROCESS_DIED, CheckName.RUN_CRASHED, CheckName.RUN_STOPPED})
"""What tells of the end of an attempt that may go on."""

_OWN_WORDS: Final = frozenset({DeathCause.GAVE_UP, DeathCause.REFUSED, DeathCause.CODE})
"""What a trainer ends with and no stop of it: a person decides, whatever it was asked for in that moment."""

Silenced = Callable[[str, float], bool]


def never_silenced(_run: str, _now: float) -> bool:
    """Where nothing tells of silences."""
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedDeath:
    """A death, by all that is known of it, and what becomes of the run."""

    death: Death
    decision: Decision
    seen_cause: DeathCause
    """What ended it by what the run itself shows."""


@dataclass(kw_only=True)
class Deaths:
    """Judges the ends of runs. ``silenced`` tells whether somebody asked for quiet about the death of a run: nothing is
    done about it then."""

    books: Books
    clock: Clock
    limits: GoingOnLimits
    silenced: Silenced = never_silenced

    def __post_init__(self) -> None:
        self._seen: dict[str, int] | None = None
        self._seen_here: dict[str, int] = {}

    @property
    def mode(self) -> AutoResume:
        """What the operator wants."""
        return self.limits.auto_resume

    def judge(self, view: RunView) -> JudgedDeath | None:
        """What becomes of the run; None while it is not over.

        Raises:
            StoreError: what was done to it before can't be read.
        """
        death = death_of(view) if self.mode is not AutoResume.OFF else None
        if death is None or not self._recent(view, death):
            return None
        history = self.books.operations.history(view.run, limit=_HISTORY)
        seen_cause = death.cause
        death = _seen_closer(death, history)
        known = Circumstances(
            mode=self.mode,
            history=history,
            hands_off=self._hands_off(view, death),
            seen_at_work=self._was_seen(view, death, history),
        )
        return JudgedDeath(death=death, decision=decide(view, death, known), seen_cause=seen_cause)

    def told(self, view: RunView, findings: Sequence[Finding]) -> list[Finding]:
        """``findings``, of which those that tell of the end also say what becomes of the run, with the button.

        Raises:
            StoreError: that can't be told.
        """
        if not any(one.check in ENDS for one in findings):
            return list(findings)
        judged = self.judge(view)
        if judged is None or judged.decision.going is Going.LEAVE:
            return list(findings)
        return [_told(view, one, judged) if _is_of(one, judged.death) else one for one in findings]

    def why_not_hung(self, view: RunView) -> str:
        """Why the bot must not stop the run although it hangs; empty when it may, since it would then go on.

        Raises:
            StoreError: what was done to it before can't be read.
        """
        if view.watched_only or not view.guarded:
            return view.watched_only or "nobody guards it"
        if self.books.operations.open(view.run):
            return "an operation is under way"
        as_if = Death(attempt=view.attempt, cause=DeathCause.HANG, last_ts=self.clock.now())
        history = self.books.operations.history(view.run, limit=_HISTORY)
        known = Circumstances(mode=self.mode, history=history, hands_off=self._hands_off(view, as_if))
        decision = decide(view, as_if, known)
        return "" if decision.going is Going.ON else decision.why or "a person has decided about it"

    def think_again(self, view: RunView, start: Operation) -> SecondThought:
        """Whether ``start``, which began by itself, may go on: not where it came out meanwhile that the run ended in a
        way that a person decides about, or that was resumed too often, and not where somebody wants it left alone.

        Raises:
            StoreError: what people want of it, or what was done before, can't be read.
        """
        if self.mode is not AutoResume.AUTO:  # what the bot before this one was told does not hold any more
            return SecondThought(why=f"AUTO_RESUME is {self.mode.value} now")
        death = death_of(view)
        if view.state is RunState.FINISHED:
            return SecondThought(why=f"{view.name} has finished")
        if death is None or death.attempt != start.attempt:
            return SecondThought()
        if why := self._hands_off(view, death):
            return SecondThought(why=why)
        seen = start.note(going_on.SEEN_CAUSE)
        if seen is None or (death.cause is DeathCause.UNKNOWN and not death.error):
            return SecondThought()  # by its cluster it is forgotten: no evidence against the rest
        if death.cause.value != seen and death.kind is not DeathClass.TRANSIENT:
            return SecondThought(why=death.why)
        before = [one for one in self.books.operations.history(view.run, limit=_HISTORY) if one.id != start.id]
        seen_cause = death.cause
        death = _seen_closer(death, before)
        if (seen_cause.value, death.artefact) == (seen, start.note(going_on.ARTEFACT) or ""):
            return SecondThought()
        decision = decide(view, death, Circumstances(mode=self.mode, history=before))
        if decision.going is not Going.ON:
            return SecondThought(why=decision.why or death.why)
        return SecondThought(notes=going_on.notes_of(death, seen_cause))

    def notice(self, view: RunView) -> None:
        """It is remembered that the run was at work. Never raises."""
        if not view.state.active:
            return
        self._seen_here[view.run] = view.attempt
        if self.mode is not AutoResume.AUTO or view.watched_only:
            return
        try:
            self._note_at_work(view)
        except StoreError as error:
            _LOG.warning("that %s is at work could not be written down: %s", view.name, error)

    def _recent(self, view: RunView, death: Death) -> bool:
        if self._seen_here.get(view.run) in {death.attempt, death.attempt - 1}:
            return True  # whatever the clock says
        # Long before it, the clock is wrong, as after a power cut: it is judged once that is mended.
        return abs(self.clock.now() - death.last_ts) <= self.limits.max_age_s

    def _hands_off(self, view: RunView, death: Death) -> str:
        stop = self.books.intents.get(view.run, IntentKind.STOP_AFTER_EPOCH)
        if stop is not None and stop.attempt == death.attempt:
            return "a stop of it was asked for"
        back = self.books.intents.get(view.run, IntentKind.ROLL_BACK_AFTER_EPOCH)
        if back is not None and back.attempt == death.attempt:
            return "a rollback of it was decided"
        later = self.books.intents.get(view.run, IntentKind.RESUME_AT)
        if later is not None and later.attempt == death.attempt:
            return "a person has planned when it is resumed"
        if self.books.approvals.pending(view.run):
            return "people are asked about a rollback of it"
        if self.silenced(view.run, self.clock.now()):
            return "its alerts are silenced"
        return ""

    def _note_at_work(self, view: RunView) -> None:
        if self._seen_of(view.run) == view.attempt:
            return
        self.books.intents.put(
            Intent(
                run=view.run,
                kind=IntentKind.SEEN_AT_WORK,
                attempt=view.attempt,
                user=BOT,
                ts=self.clock.now(),
            )
        )
        self._known()[view.run] = view.attempt

    def _was_seen(self, view: RunView, death: Death, history: Sequence[Operation]) -> bool:
        """Also of what the bot started itself, however soon it died."""
        started = any(one.attempt == death.attempt - 1 and one.kind is not OperationKind.STOP for one in history)
        return started or self._seen_of(view.run) == death.attempt

    def _seen_of(self, run: str) -> int | None:
        return self._known().get(run)

    def _known(self) -> dict[str, int]:
        if self._seen is None:
            self._seen = {one.run: one.attempt for one in self.books.intents.all(IntentKind.SEEN_AT_WORK)}
        return self._seen


def _seen_closer(death: Death, history: Sequence[Operation]) -> Death:
    """What operations tell of the death: that the run hung, or what ended a start that left no attempt. One that ended
    by itself before it was asked to, or with a word of its own, died of that."""
    newest = next(iter(history), None)
    was_asked = newest is not None and newest.note(going_on.ASKED) is not None and death.cause not in _OWN_WORDS
    if newest is not None and was_asked and newest.attempt == death.attempt and going_on.hung(newest):
        return replace(death, cause=DeathCause.HANG)
    cause = going_on.cause_of_start(history, death)
    return death if cause is None else replace(death, cause=cause, error="")


def _is_of(finding: Finding, death: Death) -> bool:
    return finding.check in ENDS and finding.key.partition("/")[0] == f"attempt{death.attempt}"


def _told(view: RunView, finding: Finding, judged: JudgedDeath) -> Finding:
    death, decision = judged.death, judged.decision
    if decision.going is Going.ON:
        prevents = f"/train stop now of {quoted(view.name)} prevents it"
        text = f"It is resumed by itself, since {death.why}: nobody need do anything. {prevents}."
        severity = Severity.WARNING if finding.severity is Severity.CRITICAL else finding.severity
        return replace(finding, severity=severity, body=(text, *finding.body))
    text = f"It stands still: {death.why}."
    if decision.why and decision.why != death.why:
        text += f" Not resumed by itself: {decision.why}."
    short = death.cause is DeathCause.DEVICE_MEMORY and decision.finished
    smaller = smaller_batch(view.record) if short else None
    return replace(
        finding,
        severity=Severity.CRITICAL,
        body=(text, *((smaller.text,) if smaller else ()), *finding.body),
        hint="/train resume",
        buttons=(
            *((resume_button(view.run, death.attempt, batch=smaller.size),) if smaller else ()),
            resume_button(view.run, death.attempt),
            *(one for one in finding.buttons if one.action is not ActionId.RESUME_RUN),
        ),
    )
