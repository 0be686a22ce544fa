"""Resumes that a person asked for at a time: kept in the database, so that a restart of the bot loses none."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from trainmaster.bot.core.conversation.message import Message, Reply, Tone
from trainmaster.bot.core.conversation.tokens import moment, person
from trainmaster.bot.core.conversation.words import capitalized
from trainmaster.bot.core.decisions.operation import BOT, Intent, IntentKind
from trainmaster.bot.core.decisions.order import PauseRun, ResumeRun
from trainmaster.bot.core.run.state import RunState
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import CommandError
from trainmaster.bot.operations.books import Books
from trainmaster.bot.operations.operation_context import World
from trainmaster.bot.operations.refusals import refuse_unless_ours
from trainmaster.bot.operations.start.planned_resume import due_of, intent_to_resume, take_back
from trainmaster.bot.operations.start.requests import Resumes, refuse_if_finished
from trainmaster.bot.operations.stop.requests import Stops

_LOG = logging.getLogger(__name__)

SETTLES_S = 60.0
"""A run that was just stopped may still look as if it were at work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timers:
    """Callers of :meth:`plan` have made sure that ``user`` is on call and ``view`` is fresh."""

    world: World
    books: Books
    resumes: Resumes
    host: str | None

    def plan(self, view: RunView, user: str, due_ts: float, *, channel: str | None, thread_of: str | None) -> Reply:
        """A stopped run will be resumed at that time; an earlier plan for it is replaced.

        Raises:
            CommandError: it is at work, has finished, or lives elsewhere, or there is no such time.
            StoreError: it could not be recorded.
        """
        refuse_unless_ours(view, self.host)
        if view.state.goes_on and not self.books.operations.open(view.run):
            raise CommandError(
                "still-running", f"run {view.name} is {view.state.value}.", "/train pause until 22:00 stops it first"
            )
        refuse_if_finished(view)
        now = self.world.clock.now()
        intent = intent_to_resume(view, user, due_ts, now, channel=channel, thread_of=thread_of)
        with self.books.transactions.transaction():
            detail = {"attempt": view.attempt, "due_ts": due_ts}
            self.books.audit.append(user, "resume.planned", view.run, detail, now)
            self.books.intents.put(intent)
        text = f"Asked for by {person(user)}. To take it back: /train stop now. To start at once: /train resume."
        return Reply(
            message=Message(title=f"{view.name} will be resumed {moment(due_ts)}", tone=Tone.PROGRESS, body=(text,))
        )

    async def pause(self, view: RunView, order: PauseRun, stops: Stops) -> Reply:
        """As a stop; the resume at its end is planned in the same moment. What is answered stays true: how the stop
        goes is told by its own message.

        Raises:
            CommandError: there is no such time, or its process lives elsewhere.
        """
        now, until, channel, thread_of = self.world.clock.now(), order.until_ts, order.channel, order.thread_of
        then = None
        if until is not None:
            then = intent_to_resume(view, order.user, until, now, channel=channel, thread_of=thread_of)
        reply = await stops.now(view, order.user, channel=channel, thread_of=thread_of, then=then)
        title, plan = f"{view.name}: a pause was asked for", "/train resume goes on."
        if until is not None and then is not None and self.books.holds(then):
            title = f"{view.name}: a pause until {moment(until)} was asked for"
            plan = f"It will be resumed {moment(until)}. Asked for by {person(order.user)}."
        message = replace(reply.message, title=title, tone=Tone.NEUTRAL, body=(*reply.message.body, plan))
        return replace(reply, message=message, private=False)

    async def tend(self) -> None:
        """What is due is resumed; what a person did to the run meanwhile comes first, and is told at once."""
        now = self.world.clock.now()
        for intent in self.books.intents.all(IntentKind.RESUME_AT):
            if self.books.operations.open(intent.run):
                continue
            view = await self.world.runs.refresh(intent.run)
            if view is None or not self.books.holds(intent):
                continue
            if due_of(intent) <= now:
                await self._resume(view, intent)
            else:
                self._take_back_if_overtaken(view, intent, now)

    def _take_back_if_overtaken(self, view: RunView, intent: Intent, now: float) -> None:
        if view.attempt != intent.attempt:
            why = f"It went on already, in attempt {view.attempt}."
        elif view.state is RunState.FINISHED:
            why = "It has finished."
        elif view.state.goes_on and now - intent.ts >= SETTLES_S:
            why = f"It is {view.state.value}."
        else:
            return
        take_back(self.books, intent, view.name, why, by=BOT, now=now)

    async def _resume(self, view: RunView, intent: Intent) -> None:
        fault: CommandError | None = None
        try:
            if view.attempt != intent.attempt or view.state.goes_on:
                raise CommandError("still-running", f"it is {view.state.value}, in attempt {view.attempt}.")
            order = ResumeRun(run=intent.run, user=intent.user, channel=intent.channel, attempt=intent.attempt)
            await self.resumes.begin(view, order, planned=intent)
        except CommandError as error:
            fault = error
        if not self.books.holds(intent):
            return  # taken back, or planned anew, while it was looked at
        if fault is not None:
            self._tell(view, intent, fault)
        # After the beginning: one that was begun and is not dropped any more finds another attempt at the next look.
        self.books.intents.drop(intent.run, intent.kind)

    def _tell(self, view: RunView, intent: Intent, error: CommandError) -> None:
        _LOG.warning("%s is not resumed as planned: %s", view.run, error)
        message = Message(
            title=f"{view.name} was not resumed as planned for {moment(due_of(intent))}",
            tone=Tone.WARNING,
            body=(capitalized(error.message), f"Planned by {person(intent.user)}."),
            context=("/train status",),
        )
        self.books.outbox.put(f"{view.run}/resume_at/{intent.why}", message, channel=intent.channel)
