"""What a person types, turned into what Slack stores: escaped, with mentions, channels and links in angle brackets."""

from __future__ import annotations

import re
from typing import Final

from trainmaster.bot.workspace.state.people import BOT_NAME, BOT_USER_ID
from trainmaster.bot.workspace.state.state import WorkspaceState

_WORD: Final = re.compile(r"(?<![\w/])([@#])([A-Za-z0-9][\w.-]*)|(https?://[^\s<>]+)")


def escape(text: str) -> str:
    """Return ``text`` with the three characters escaped that mean something to Slack."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def to_stored(text: str, state: WorkspaceState) -> str:
    """Return the stored form of a typed message: ``@anna`` becomes ``<@U0ANNA>``; unknown names stay as they are."""

    def swap(match: re.Match[str]) -> str:
        sigil, word, url = match.groups()
        if url:
            return f"<{url}>"
        name = word.rstrip(".-")
        rest = word[len(name) :]
        if sigil == "@":
            if name.lower() == BOT_NAME:
                return f"<@{BOT_USER_ID}>{rest}"
            person = next((p for p in state.people.values() if p.name == name), None)
            return f"<@{person.user_id}>{rest}" if person else match.group(0)
        channel = state.find_channel(f"#{name}")
        return f"<#{channel.channel_id}|{channel.name}>{rest}" if channel else match.group(0)

    return _WORD.sub(swap, escape(text))
