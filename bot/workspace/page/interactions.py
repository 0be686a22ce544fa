"""What a person does on the page: say something, use a command, press a button, fill in a modal."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from trainmaster.bot.workspace.blocks.message import read_attachments, read_blocks, read_view
from trainmaster.bot.workspace.page.pressed import (
    action_of,
    all_blocks,
    find_element,
    interactive_elements,
    missing_inputs,
    state_values,
)
from trainmaster.bot.workspace.page.typed_text import escape, to_stored
from trainmaster.bot.workspace.refusal import MethodRefusedError
from trainmaster.bot.workspace.socket_mode import payloads
from trainmaster.bot.workspace.socket_mode.events import EventSource
from trainmaster.bot.workspace.socket_mode.sockets import EnvelopeAnswer, EnvelopeDelivery, SocketHub
from trainmaster.bot.workspace.state.messages import Body, PostedMessage
from trainmaster.bot.workspace.state.passes import ResponseTarget, ResponseUrls, TriggerIds
from trainmaster.bot.workspace.state.people import BOT_NAME, BOT_USER_ID, Channel, Person
from trainmaster.bot.workspace.state.state import WorkspaceState
from trainmaster.bot.workspace.web_api.views import view_for


class Interactions:
    """Each method returns when the app has answered, or has failed to within Slack's three seconds."""

    def __init__(
        self,
        *,
        state: WorkspaceState,
        hub: SocketHub,
        events: EventSource,
        response_urls: ResponseUrls,
        triggers: TriggerIds,
        response_url_of: Callable[[str], str],
    ) -> None:
        self._state = state
        self._hub = hub
        self._events = events
        self._response_urls = response_urls
        self._triggers = triggers
        self._response_url_of = response_url_of

    async def say(self, person: Person, channel: Channel, text: str, *, thread_ts: str | None = None) -> dict[str, Any]:
        """The message is posted; the app hears of it by an event."""
        if not text.strip():
            raise MethodRefusedError("no_text")
        message = self._state.post(
            channel_id=channel.channel_id,
            user_id=person.user_id,
            body=Body(text=to_stored(text, self._state)),
            thread_ts=thread_ts,
            client_msg_id=str(uuid.uuid4()),
        )
        self._events.posted(message)
        if not channel.bot_is_member and f"<@{BOT_USER_ID}>" in message.body.text:
            self._tell(person, channel, f"<@{BOT_USER_ID}> is not in this channel: `/invite @{BOT_NAME}` brings it in.")
        return {"ok": True, "ts": message.ts}

    async def slash(
        self, person: Person, channel: Channel, command: str, text: str, *, thread_ts: str | None = None
    ) -> dict[str, Any]:
        """The command is sent. What Slack itself would say about a failure is shown to the person."""
        error = None
        if command == "/invite" and thread_ts is None and text.strip().lower() == f"@{BOT_NAME}":
            self._state.set_membership(channel.channel_id, bot_is_member=True)
            return {"ok": True}
        if thread_ts is not None:
            error, notice = "not_supported_in_threads", f"`{command}` is not supported in threads. Sorry!"
        elif command not in self._state.commands:
            error, notice = "unknown_command", f"`{escape(command)}` is not a valid command."
        if error is not None:
            self._tell(person, channel, notice, thread_ts=thread_ts)
            return {"ok": False, "error": error}
        target = ResponseTarget(channel_id=channel.channel_id, user_id=person.user_id)
        outcome = await self._hub.send(
            "slash_commands",
            payloads.slash_command(
                person=person,
                channel=channel,
                command=command,
                text=escape(text),
                response_url=self._response_url_of(self._response_urls.issue(target)),
                trigger_id=self._triggers.issue(person.user_id),
            ),
            accepts_response_payload=True,
        )
        if outcome.delivery is not EnvelopeDelivery.ACKED:
            self._tell(person, channel, f"`{command}` failed with the error “{outcome.delivery.value}”.")
            return {"ok": False, "error": outcome.delivery.value}
        if outcome.payload:
            return self._show_answer(person, channel, f"{command} {text}".strip(), outcome.payload)
        return {"ok": True}

    def _show_answer(self, person: Person, channel: Channel, typed: str, answer: Any) -> dict[str, Any]:
        answer = answer if isinstance(answer, dict) else {"text": str(answer)}
        try:
            body = Body(
                text=str(answer.get("text") or ""),
                blocks=tuple(read_blocks(answer["blocks"])) if answer.get("blocks") else (),
                attachments=tuple(read_attachments(answer["attachments"])) if answer.get("attachments") else (),
            )
        except MethodRefusedError as refusal:
            self._tell(person, channel, f"`{typed}` failed with the error “{refusal.error}”.")
            return refusal.body()
        if body.is_empty:
            return {"ok": True}
        is_public = answer.get("response_type") == "in_channel"
        if is_public:
            self._state.post(channel_id=channel.channel_id, user_id=person.user_id, body=Body(text=escape(typed)))
        message = self._state.post(
            channel_id=channel.channel_id,
            user_id=BOT_USER_ID,
            body=body,
            visible_to=None if is_public else person.user_id,
        )
        self._events.posted(message)
        return {"ok": True}

    async def click(
        self,
        person: Person,
        channel: Channel,
        message_ts: str,
        action_id: str,
        *,
        block_id: str | None = None,
        value: str | None = None,
        choice: Any = None,
        values: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The button of a message is pressed, or something is chosen in its menu."""
        message = self._message(person, channel, message_ts)
        found_in, element = find_element(message, action_id=action_id, block_id=block_id, value=value)
        action = action_of(element, block_id=found_in, choice=choice, action_ts=self._state.new_ts())
        target = ResponseTarget(
            channel_id=channel.channel_id,
            user_id=person.user_id,
            message_ts=message.ts,
            thread_ts=message.thread_ts,
        )
        return await self._sent(
            payloads.block_actions(
                person=person,
                channel=channel,
                message=message,
                action=action,
                values=state_values(all_blocks(message.body), values or {}),
                response_url=self._response_url_of(self._response_urls.issue(target)),
                trigger_id=self._triggers.issue(person.user_id),
                replies=self._state.replies(channel.channel_id, message.ts),
            )
        )

    async def open_home(self, person: Person) -> dict[str, Any]:
        """The person opens the Home of the app, which hears of it by an event."""
        self._events.home_opened(person)
        return {"ok": True}

    async def shortcut(self, person: Person, channel: Channel, message_ts: str, callback_id: str) -> dict[str, Any]:
        """The shortcut in the menu of a message is chosen."""
        message = self._message(person, channel, message_ts)
        target = ResponseTarget(channel_id=channel.channel_id, user_id=person.user_id)
        return await self._sent(
            payloads.message_shortcut(
                person=person,
                channel=channel,
                message=message,
                callback_id=callback_id,
                response_url=self._response_url_of(self._response_urls.issue(target)),
                trigger_id=self._triggers.issue(person.user_id),
            )
        )

    async def act_in_view(
        self, person: Person, view_id: str, action_id: str, *, choice: Any, values: dict[str, Any]
    ) -> dict[str, Any]:
        """A button or a menu inside a modal is used."""
        view = self._view(person, view_id)
        for block_id, element in interactive_elements(view["blocks"]):
            if element["action_id"] == action_id:
                return await self._sent(
                    payloads.view_actions(
                        person=person,
                        view=view,
                        action=action_of(element, block_id=block_id, choice=choice, action_ts=self._state.new_ts()),
                        values=state_values(view["blocks"], values),
                        trigger_id=self._triggers.issue(person.user_id),
                    )
                )
        raise MethodRefusedError("no_such_element")

    async def submit(self, person: Person, view_id: str, values: dict[str, Any]) -> dict[str, Any]:
        """The modal is sent off. It stays open, with texts at the inputs, when the app finds faults in it."""
        view = self._view(person, view_id)
        filled = state_values(view["blocks"], values)
        if missing := missing_inputs(view["blocks"], filled):
            return {"ok": False, "error": "missing_input", "errors": missing}
        outcome = await self._hub.send(
            "interactive",
            payloads.view_submission(
                person=person, view=view, values=filled, trigger_id=self._triggers.issue(person.user_id)
            ),
            accepts_response_payload=True,
        )
        if outcome.delivery is not EnvelopeDelivery.ACKED:
            return _result(outcome)
        answer = outcome.payload if isinstance(outcome.payload, dict) else {}
        match answer.get("response_action"):
            case "errors":
                return {"ok": False, "error": "refused_by_app", "errors": answer.get("errors", {})}
            case "update" | "push":
                replaced = view_for(read_view(answer.get("view")), view_id=view_id, hash_=self._state.new_ts())
                self._state.show_view(person.user_id, replaced)
            case _:
                self._state.close_view(view_id)
        return {"ok": True}

    async def close_view(self, person: Person, view_id: str) -> dict[str, Any]:
        """The modal is put away; the app hears of it if it asked to."""
        view = self._view(person, view_id)
        self._state.close_view(view_id)
        if view.get("notify_on_close"):
            await self._sent(payloads.view_closed(person=person, view=view))
        return {"ok": True}

    async def _sent(self, payload: dict[str, Any]) -> dict[str, Any]:
        """How the app took ``payload``, which it only acknowledges."""
        return _result(await self._hub.send("interactive", payload, accepts_response_payload=False))

    def _message(self, person: Person, channel: Channel, ts: str) -> PostedMessage:
        message = self._state.get(channel.channel_id, ts)
        if message is None or message.visible_to not in {None, person.user_id}:
            raise MethodRefusedError("message_not_found")
        return message

    def _view(self, person: Person, view_id: str) -> dict[str, Any]:
        user_id, view = self._state.views.get(view_id, ("", {}))
        if user_id != person.user_id:
            raise MethodRefusedError("view_not_found")
        return view

    def _tell(self, person: Person, channel: Channel, text: str, *, thread_ts: str | None = None) -> None:
        self._state.slackbot_says(channel_id=channel.channel_id, user_id=person.user_id, text=text, thread_ts=thread_ts)


def _result(outcome: EnvelopeAnswer) -> dict[str, Any]:
    if outcome.delivery is EnvelopeDelivery.ACKED:
        return {"ok": True}
    return {"ok": False, "error": outcome.delivery.value}
