"""Times and people inside text: made here, and nowhere else.

A piece carries a seal that this process drew when it started. Foreign text (a file's name, a log line, what somebody
typed) cannot hold it, so it can name neither a time nor a person, whatever it looks like: it is shown as it is written.
Where text is kept, pieces are kept as data of their own, see :func:`at_rest`. docs/decisions/0012-typed-pieces.md says
why.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType
from typing import Final

_SEAL: Final = secrets.token_hex(8)
TOKEN: Final = re.compile(
    rf"<t:(?P<ts>\d{{1,11}})>{_SEAL}|<u:(?P<user>[UW][A-Z0-9]{{1,20}})>{_SEAL}"
    rf"|<l:(?P<url>https?://[^\s<>|]{{1,300}})\|(?P<label>[^<>|\n]{{1,80}})>{_SEAL}"
)
"""``ts`` is seconds since the epoch; ``user`` a Slack user id; ``url`` an address with its words."""

Resting = str | list[str | dict[str, int | str]]
"""Text as it is kept: foreign text as it is, or a list of it and of ``{"t": seconds}``, ``{"u": user}`` and
``{"l": address, "label": words}``."""

_USER: Final = re.compile(r"[UW][A-Z0-9]{1,20}")


def moment(ts: float) -> str:
    """A time, shown in each reader's own zone."""
    return f"<t:{max(0, round(ts))}>{_SEAL}"


def person(user: str) -> str:
    """A person, shown by name; what is no user id stays what it is."""
    return f"<u:{user}>{_SEAL}" if _USER.fullmatch(user) else user


def link(url: str, label: str) -> str:
    """An address behind words; only the words where it is none."""
    piece = f"<l:{url}|{label}>{_SEAL}"
    return piece if TOKEN.fullmatch(piece) else label


def actor(name: str) -> str:
    """Who did something: a person by name, anything else (the bot itself) as it is called."""
    return person(name) if _USER.fullmatch(name) else name


NOBODY_KNOWN: Final[Mapping[str, str]] = MappingProxyType({})


def plain(text: str, names: Mapping[str, str] = NOBODY_KNOWN) -> str:
    """``text`` without tokens: times in UTC, people by name, or by id where ``names`` has none. For notifications, logs
    and the terminal."""
    return TOKEN.sub(partial(_spell_out, names), text)


def at_rest(text: str) -> Resting:
    """``text`` for a database: its pieces as data, which foreign text beside them cannot become."""
    kept: list[str | dict[str, int | str]] = []
    at = 0
    for found in TOKEN.finditer(text):
        kept += [text[at : found.start()], _as_data(found)]
        at = found.end()
    return [*kept, text[at:]] if kept else text


def _as_data(found: re.Match[str]) -> dict[str, int | str]:
    if found["user"]:
        return {"u": found["user"]}
    return {"l": found["url"], "label": found["label"]} if found["url"] else {"t": int(found["ts"])}


def awake(kept: object) -> str:
    """The text that :func:`at_rest` kept, of this process or of an earlier one. Anything else is foreign text."""
    return "".join(map(_awake, kept)) if isinstance(kept, list) else str(kept)


def _awake(piece: object) -> str:
    if isinstance(piece, dict):
        ts, user = piece.get("t"), piece.get("u")
        if isinstance(ts, int):
            return moment(ts)
        if isinstance(piece.get("l"), str):
            return link(str(piece["l"]), str(piece.get("label", "")))
        return person(user) if isinstance(user, str) else ""
    return str(piece)


def _spell_out(names: Mapping[str, str], token: re.Match[str]) -> str:
    if token["user"]:
        return names.get(token["user"]) or f"@{token['user']}"
    if token["url"]:
        return f"{token['label']} ({token['url']})"
    return f"{datetime.fromtimestamp(int(token['ts']), UTC):%Y-%m-%d %H:%M} UTC"
