"""Starts that a person asks for, of a run that is over."""

from __future__ import annotations

from dataclasses import dataclass, replace

from trainmaster.bot.core.conversation.message import Message, Reply, Tone
from trainmaster.bot.core.conversation.tokens import moment, person
from trainmaster.bot.core.decisions.gate import GateFact, beyond, closed
from trainmaster.bot.core.decisions.going_on import BATCH
from trainmaster.bot.core.decisions.operation import LEVEL, Intent, IntentKind, OperationKind
from trainmaster.bot.core.decisions.order import ResumeRun
from trainmaster.bot.core.run.facts import ProcessIdentity
from trainmaster.bot.core.run.state import RunState
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import CommandError
from trainmaster.bot.operations.books import Books
from trainmaster.bot.operations.new_operation import new_operation
from trainmaster.bot.operations.operation_context import World
from trainmaster.bot.operations.records import refuse_if_running
from trainmaster.bot.operations.refusals import refuse_unless_ours
from trainmaster.bot.operations.runner import OperationTasks
from trainmaster.bot.operations.start.gate import GATE, gate_text
from trainmaster.bot.operations.start.messages import gate_message
from trainmaster.bot.operations.start.planned_resume import due_of, take_back


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumes:
    """Callers have made sure that ``user`` is on call, ``view`` is fresh, and no operation is under way."""

    world: World
    runner: OperationTasks
    books: Books
    instance: ProcessIdentity

    async def begin(self, view: RunView, order: ResumeRun, *, planned: Intent | None = None) -> Reply:
        """The trainer is being started where it stopped. A resume that was planned for later is taken back. ``planned``
        is the plan that this start comes of, if any.

        Raises:
            CommandError: it is still at work, has finished, or has had another attempt since; or while that was looked
                at, something else was done to it, or ``planned`` was taken back.
            StoreError: it could not be recorded; nothing was started.
        """
        refuse_unless_ours(view, self.instance.host)
        if order.attempt not in {None, view.attempt}:
            raise CommandError(
                "said-before",
                f"that was about attempt {order.attempt} of {view.name}, which has had attempt {view.attempt} since; "
                "nothing was started.",
                "/train status",
            )
        wanted = self.world.planner.levels.check(order.level) if order.level else None
        await refuse_if_running(view, self.world)
        refuse_if_finished(view)
        before = self.books.operations.history(view.run, limit=1)
        against = closed(await self.world.gate.look(view))
        taken_back = planned is not None and not self.books.holds(planned)
        if taken_back or self.books.operations.history(view.run, limit=1) != before:
            raise CommandError(
                "overtaken",
                f"somebody did something else to {view.name} while its start was looked at; nothing was started.",
                "/train status",
            )
        if against and (not order.anyway or (order.told and beyond(against, order.told))):
            return self._not_now(view, replace(order, level=wanted), against)
        operation = new_operation(
            view,
            OperationKind.RESUME,
            order.user,
            self.instance,
            self.world.clock.now(),
            channel=order.channel,
            notes=(
                *(((LEVEL, wanted),) if wanted else ()),
                *(((BATCH, str(order.batch)),) if order.batch is not None else ()),
                *(((GATE, f"anyway: {gate_text(against)}"),) if against else ()),
            ),
        )
        detail = {
            "attempt": view.attempt,
            "level": wanted or "",
            "operation": operation.id,
            "against": gate_text(against),
        }
        with self.books.transactions.transaction():
            self.books.audit.append(order.user, "resume.begin", view.run, detail, self.world.clock.now())
            overtaken = self._overtake(view, order.user)
            if not self.books.begin(operation):
                raise CommandError("busy", f"another operation is under way on {view.name}.", "/train status")
            key = _key(view)
            if self.books.outbox.posted(key) is not None:
                told = gate_message(view, against, title=f"{view.name} is started anyway" if against else "")
                self.books.outbox.put(key, replace(told, buttons=()), channel=order.channel)
        self.runner.start(operation)
        return Reply(message=Message(title=f"Resuming {view.name}", tone=Tone.PROGRESS, body=overtaken), private=True)

    def _overtake(self, view: RunView, user: str) -> tuple[str, ...]:
        """What was planned for later is taken back; a sentence that says so."""
        planned, now = self.books.intents.get(view.run, IntentKind.RESUME_AT), self.world.clock.now()
        if planned is None or due_of(planned) <= now:  # due: this is it
            return ()
        take_back(self.books, planned, view.name, f"{person(user)} resumed it before.", by=user, now=now)
        return (f"The resume that was planned for {moment(due_of(planned))} is taken back.",)

    def _not_now(self, view: RunView, order: ResumeRun, against: tuple[GateFact, ...]) -> Reply:
        """What stands against the start is in the channel, with the button that starts all the same."""
        message = gate_message(view, against, batch=order.batch, level=order.level)
        self.books.outbox.put(_key(view), message, channel=order.channel)
        title = f"{view.name} was not started: {gate_text(against)}"
        return Reply(message=Message(title=title, tone=Tone.WARNING, context=("/train resume anyway",)), private=True)


def refuse_if_finished(view: RunView) -> None:
    """There is something left to train.

    Raises:
        CommandError: there is not.
    """
    if view.state is RunState.FINISHED:
        raise CommandError("run-finished", f"run {view.name} has finished.", "/train execute rollback to epoch N")


def _key(view: RunView) -> str:
    return f"gate/{view.run}/{view.attempt}"
