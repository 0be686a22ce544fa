"""Times and people inside plain text, as tokens that the renderer turns into what the reader's Slack shows best.

They are our own syntax, not Slack's, so that foreign text (a log line, a file name) can be told apart and never pings
anybody: everything but these tokens is escaped.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

TOKEN: Final = re.compile(r"<t:(?P<ts>\d{1,11})>|<u:(?P<user>[UW][A-Z0-9]{1,20})>")
"""``ts`` is seconds since the epoch; ``user`` a Slack user id."""

_USER: Final = re.compile(r"[UW][A-Z0-9]{1,20}")


def moment(ts: float) -> str:
    """A time, shown in each reader's own zone."""
    return f"<t:{max(0, round(ts))}>"


def person(user: str) -> str:
    """A person, shown by name."""
    return f"<u:{user}>"


def actor(name: str) -> str:
    """Who did something: a person by name, anything else (the bot itself) as it is called."""
    return person(name) if _USER.fullmatch(name) else name


def plain(text: str) -> str:
    """``text`` without tokens: times in UTC, people by id. For notifications, logs and the terminal."""
    return TOKEN.sub(_spell_out, text)


def _spell_out(token: re.Match[str]) -> str:
    if token["user"]:
        return f"@{token['user']}"
    return f"{datetime.fromtimestamp(int(token['ts']), UTC):%Y-%m-%d %H:%M} UTC"
