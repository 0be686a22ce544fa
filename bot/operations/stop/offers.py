"""What a stop that the bot made says and offers: in one place, and a resume as long as the run stands still."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from trainmaster.bot.core.alerts.finding import Finding
from trainmaster.bot.core.check_name import CheckName
from trainmaster.bot.core.conversation.message import ActionId
from trainmaster.bot.core.decisions.operation import Operation, OperationKind, OperationState
from trainmaster.bot.core.decisions.start_word import StartWord
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import StoreError
from trainmaster.bot.operations.books import Books

_LOG = logging.getLogger(__name__)

_LOOKED_BACK: Final = 10
"""Operations of a run; a stop that is older has been followed by others, at whose attempts its message was edited."""
_OFFERS: Final = frozenset({ActionId.RESUME_RUN, ActionId.PROPOSE_ROLLBACK})


@dataclass(frozen=True, slots=True, kw_only=True)
class StopOffers:
    """Edits the messages of stops once another attempt has begun, however it did."""

    books: Books
    _seen: dict[str, int] = field(default_factory=dict)
    """The attempt of each run for which that was done."""

    def notice(self, view: RunView) -> None:
        """A stop that an attempt has followed offers nothing any more. Never raises."""
        if view.attempt <= 1 or self._seen.get(view.run) == view.attempt:
            return
        try:
            for stop in self._stops(view.run):
                if stop.attempt < view.attempt:
                    self._withdraw(stop, view.attempt)
        except StoreError as error:
            _LOG.warning("messages of stops of %s: %s", view.name, error)
        else:
            self._seen[view.run] = view.attempt

    def told_once(self, view: RunView, findings: Sequence[Finding]) -> list[Finding]:
        """``findings``, of which the alert about a stop that the bot made offers no resume: the message of the stop
        does, in the same channel. That the process ended in it without a word of its own is no death: it was asked to.

        Raises:
            StoreError: that can't be told.
        """
        if any(one.check is CheckName.PROCESS_DIED for one in findings):
            newest = next(iter(self.books.operations.history(view.run, limit=1)), None)
            if newest is not None and _is_done(newest) and newest.attempt == view.attempt:
                findings = [one for one in findings if one.check is not CheckName.PROCESS_DIED]
        if not any(one.check is CheckName.RUN_STOPPED and one.buttons for one in findings):
            return list(findings)
        told = {stop.attempt for stop in self._stops(view.run) if stop.thread_of is None}
        return [replace(one, buttons=()) if told & _attempts(one) else one for one in findings]

    def _stops(self, run: str) -> tuple[Operation, ...]:
        history = self.books.operations.history(run, limit=_LOOKED_BACK)
        return tuple(filter(_is_done, history))

    def _withdraw(self, stop: Operation, attempt: int) -> None:
        known = self.books.outbox.read(stop.card)
        if known is None or not any(one.action in _OFFERS for one in known.buttons):
            return
        message = replace(
            known,
            body=(*known.body, f"It went on, as attempt {attempt}."),
            buttons=tuple(one for one in known.buttons if one.action not in _OFFERS),
        )
        self.books.outbox.put(stop.card, message, channel=stop.channel, thread_of=stop.thread_of)


def _is_done(operation: Operation) -> bool:
    return (operation.kind, operation.state) == (OperationKind.STOP, OperationState.DONE)


def _attempts(finding: Finding) -> frozenset[int]:
    """The attempt that the finding tells the stop of; none of another finding."""
    if finding.check is not CheckName.RUN_STOPPED:
        return frozenset()
    words = (StartWord.parse(one.value) for one in finding.buttons if one.action is ActionId.RESUME_RUN)
    return frozenset(word.attempt for word in words if word.attempt is not None)
