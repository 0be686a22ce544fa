"""Words and presses become commands, alerts and operations. Knows nothing of Slack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import assert_never

from trainmaster.bot.core.conversation.message import ActionId, Message, Reply
from trainmaster.bot.core.conversation.request import Press, Request
from trainmaster.bot.core.decisions.order import (
    ContinueRun,
    Decide,
    ProposeRollback,
    ResumeRun,
    RollBackAfterEpoch,
)
from trainmaster.bot.core.decisions.start_word import StartWord, leader_of
from trainmaster.bot.errors import CommandError
from trainmaster.commands import COMMANDS, Context, dispatch, is_command
from trainmaster.commands.age import refuse_of_earlier_attempt, refuse_old
from trainmaster.commands.care import hear_again, quiet_message, quieten, refuse_told_elsewhere, take
from trainmaster.commands.home import home
from trainmaster.commands.resume_all import resume_all

_CARE = frozenset({ActionId.ACK, ActionId.SILENCE, ActionId.UNSILENCE})
_WHAT = {
    ActionId.APPROVE: "decide",
    ActionId.REJECT: "decide",
    ActionId.ACK: "take alerts",
    ActionId.SILENCE: "silence alerts",
    ActionId.UNSILENCE: "end silences",
    ActionId.CONTINUE_RUN: "decide to continue",
    ActionId.PROPOSE_ROLLBACK: "ask for a rollback",
    ActionId.RESUME_RUN: "resume a run",
    ActionId.ROLL_BACK_AFTER_EPOCH: "decide",
    ActionId.DETAILS: "read details",
}


def details_key(key: str) -> str:
    """Key of the details of the message ``key``, in its thread."""
    return f"{key}#details"


class RequestHandler:
    """The one that implements :class:`trainmaster.bot.core.conversation.request.Handler`."""

    def __init__(self, context: Context, *, silence_s: float, notify: Callable[[], None]) -> None:
        self._context = context
        self._silence_s = silence_s
        self._notify = notify

    async def command(self, request: Request) -> Reply | None:
        """The answer to the words of ``request``."""
        try:
            return await dispatch(request, self._context, COMMANDS)
        finally:
            self._notify()

    async def home(self, user: str) -> tuple[Message, ...]:
        """The page of ``user``, part by part."""
        return await home(user, self._context)

    def is_command(self, text: str) -> bool:
        """Whether ``text`` as a whole is a command."""
        return is_command(text, COMMANDS)

    def is_ours(self, channel: str, ts: str) -> bool:
        """Whether the message there is one of ours."""
        return self._context.outbox.key_at(channel, ts) is not None

    async def action(self, press: Press) -> Reply | None:
        """The press has had its effect, or the reason why not is the answer."""
        try:
            return await self._act(press)
        finally:
            self._notify()

    async def _act(self, press: Press) -> Reply | None:
        await self._require(press)
        perform = self._context.operations.perform
        match press.action:
            case ActionId.APPROVE | ActionId.REJECT:
                self._refuse_elsewhere(press)
                approve = press.action is ActionId.APPROVE
                return await perform(
                    Decide(approval_id=press.value, user=press.user, approve=approve, reason=press.reason)
                )
            case ActionId.ROLL_BACK_AFTER_EPOCH:
                self._refuse_elsewhere(press)
                return await perform(
                    RollBackAfterEpoch(approval_id=press.value, user=press.user, channel=press.channel)
                )
            case ActionId.DETAILS:
                return self._details(press)
            case ActionId.ACK:
                self._ack(press)
                return None
            case ActionId.UNSILENCE:
                self._unsilence(press)
                return None
            case ActionId.SILENCE:
                return self._silence(press)
            case ActionId.RESUME_RUN:
                return await self._resume(press)
            case ActionId.CONTINUE_RUN:
                run = await self._run_of(press)
                return await perform(ContinueRun(run=run, user=press.user, channel=press.channel, why=press.reason))
            case ActionId.PROPOSE_ROLLBACK:
                return await self._propose_rollback(press)
        assert_never(press.action)

    async def _resume(self, press: Press) -> Reply:
        if (leader := leader_of(press.value)) is not None:
            return await resume_all(self._context, press, leader)
        word = StartWord.parse(press.value)
        run = await self._run_of(replace(press, value=word.run))
        return await self._context.operations.perform(
            ResumeRun(
                run=run,
                user=press.user,
                channel=press.channel,
                attempt=word.attempt,
                anyway=word.anyway,
                told=word.told,
                batch=word.batch,
                level=word.level,
            )
        )

    async def _propose_rollback(self, press: Press) -> Reply:
        """It is asked in the thread of the message whose button was pressed; of a direct message, in the channel."""
        thread_of = None if press.direct else self._key_at(press)
        run = await self._run_of(press)
        return await self._context.operations.perform(
            ProposeRollback(
                run=run,
                user=press.user,
                channel=None if press.direct else press.channel,
                thread_of=thread_of,
            )
        )

    def _key_at(self, press: Press) -> str | None:
        return self._context.outbox.key_at(press.channel, press.message_ts)

    def _details(self, press: Press) -> Reply | None:
        """The rest of the message stands in its thread, as it is now; who asks again is told where."""
        key = self._key_at(press)
        known = self._context.outbox.read(key) if key is not None else None
        if key is None or known is None or known.details is None:
            raise CommandError("no-details", "there is nothing more to tell of this message.", "/train status")
        place = details_key(key)
        stood = self._context.outbox.posted(place) is not None
        self._context.outbox.put(place, known.details, channel=press.channel, thread_of=key)
        return Reply(message=Message(title="The details are in the thread."), private=True) if stood else None

    async def _require(self, press: Press) -> None:
        """The person may press that button.

        Raises:
            CommandError: they may not; it is on record.
        """
        gate = self._context.gate
        gate.refuse_foreign(press.user, press.foreign, press.action.value)
        what = _WHAT[press.action]
        if press.action is ActionId.DETAILS:
            return
        if press.action in _CARE:
            await gate.require_care(press.user, what)
            refuse_told_elsewhere(self._context, press.value, what)
        elif press.action is ActionId.PROPOSE_ROLLBACK:
            await gate.require_voice(press.user, what, direct=press.direct)
        else:
            await gate.require_member(press.user, what)
        if not press.by_form:
            refuse_old(press.pressed_ts, f"that button ({what}) was pressed", self._context.clock.now())

    def _refuse_elsewhere(self, press: Press) -> None:
        """A decision counts on its own card only; one whose place is not known yet is taken at its word, and so is its
        twin in the same channel, when Slack's answer to the first post was lost."""
        asked = next((one for one in self._context.questions() if one.id == press.value), None)
        key = asked.card if asked is not None else f"approval/{press.value}"
        card = self._context.outbox.posted(key)
        if card is None or (card.channel == press.channel and self._context.outbox.may_stand_twice(key)):
            return
        if (card.channel, card.ts) != (press.channel, press.message_ts):
            raise CommandError(
                "other-message", "this button belongs to another message; nothing was decided.", "use the newest card"
            )

    async def _run_of(self, press: Press) -> str:
        view = self._context.runs.find(press.value)
        if view is None:
            raise CommandError("run-unknown", "the run of this button is no longer watched.", "/train runs")
        view = await self._context.runs.refresh(view.run) or view
        refuse_of_earlier_attempt(press.pressed_ts, view)
        return view.run

    def _ack(self, press: Press) -> None:
        """The alert's own message now names who has it."""
        take(self._context, press.value, press.user, self._context.clock.now())

    def _unsilence(self, press: Press) -> None:
        """The alert's own message no longer says that it is silenced."""
        if hear_again(self._context, press.value, press.user, self._context.clock.now()) is None:
            raise CommandError("not-silenced", "this alert is not silenced.", "/train alerts")

    def _silence(self, press: Press) -> Reply:
        """Told in the thread of the alert: a silence is everybody's business."""
        now = self._context.clock.now()
        until_ts = now + self._silence_s
        alert, unrecorded = quieten(self._context, press.value, press.user, until_ts, now)
        return Reply(message=quiet_message(alert.finding.title, press.user, until_ts, self._silence_s, unrecorded))
