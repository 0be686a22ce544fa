"""Slack's payloads -> :class:`Request` and :class:`Press`. Whatever is not as expected is None, never an exception."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from trainmaster.bot.core.conversation.message import ActionId
from trainmaster.bot.core.conversation.request import Origin, Press, Request, seconds
from trainmaster.bot.core.conversation.typed import undressed
from trainmaster.bot.slack.limits import BUTTON_VALUE_CHARS
from trainmaster.bot.slack.text import MAX_CHARS, one_line, unescape

COMMAND: Final = "/train"
"""Fixed. Slack itself owns /status."""
ENVELOPE_ID: Final = "trainmaster_envelope_id"
"""Where :mod:`connection` puts Socket Mode's own id of a delivery, which Bolt does not pass on."""
EXPLAIN_SHORTCUT: Final = "explain_alert"
"""Callback id of the shortcut on a message."""
REJECT_FORM: Final = "reject_form"
CONTINUE_FORM: Final = "continue_form"
REASON: Final = "reason"
"""Callback ids of the forms that ask why, and the block and action id of their one input."""

_FORMS: Final = {
    ActionId.REJECT: (REJECT_FORM, "Reject the plan", "Reject", "Shown on the card, and kept in the audit log."),
    ActionId.CONTINUE_RUN: (
        CONTINUE_FORM,
        "Continue forward",
        "Continue",
        "Told in the channel, and audited.",
    ),
}
"""By the button that opens it: callback id, title, label of its button, hint."""

ASKS_WHY: Final = frozenset(_FORMS)
"""Buttons that open a form first."""

ADDS_UP: Final = frozenset({ActionId.ACK, ActionId.SILENCE, ActionId.UNSILENCE})
"""Buttons that would do something more when one click of them is delivered twice; others say what was decided."""

_AUTOLINK: Final = re.compile(r"<(?P<url>(?:https?://|mailto:|tel:)[^\s<>|]+)(?:\|(?P<label>[^<>]*))?>")
"""What Slack makes of a word that could be an address, such as a run's name with a dot in it: ``exp.ai``."""

_TALK: Final = (None, "file_share", "thread_broadcast")
"""Subtypes of a message that are somebody saying something; edits, deletions, joins and bots are not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Talk:
    """Something said where the bot reads along. A direct message is meant for the bot; what is said in a thread may be.
    ``under_bot`` is whether Slack says that the thread began with a message of the bot."""

    request: Request
    under_bot: bool


def slash_request(body: Mapping[str, Any], team: str | None = None) -> Request | None:
    """The request that a slash command makes. ``team`` is the bot's own workspace, here and below."""
    user, channel = _text(body, "user_id"), _text(body, "channel_id")
    if not user or not channel:
        return None
    return Request(
        origin=Origin.SLASH,
        user=user,
        channel=channel,
        text=_words(_text(body, "text"), None),
        thread_ts=_text(body, "thread_ts") or None,
        id=_text(body, "trigger_id"),
        group_direct=_is_group(_text(body, "channel_name")),
        foreign=_foreign(team, body.get("team_id")),
    )


def shortcut_request(body: Mapping[str, Any], team: str | None) -> Request | None:
    """What the shortcut on a message asks for: ``explain``, as if it was said in the thread of that message."""
    user, channel, message = _mapping(body, "user"), _mapping(body, "channel"), _mapping(body, "message")
    ts = _text(message, "ts") or _text(body, "message_ts")
    if not _text(user, "id") or not _text(channel, "id") or not ts:
        return None
    return Request(
        origin=Origin.THREAD,
        user=_text(user, "id"),
        channel=_text(channel, "id"),
        text="explain",
        thread_ts=ts,
        id=_text(body, "trigger_id"),
        group_direct=_is_group(_text(channel, "name")),
        foreign=_foreign(team, user.get("team_id"), _mapping(body, "team").get("id")),
    )


def home_opener(body: Mapping[str, Any], team: str | None) -> str:
    """Who opened their Home; empty when it is none, or somebody of elsewhere."""
    event = _mapping(body, "event")
    is_home = event.get("tab") == "home" and not _foreign(team, body.get("team_id"))
    return _text(event, "user") if is_home else ""


def delivery_keys(body: Mapping[str, Any]) -> tuple[str, ...]:
    """The same for every delivery of one slash command or click."""
    named = (("envelope", _text(body, ENVELOPE_ID)), ("slash", _text(body, "trigger_id")))
    return tuple(f"{kind}/{id_}" for kind, id_ in named if id_)


