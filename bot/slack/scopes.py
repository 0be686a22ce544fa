"""Which Web API methods are used, and what each needs. The manifest asks for exactly these scopes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

FILES_SCOPE: Final = "files:write"
PINS_SCOPE: Final = "pins:write"

METHOD_SCOPES: Final[Mapping[str, tuple[str, ...]]] = {
    "auth.test": (),
    "apps.connections.open": (),
    "chat.postMessage": ("chat:write",),
    "chat.update": ("chat:write",),
    "chat.postEphemeral": ("chat:write",),
    "conversations.info": ("channels:read", "groups:read"),
    "conversations.list": ("channels:read", "groups:read"),
    "conversations.history": ("channels:history", "groups:history", "im:history"),
    "conversations.replies": ("channels:history", "groups:history", "im:history"),
    "conversations.join": ("channels:join",),
    "conversations.open": ("im:write",),
    "conversations.members": ("channels:read", "groups:read"),
    "users.info": ("users:read",),
    "dnd.info": ("dnd:read",),
    "usergroups.users.list": ("usergroups:read",),
    "views.open": (),
    "views.publish": (),
    "files.getUploadURLExternal": (FILES_SCOPE,),
    "files.completeUploadExternal": (FILES_SCOPE,),
    "pins.add": (PINS_SCOPE,),
    "pins.remove": (PINS_SCOPE,),
}
"""docs.slack.dev, page of each method. ``apps.connections.open`` takes the app-level token, whose scope
``connections:write`` is given when that token is made and stands in no manifest."""

EVENT_SCOPES: Final[Mapping[str, tuple[str, ...]]] = {
    "app_home_opened": (),
    "app_mention": ("app_mentions:read",),
    "message.channels": ("channels:history",),
    "message.groups": ("groups:history",),
    "message.im": ("im:history",),
}
"""docs.slack.dev, page of each event. The alert channel may be private, hence ``message.groups``."""

COMMAND_SCOPE: Final = "commands"

BOT_SCOPES: Final = tuple(
    sorted(
        {COMMAND_SCOPE}.union(*METHOD_SCOPES.values(), *EVENT_SCOPES.values()),
    )
)
APP_TOKEN_SCOPE: Final = "connections:write"  # noqa: S105 - a scope, no token


def missing_scopes(granted: frozenset[str]) -> tuple[str, ...]:
    """What the app still lacks, in the manifest's order."""
    return tuple(scope for scope in BOT_SCOPES if scope not in granted)
