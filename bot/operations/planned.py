"""What is planned for a run and under way on it, in sentences."""

from __future__ import annotations

from typing import Final

from trainmaster.bot.core.conversation.tokens import actor, moment, person
from trainmaster.bot.core.decisions.operation import IntentKind
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.operations.books import Books
from trainmaster.bot.operations.start.planned_resume import due_of

PLANS: Final = (
    IntentKind.RESUME_AT,
    IntentKind.ROLL_BACK_AFTER_EPOCH,
    IntentKind.STOP_AFTER_EPOCH,
    IntentKind.CHANGE,
)
"""Of the intents those that something is to be done about; the others remember what was done."""


def planned_text(books: Books, run: str, view: RunView | None, *, now: float, change_text: str) -> tuple[str, ...]:
    """A sentence each, what is under way first. What no longer holds of the run as it is, ``view``, is not told: it is
    taken back at the next tick. ``change_text`` is the open question about other settings.

    Raises:
        StoreError: that can't be told.
    """
    operation = next(iter(books.operations.open(run)), None)
    question = next(iter(books.approvals.pending(run)), None)
    resume, back, stop, change = (books.intents.get(run, kind) for kind in PLANS)
    told = []
    goes_on = view is None or view.state.goes_on
    plan = "Planned, but held back while nothing may be done to it" if _is_out_of_reach(view) else "Planned"
    if operation is not None:
        told.append(
            f"Under way since {moment(operation.created_ts)}: {operation.kind}, in step “{operation.step.words}”."
        )
    if question is not None and _is_of(view, question.plan.attempt):
        told.append(
            f"Open question: a rollback to epoch {question.plan.target.epoch}, asked for by "
            f"{actor(question.requester)}, until {moment(question.expires_ts)}."
        )
    if resume is not None and _is_of(view, resume.attempt) and (operation is not None or view is None or not goes_on):
        when = moment(due_of(resume)) if due_of(resume) > now else "now"
        told.append(f"{plan}: it will be resumed {when}, asked for by {person(resume.user)}.")
    if back is not None and goes_on and _is_of(view, back.attempt):
        told.append(f"{plan}: a rollback at the end of epoch {back.epoch}, chosen by {person(back.user)}.")
    if stop is not None and goes_on and (_is_of(view, stop.attempt) or _was_queued_again(view)):
        when = f"epoch {stop.epoch}" if stop.epoch else "the first epoch"
        told.append(f"{plan}: it will be stopped after {when}, asked for by {person(stop.user)}.")
    if change is not None and change_text and goes_on and _is_of(view, change.attempt):
        told.append(change_text)
    return tuple(told)


def _is_out_of_reach(view: RunView | None) -> bool:
    """Whether what is due waits until the run, or its process, may be acted upon again."""
    return view is not None and bool(view.watched_only or view.process_fault)


def _is_of(view: RunView | None, attempt: int) -> bool:
    """Whether the run is still in that attempt."""
    return view is None or view.attempt == attempt


def _was_queued_again(view: RunView | None) -> bool:
    """Whether its cluster began another attempt by itself, which a planned stop outlives."""
    job = view.record.job if view is not None and view.record is not None else None
    return job is not None and job.restart > 0