def mention_request(body: Mapping[str, Any], bot_user: str, team: str | None = None) -> Request | None:
    """Words that mention the bot in a channel."""
    event = _mapping(body, "event")
    if not _is_talk(event):
        return None
    return _request(body, event, Origin.MENTION, bot_user, team)


def message_talk(body: Mapping[str, Any], bot_user: str, team: str | None = None) -> Talk | None:
    """A direct message, or a reply in a thread of a channel. A mention in a channel has an event of its own."""
    event = _mapping(body, "event")
    if not _is_talk(event) or event.get("user") == bot_user:
        return None
    is_direct = event.get("channel_type") == "im" or _text(event, "channel").startswith("D")
    thread_ts = _text(event, "thread_ts")
    if not is_direct and (
        not thread_ts or thread_ts == event.get("ts") or _mention(bot_user).search(_text(event, "text"))
    ):
        return None
    request = _request(body, event, Origin.DIRECT if is_direct else Origin.THREAD, bot_user, team)
    return Talk(request=request, under_bot=event.get("parent_user_id") == bot_user) if request else None


def bare_words(body: Mapping[str, Any], bot_user: str, team: str | None) -> Request | None:
    """What is said in a channel to nobody: no mention, no thread."""
    event = _mapping(body, "event")
    thread_ts, channel = _text(event, "thread_ts"), _text(event, "channel")
    is_direct = event.get("channel_type") in {"im", "mpim"} or channel.startswith("D")
    in_thread = bool(thread_ts) and thread_ts != event.get("ts")
    if not _is_talk(event) or event.get("user") == bot_user or is_direct or in_thread:
        return None
    if _mention(bot_user).search(_text(event, "text")):
        return None
    return _request(body, event, Origin.CHANNEL, bot_user, team)


def press(body: Mapping[str, Any], team: str | None = None) -> Press | None:
    """The press that a click makes; None when its payload lacks what it needs."""
    actions = body.get("actions")
    first = actions[0] if isinstance(actions, list) and actions else None
    container, message = _mapping(body, "container"), _mapping(body, "message")
    user = _text(_mapping(body, "user"), "id")
    channel = _text(_mapping(body, "channel"), "id") or _text(container, "channel_id")
    ts = _text(container, "message_ts") or _text(message, "ts")
    if not isinstance(first, dict) or first.get("action_id") not in tuple(ActionId) or not (user and channel and ts):
        return None
    return Press(
        action=ActionId(first["action_id"]),
        value=_text(first, "value")[:BUTTON_VALUE_CHARS],  # longer is forged, and would not fit into a form
        user=user,
        channel=channel,
        message_ts=ts,
        thread_ts=_text(message, "thread_ts") or _text(container, "thread_ts") or None,
        id=_text(body, "trigger_id"),
        group_direct=_is_group(_text(_mapping(body, "channel"), "name")),
        foreign=_team_of_click(body, team),
        pressed_ts=seconds(_text(first, "action_ts")),
    )


def reason_form(asked: Press) -> dict[str, Any]:
    """The form that asks why; it carries along what the button was about."""
    callback_id, title, submit, hint = _FORMS[asked.action]
    about = {
        "value": asked.value,
        "channel": asked.channel,
        "ts": asked.message_ts,
        "thread_ts": asked.thread_ts,
        "pressed": asked.pressed_ts,
    }
    return {
        "type": "modal",
        "callback_id": callback_id,
        "title": {"type": "plain_text", "text": title},
        "submit": {"type": "plain_text", "text": submit},
        "close": {"type": "plain_text", "text": "Back"},
        "private_metadata": json.dumps(about, ensure_ascii=False),
        "blocks": [
            {
                "type": "input",
                "block_id": REASON,
                "label": {"type": "plain_text", "text": "Why?"},
                "hint": {"type": "plain_text", "text": hint},
                "element": {
                    "type": "plain_text_input",
                    "action_id": REASON,
                    "multiline": True,
                    "min_length": 1,
                    "max_length": 500,
                },
            }
        ],
    }


