"""Operations that ended half done and that nobody has taken up."""

from __future__ import annotations

from collections.abc import Sequence

from trainmaster.bot.core.alerts.finding import Finding
from trainmaster.bot.core.decisions.operation import Operation, OperationState
from trainmaster.bot.core.run.state import RunState
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.operations import messages


def needs_human_findings(history: Sequence[Operation], view: RunView) -> tuple[Finding, ...]:
    """A condition that holds from a call for a person until a later attempt trains or a later operation begins.
    ``history`` is the run's, newest first."""
    newest = next(iter(history), None)
    if newest is None or newest.state is not OperationState.NEEDS_HUMAN:
        return ()
    if view.attempt > newest.attempt and view.state is RunState.TRAINING:
        return ()  # somebody has seen to it: a later attempt does its batches
    return (messages.needs_human(newest),)
