"""A run that died goes on by itself: see docs/going-on.md."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from trainmaster.bot.core.decisions import going_on
from trainmaster.bot.core.decisions.going_on import AutoResume, Going
from trainmaster.bot.core.decisions.operation import BOT, OperationKind
from trainmaster.bot.core.run.facts import ProcessIdentity
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import CommandError
from trainmaster.bot.operations.books import Books
from trainmaster.bot.operations.going_on.deaths import Deaths, JudgedDeath
from trainmaster.bot.operations.new_operation import new_operation
from trainmaster.bot.operations.operation_context import World
from trainmaster.bot.operations.runner import OperationTasks

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuations:
    """Starts what may go on by itself, each start an operation in the journal before anything is done."""

    world: World
    runner: OperationTasks
    books: Books
    deaths: Deaths
    instance: ProcessIdentity
    notify: Callable[[], None]

    async def tend(self) -> None:
        """Every run that died and may go on by itself is being started.

        Raises:
            StoreError: the journal cannot be read or written.
        """
        if self.deaths.mode is not AutoResume.AUTO:
            return
        for seen in self.world.runs.all():
            if self._goes_on(seen) is None:
                continue
            view = await self.world.runs.refresh(seen.run)  # what was seen may be half a minute old
            judged = self._goes_on(view) if view is not None else None
            if view is not None and judged is not None:
                try:
                    self._begin(view, judged)
                except CommandError as error:
                    _LOG.warning("%s is not resumed by itself: %s", view.name, error)

    def _goes_on(self, view: RunView) -> JudgedDeath | None:
        judged = self.deaths.judge(view)
        return judged if judged is not None and judged.decision.going is Going.ON else None

    def _begin(self, view: RunView, judged: JudgedDeath) -> None:
        death, decision = judged.death, judged.decision
        pause_s = going_on.pause_s(self.world.limits.going_on.pause_s, decision.starts)
        notes = {
            **dict(going_on.notes_of(death, judged.seen_cause)),
            going_on.FINISHED: str(decision.finished),
            going_on.NUMBER: str(decision.starts + 1),
            going_on.PAUSE_S: f"{pause_s:g}",
        }
        now = self.world.clock.now()
        operation = new_operation(view, OperationKind.RESUME, BOT, self.instance, now, notes=tuple(notes.items()))
        with self.books.transactions.transaction():
            if not self.books.begin(operation):
                return  # somebody was faster
            detail = {"attempt": view.attempt, "operation": operation.id, "cause": death.cause.value}
            self.books.audit.append(BOT, "resume.begin", view.run, detail, now)
        self.runner.start(operation)
        self.notify()