def reason_given(body: Mapping[str, Any], team: str | None = None) -> Press | None:
    """The form, sent off. What it carries along has been in the person's hands and is checked like a button's value."""
    view = _mapping(body, "view")
    try:
        about = json.loads(_text(view, "private_metadata"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(about, dict):
        return None
    values = _mapping(_mapping(view, "state"), "values")
    user, channel, ts = _text(_mapping(body, "user"), "id"), _text(about, "channel"), _text(about, "ts")
    if not (user and channel and ts):
        return None
    return Press(
        action=ActionId.CONTINUE_RUN if view.get("callback_id") == CONTINUE_FORM else ActionId.REJECT,
        value=_text(about, "value"),
        user=user,
        channel=channel,
        message_ts=ts,
        thread_ts=_text(about, "thread_ts") or None,
        reason=one_line(unescape(_text(_mapping(_mapping(values, REASON), REASON), "value"))),
        id=_text(body, "trigger_id") or _text(view, "id"),
        foreign=_team_of_click(body, team),
        pressed_ts=_number(about.get("pressed")),
        by_form=True,
    )


def is_edit(body: Mapping[str, Any]) -> bool:
    """Whether the message was told before with other words, or these: Slack tells of a mention again when its author
    edits the message."""
    return bool(_mapping(body, "event").get("edited"))


def words_key(request: Request) -> str:
    """The same for the same words of one message."""
    words = hashlib.sha256(request.text.encode()).hexdigest()[:16]
    return f"said/{request.channel}/{request.ts}/{words}"


def event_key(body: Mapping[str, Any]) -> str:
    """The same for every delivery of one event."""
    event = _mapping(body, "event")
    return _text(body, "event_id") or f"{_text(event, 'channel')}/{_text(event, 'ts')}/{_text(event, 'type')}"


def _request(
    body: Mapping[str, Any], event: Mapping[str, Any], origin: Origin, bot_user: str, team: str | None
) -> Request | None:
    user, channel, ts = _text(event, "user"), _text(event, "channel"), _text(event, "ts")
    if not user or not channel:
        return None
    thread_ts = _text(event, "thread_ts")
    return Request(
        origin=origin,
        user=user,
        channel=channel,
        text=_words(_text(event, "text"), bot_user),
        ts=ts or None,
        thread_ts=thread_ts if thread_ts and thread_ts != ts else None,
        id=event_key(body),
        group_direct=_is_group(_text(event, "channel_type")),
        foreign=_team_of_event(body, event, team),
    )


def _team_of_click(body: Mapping[str, Any], team: str | None) -> str:
    return _foreign(team, _mapping(body, "user").get("team_id"), _mapping(body, "team").get("id"))


def _team_of_event(body: Mapping[str, Any], event: Mapping[str, Any], team: str | None) -> str:
    """The event tells whose words they are. Where it tells nothing, they are of the workspace that it came from."""
    profile = _mapping(event, "user_profile")
    told = [*(event.get(name) for name in ("user_team", "source_team", "team")), profile.get("team")]
    return _foreign(team, *(told if any(told) else (body.get("team_id"),)))


def _foreign(team: str | None, *told: object) -> str:
    """The first team told that is not the bot's own; empty when none is, and before the bot knows its own."""
    return next((one for one in told if isinstance(one, str) and one and team and one != team), "")


def _is_group(told: str) -> bool:
    """Of a direct message of several people: ``told`` is the kind of its channel, or the name that Slack gives it."""
    return told == "mpim" or told.startswith("mpdm-")


def _is_talk(event: Mapping[str, Any]) -> bool:
    by_bot = event.get("bot_id") or event.get("app_id") or event.get("bot_profile")
    return event.get("subtype") in _TALK and not by_bot and not event.get("hidden")


def _words(text: str, bot_user: str | None) -> str:
    """What was typed: mention, command name and dressing gone. ``/train`` may be typed out where Slack takes no slash
    command (in threads)."""
    if bot_user:
        text = _mention(bot_user).sub(" ", re.sub(rf"([*_~`]+)({_mention(bot_user).pattern})\1", r"\2", text))
    words = undressed(unescape(_AUTOLINK.sub(lambda link: link["label"] or link["url"], text[:MAX_CHARS])))
    name, _, rest = words.partition(" ")
    words = undressed(rest) if name.rstrip(":,").lower() == COMMAND else words
    return one_line(words)


def _number(value: object) -> float | None:
    return seconds(str(value)) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _mention(bot_user: str) -> re.Pattern[str]:
    return re.compile(rf"<@{re.escape(bot_user)}(?:\|[^>]*)?>")


def _mapping(parent: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = parent.get(key)
    return value if isinstance(value, dict) else {}


def _text(parent: Mapping[str, Any], key: str) -> str:
    value = parent.get(key)
    # JSON can carry half of a surrogate pair, which neither SQLite nor a file takes.
    return value.encode(errors="replace").decode() if isinstance(value, str) else ""
