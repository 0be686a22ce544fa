"""Operations as they are when they begin."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from trainmaster.bot.core.decisions.approval import Approval
from trainmaster.bot.core.decisions.operation import Operation, OperationKind, Step
from trainmaster.bot.core.run.facts import ProcessIdentity
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.operations.start.launch import launch_of

_FIRST_FENCE = 1


def new_id() -> str:
    """Names a question and the operation that comes of it; cannot be guessed."""
    return secrets.token_hex(6)


def new_rollback(approval: Approval, owner: ProcessIdentity, now: float) -> Operation:
    """What an approval starts. It has the approval's id, so that there cannot be two of it."""
    plan = approval.plan
    return Operation(
        id=approval.id,
        kind=OperationKind.ROLLBACK,
        run=plan.run,
        name=plan.name,
        directory=plan.directory,
        requester=approval.requester,
        decided_by=tuple(vote.user for vote in approval.votes),
        channel=approval.channel,
        thread_of=approval.thread_of,
        created_ts=now,
        updated_ts=now,
        owner=owner,
        fence=_FIRST_FENCE,
        step=Step.HOLD,
        process=plan.process,
        attempt=plan.attempt,
        was_active=plan.was_active,
        launch=plan.launch,
        plan=plan,
    )


def new_operation(
    view: RunView,
    kind: OperationKind,
    user: str,
    owner: ProcessIdentity,
    now: float,
    *,
    channel: str | None = None,
    thread_of: str | None = None,
    notes: Sequence[tuple[str, str]] = (),
    decided_by: tuple[str, ...] = (),
    operation_id: str = "",
) -> Operation:
    """A stop of the run, a resume, or a change, which is both.

    Raises:
        CommandError: a start of a run that does not say how it was started.
    """
    return Operation(
        id=operation_id or new_id(),
        kind=kind,
        run=view.run,
        name=view.name,
        directory=view.directory,
        requester=user,
        decided_by=decided_by,
        channel=channel,
        thread_of=thread_of,
        created_ts=now,
        updated_ts=now,
        owner=owner,
        fence=_FIRST_FENCE,
        step=Step.GATE if kind is OperationKind.RESUME else Step.STOP,
        process=view.at_work,
        attempt=view.attempt,
        was_active=view.state.goes_on,
        launch=launch_of(view) if kind is not OperationKind.STOP else None,
        notes=tuple(notes),
    )
