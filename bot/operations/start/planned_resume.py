"""A resume that a person planned for a time: how it is kept, and how it is taken back when it no longer holds."""

from __future__ import annotations

from trainmaster.bot.core.conversation.message import Message, Tone
from trainmaster.bot.core.conversation.tokens import moment, person
from trainmaster.bot.core.decisions.operation import Intent, IntentKind
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import CommandError
from trainmaster.bot.operations.books import Books

MAX_AHEAD_S = 30 * 86_400.0
"""What is further away than a month is a slip of the pen."""


def intent_to_resume(
    view: RunView, user: str, due_ts: float, now: float, *, channel: str | None, thread_of: str | None
) -> Intent:
    """The run shall be resumed at ``due_ts``; ``why`` of the intent is that time.

    Raises:
        CommandError: the time is past, or too far away.
    """
    if not now < due_ts <= now + MAX_AHEAD_S:
        raise CommandError(
            "no-such-time", f"{moment(due_ts)} is not within the next 30 days.", "resume at 22:00, or resume in 2h"
        )
    return Intent(
        run=view.run,
        kind=IntentKind.RESUME_AT,
        attempt=view.attempt,
        user=user,
        why=f"{due_ts:.0f}",
        channel=channel,
        thread_of=thread_of,
        ts=now,
    )


def due_of(intent: Intent) -> float:
    """When the run is to be resumed."""
    try:
        return float(intent.why)
    except ValueError:
        return 0.0


def take_back(books: Books, intent: Intent, name: str, why: str, *, by: str, now: float) -> None:
    """The plan is gone, which is on record and told where it was made. ``why`` is a sentence; ``by`` is who did what
    overtook it.

    Raises:
        StoreError: it could not be recorded.
    """
    with books.transactions.transaction():
        detail = {"attempt": intent.attempt, "due_ts": due_of(intent), "outcome": why}
        books.audit.append(by, "resume.plan_dropped", intent.run, detail, now)
        books.intents.drop(intent.run, IntentKind.RESUME_AT)
        message = Message(
            title=f"{name}: the resume planned for {moment(due_of(intent))} is taken back",
            tone=Tone.NEUTRAL,
            body=(why, f"Planned by {person(intent.user)}."),
            context=("/train status",),
        )
        books.outbox.put(f"{intent.run}/resume_at/{intent.why}", message, channel=intent.channel)
