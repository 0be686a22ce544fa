"""What is planned for a run and under way on it, in sentences. Pure."""

from __future__ import annotations

from trainmaster.bot.core.conversation.tokens import actor, moment, person
from trainmaster.bot.core.decisions.approval import Approval
from trainmaster.bot.core.decisions.operation import Intent, Operation
from trainmaster.bot.operations.timers import due_of


def planned_text(
    *,
    operation: Operation | None,
    question: Approval | None,
    resume: Intent | None,
    back: Intent | None,
    stop: Intent | None,
) -> tuple[str, ...]:
    """A sentence each, what is under way first. ``resume`` waits for its time, ``back`` and ``stop`` for the
    end of an epoch."""
    told = []
    if operation is not None:
        told.append(f"Under way since {moment(operation.created_ts)}: {operation.kind}, in step {operation.step}.")
    if question is not None:
        told.append(
            f"Open question: a rollback to epoch {question.plan.target.epoch}, asked for by "
            f"{actor(question.requester)}, until {moment(question.expires_ts)}."
        )
    if resume is not None:
        told.append(f"Planned: it will be resumed {moment(due_of(resume))}, asked for by {person(resume.user)}.")
    if back is not None:
        told.append(f"Planned: a rollback at the end of epoch {back.epoch}, chosen by {person(back.user)}.")
    if stop is not None:
        when = f"epoch {stop.epoch}" if stop.epoch else "the first epoch"
        told.append(f"Planned: it will be stopped after {when}, asked for by {person(stop.user)}.")
    return tuple(told)
