"""Who and what is in the workspace: people, channels, commands, and the bot itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

TEAM_ID: Final = "T0LOCAL"
TEAM_DOMAIN: Final = "local-workspace"
APP_ID: Final = "A0TRAINMASTER"
BOT_ID: Final = "B0TRAINMASTER"
BOT_USER_ID: Final = "U0TRAINMASTER"
BOT_NAME: Final = "trainmaster"
SLACKBOT_ID: Final = "USLACKBOT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody who can be acted as on the page. ``on_call`` only shows a badge; the bot decides by its own settings."""

    user_id: str
    name: str
    real_name: str = ""
    on_call: bool = False


class ChannelKind(StrEnum):
    """What ``channel_type`` says in events."""

    PUBLIC = "channel"
    DIRECT = "im"


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """A public channel, or the direct conversation of the bot with ``person_id``."""

    channel_id: str
    name: str
    topic: str = ""
    kind: ChannelKind = ChannelKind.PUBLIC
    person_id: str | None = None
    bot_is_member: bool = True
    is_archived: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SlashCommand:
    """A command of the app's manifest."""

    name: str
    description: str = ""
    usage_hint: str = ""


def direct_channel(person: Person) -> Channel:
    """Return the conversation of ``person`` with the bot: ``U0ANNA`` talks in ``D0ANNA``."""
    return Channel(
        channel_id="D" + person.user_id[1:],
        name=person.name,
        kind=ChannelKind.DIRECT,
        person_id=person.user_id,
    )
