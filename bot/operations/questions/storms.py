"""A run past saving is brought to the people on call without anybody asking: plan and card, once a storm."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from trainmaster.bot.core.conversation.message import Message, Tone
from trainmaster.bot.core.conversation.words import capitalized
from trainmaster.bot.core.decisions.operation import BOT, Intent, IntentKind
from trainmaster.bot.core.run.storm import Storm, StormKind, storm_of
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import CommandError, TrainmasterError
from trainmaster.bot.operations.books import Books
from trainmaster.bot.operations.limits import OperationLimits
from trainmaster.bot.operations.questions.approval import Approvals
from trainmaster.bot.operations.questions.on_call import OnCall
from trainmaster.bot.operations.rollback.planning import Planner
from trainmaster.bot.ports import Clock

_LOG = logging.getLogger(__name__)

REQUESTER: Final = BOT
"""Who asks: the rule against approving one's own request concerns nobody."""

_RETRY_S: Final = 60.0
"""Until a storm is looked into again whose plan could not be made (a disk that does not answer)."""


class Storms:
    """One storm, one question: the key of its evidence is kept in the database, so that neither a restart of the bot
    nor a Reject or a Continue brings the same question again. New evidence does."""

    def __init__(
        self,
        *,
        planner: Planner,
        clock: Clock,
        limits: OperationLimits,
        books: Books,
        questions: Approvals,
        on_call: OnCall,
        notify: Callable[[], None],
    ) -> None:
        self._planner = planner
        self._clock = clock
        self._limits = limits
        self._books = books
        self._questions = questions
        self._on_call = on_call
        self._notify = notify
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._not_before: dict[str, float] = {}

    def notice(self, view: RunView) -> None:
        """If the run is in a storm, people are being asked. Returns at once; what fails is tried again later."""
        limits, now = self._limits, self._clock.now()
        if not limits.propose_on_storm:
            return
        storm = storm_of(view, limits.storm, now)
        task = self._tasks.get(view.run)
        if storm is None or (task is not None and not task.done()):
            return
        due = self._not_before.get(view.run)
        if due is not None and due - _RETRY_S <= now < due:  # a clock that was set back must not make it wait for long
            return
        self._tasks[view.run] = asyncio.create_task(self._look_into(view, storm), name=f"storm of {view.name}")

    async def settle(self) -> None:
        """No storm is being looked into."""
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def close(self) -> None:
        """What was being looked into is left; the next look at the run takes it up."""
        for task in self._tasks.values():
            task.cancel()
        await self.settle()

    async def _look_into(self, view: RunView, storm: Storm) -> None:
        try:
            if not self._is_news(view, storm):
                return
            try:
                now = self._clock.now()
                plan = await self._planner.plan(view, now, to_epoch=None, level=None)
                on_call = await self._on_call.deciders()
                if not self._is_news(view, storm):
                    return
                self._questions.ask(plan, REQUESTER, on_call=on_call, now=self._clock.now(), why=capitalized(storm.why))
                self._notify()
            except CommandError as error:
                await self._tell(view, storm, error)
            else:
                self._remember(view, storm)
        except Exception as error:  # noqa: BLE001 - the edge of a task that nobody awaits; a storm also has its alerts
            known = isinstance(error, TrainmasterError)
            _LOG.log(
                logging.WARNING if known else logging.ERROR, "storm of %s: %s", view.name, error, exc_info=not known
            )
            self._not_before[view.run] = self._clock.now() + _RETRY_S

    def _is_news(self, view: RunView, storm: Storm) -> bool:
        """Whether nobody was asked about this evidence, has decided on it, or acts on the run."""
        told = self._books.intents.get(view.run, IntentKind.STORM_TOLD)
        if told is not None and told.why == storm.key:
            return False
        if self._books.operations.open(view.run):
            return False
        if any(one.created_ts >= storm.ts for one in self._books.operations.history(view.run, limit=1)):
            return False
        if _was_accepted(self._books.intents.get(view.run, IntentKind.CONTINUE), storm):
            return False
        if self._books.approvals.pending(view.run):  # a person was faster
            self._remember(view, storm)
            return False
        return True

    async def _tell(self, view: RunView, storm: Storm, error: CommandError) -> None:
        """There is no plan to put to anybody: that is said, with the reason and what is left to do."""
        message = Message(
            title=f"{view.name}: needs a decision, and no rollback is possible",
            tone=Tone.CRITICAL,
            body=(f"Why now: {storm.why}", f"No rollback: {error.message}"),
            context=(error.hint,) if error.hint else (),
            mentions=tuple(sorted(await self._on_call.or_seen())),
        )
        with self._books.transactions.transaction():
            self._remember(view, storm)
            self._books.outbox.put(f"storm/{view.run}/{storm.key}", message)
        self._notify()

    def _remember(self, view: RunView, storm: Storm) -> None:
        self._books.intents.put(
            Intent(
                run=view.run,
                kind=IntentKind.STORM_TOLD,
                attempt=storm.attempt,
                epoch=storm.epoch,
                user=REQUESTER,
                why=storm.key,
                ts=self._clock.now(),
            )
        )


def _was_accepted(decided: Intent | None, storm: Storm) -> bool:
    """Whether somebody decided to go on in spite of this evidence. More of the same in the same epoch is no news; that
    the trainer gave up is."""
    if decided is None or decided.attempt != storm.attempt:
        return False
    return decided.ts >= storm.ts or (storm.kind is not StormKind.GAVE_UP and decided.epoch == storm.epoch)
