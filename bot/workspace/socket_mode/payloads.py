"""What goes into an envelope: slash commands, button presses, submitted modals, events. Pure; ids and times come in."""

from __future__ import annotations

from typing import Any

from trainmaster.bot.workspace.state.messages import PostedMessage
from trainmaster.bot.workspace.state.people import (
    APP_ID,
    BOT_USER_ID,
    TEAM_DOMAIN,
    TEAM_ID,
    Channel,
    ChannelKind,
    Person,
)

VERIFICATION_TOKEN = "local-workspace"  # noqa: S105  # the deprecated field of old payloads, no secret
_TEAM = {"id": TEAM_ID, "domain": TEAM_DOMAIN}


def _user(person: Person) -> dict[str, Any]:
    return {"id": person.user_id, "username": person.name, "name": person.name, "team_id": TEAM_ID}


def _channel_name(channel: Channel) -> str:
    return "directmessage" if channel.kind is ChannelKind.DIRECT else channel.name


def slash_command(
    *, person: Person, channel: Channel, command: str, text: str, response_url: str, trigger_id: str
) -> dict[str, Any]:
    """Return the payload of a ``slash_commands`` envelope."""
    return {
        "token": VERIFICATION_TOKEN,
        "team_id": TEAM_ID,
        "team_domain": TEAM_DOMAIN,
        "channel_id": channel.channel_id,
        "channel_name": _channel_name(channel),
        "user_id": person.user_id,
        "user_name": person.name,
        "command": command,
        "text": text,
        "api_app_id": APP_ID,
        "is_enterprise_install": "false",
        "response_url": response_url,
        "trigger_id": trigger_id,
    }


def block_actions(
    *,
    person: Person,
    channel: Channel,
    message: PostedMessage,
    action: dict[str, Any],
    values: dict[str, Any],
    response_url: str,
    trigger_id: str,
    replies: tuple[PostedMessage, ...],
) -> dict[str, Any]:
    """Return the payload of a press on a message. An ephemeral message does not come along, as at Slack."""
    is_ephemeral = message.visible_to is not None
    container: dict[str, Any] = {
        "type": "message",
        "message_ts": message.ts,
        "channel_id": channel.channel_id,
        "is_ephemeral": is_ephemeral,
    }
    if message.thread_ts is not None:
        container["thread_ts"] = message.thread_ts
    payload: dict[str, Any] = {
        "type": "block_actions",
        "user": _user(person),
        "api_app_id": APP_ID,
        "token": VERIFICATION_TOKEN,
        "container": container,
        "trigger_id": trigger_id,
        "team": _TEAM,
        "enterprise": None,
        "is_enterprise_install": False,
        "channel": {"id": channel.channel_id, "name": _channel_name(channel)},
        "state": {"values": values},
        "response_url": response_url,
        "actions": [action],
    }
    if not is_ephemeral:
        payload["message"] = message.wire(replies=replies)
    return payload


def view_actions(
    *, person: Person, view: dict[str, Any], action: dict[str, Any], values: dict[str, Any], trigger_id: str
) -> dict[str, Any]:
    """Return the payload of a press inside a modal."""
    return {
        "type": "block_actions",
        "user": _user(person),
        "api_app_id": APP_ID,
        "token": VERIFICATION_TOKEN,
        "container": {"type": "view", "view_id": view["id"]},
        "trigger_id": trigger_id,
        "team": _TEAM,
        "enterprise": None,
        "is_enterprise_install": False,
        "view": {**view, "state": {"values": values}},
        "actions": [action],
    }


def view_submission(*, person: Person, view: dict[str, Any], values: dict[str, Any], trigger_id: str) -> dict[str, Any]:
    """Return the payload of a modal that was sent off."""
    return {
        "type": "view_submission",
        "team": _TEAM,
        "user": _user(person),
        "api_app_id": APP_ID,
        "token": VERIFICATION_TOKEN,
        "trigger_id": trigger_id,
        "view": {**view, "state": {"values": values}},
        "response_urls": [],
        "is_enterprise_install": False,
        "enterprise": None,
    }


def view_closed(*, person: Person, view: dict[str, Any]) -> dict[str, Any]:
    """Return the payload of a modal that was put away."""
    return {
        "type": "view_closed",
        "team": _TEAM,
        "user": _user(person),
        "api_app_id": APP_ID,
        "token": VERIFICATION_TOKEN,
        "view": view,
        "is_cleared": False,
        "is_enterprise_install": False,
        "enterprise": None,
    }


def message_shortcut(
    *, person: Person, channel: Channel, message: PostedMessage, callback_id: str, response_url: str, trigger_id: str
) -> dict[str, Any]:
    """Return the payload of an ``interactive`` envelope for a shortcut in the menu of a message."""
    return {
        "type": "message_action",
        "token": VERIFICATION_TOKEN,
        "action_ts": message.ts,
        "team": _TEAM,
        "user": _user(person),
        "channel": {"id": channel.channel_id, "name": _channel_name(channel)},
        "is_enterprise_install": False,
        "enterprise": None,
        "callback_id": callback_id,
        "trigger_id": trigger_id,
        "response_url": response_url,
        "message_ts": message.ts,
        "message": message.wire(),
    }


def event_callback(*, event: dict[str, Any], event_id: str, event_time_s: int) -> dict[str, Any]:
    """Return the payload of an ``events_api`` envelope. A retry keeps its ``event_id``."""
    return {
        "token": VERIFICATION_TOKEN,
        "team_id": TEAM_ID,
        "context_team_id": TEAM_ID,
        "context_enterprise_id": None,
        "api_app_id": APP_ID,
        "event": event,
        "type": "event_callback",
        "event_id": event_id,
        "event_time": event_time_s,
        "authorizations": [
            {
                "enterprise_id": None,
                "team_id": TEAM_ID,
                "user_id": BOT_USER_ID,
                "is_bot": True,
                "is_enterprise_install": False,
            }
        ],
        "is_ext_shared_channel": False,
        "event_context": f"4-{event_id}",
    }
