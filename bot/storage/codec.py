"""Messages and findings as JSON, and back.

Reading is tolerant, since a newer version may have written the row: an unknown key is ignored, a missing one takes its
default, a button that this version does not know is left out. Surrogates (file names that are not UTF-8), which SQLite
does not take, are kept escaped in findings.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar

from trainmaster.bot.core.alerts.finding import Finding, Nature, Severity
from trainmaster.bot.core.check_name import stored_check
from trainmaster.bot.core.conversation.message import ActionId, Button, ButtonStyle, Item, Mark, Message, Table, Tone
from trainmaster.bot.core.conversation.tokens import at_rest, awake

_E = TypeVar("_E", bound=StrEnum)
_T = TypeVar("_T")


def encode_message(message: Message) -> str:
    """One line of JSON; what is no valid Unicode, which Slack refuses, becomes a question mark. Pictures are kept
    beside it."""
    record = {
        name: value
        for name, value in asdict(message).items()
        if name != "pictures" and (name != "details" or value is not None)
    }
    text = json.dumps(_resting(record), separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "replace").decode("utf-8")


def encode_finding(finding: Finding) -> str:
    """One line of JSON; a time that is no number becomes 0."""
    record = asdict(finding)
    if not math.isfinite(finding.ts):
        record["ts"] = 0.0
    return json.dumps(_resting(record), separators=(",", ":"))


def _resting(value: Any) -> Any:
    """Every text in it with its times and people as data."""
    if isinstance(value, str):
        return at_rest(value)
    if isinstance(value, dict):
        return {key: _resting(one) for key, one in value.items()}
    return [_resting(one) for one in value] if isinstance(value, list | tuple) else value


def content_hash(text: str) -> str:
    """Equal for equal content, stable across processes."""
    return hashlib.blake2b(text.encode("utf-8"), digest_size=16).hexdigest()


def sql_text(text: str) -> str:
    """``text`` as SQLite can bind it; the same for the same text, and unchanged when it is valid."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def decode_message(text: str) -> Message:
    """What :func:`encode_message` wrote.

    Raises:
        ValueError: it is no JSON object.
    """
    return _message(_object(text))


def _message(record: Mapping[str, Any]) -> Message:
    table, details = record.get("table"), record.get("details")
    return Message(
        title=awake(record.get("title", "")),
        tone=_member(Tone, record.get("tone")) or Tone.NEUTRAL,
        body=_texts(record.get("body")),
        fields=_pairs(record.get("fields")),
        items=_each(record.get("items"), _item),
        table=Table(header=_texts(table.get("header")), rows=tuple(_texts(row) for row in _list(table.get("rows"))))
        if isinstance(table, dict)
        else None,
        excerpt=awake(record.get("excerpt", "")),
        context=_texts(record.get("context")),
        buttons=_each(record.get("buttons"), _button),
        mentions=_texts(record.get("mentions")),
        details=_message({**details, "details": None}) if isinstance(details, dict) else None,
    )


def decode_finding(text: str) -> Finding:
    """What :func:`encode_finding` wrote.

    Raises:
        ValueError: it is no JSON object.
    """
    record = _object(text)
    ts = record.get("ts")
    return Finding(
        run=str(record.get("run", "")),
        check=stored_check(str(record.get("check", ""))),
        key=str(record.get("key", "")),
        severity=_member(Severity, record.get("severity")) or Severity.CRITICAL,
        nature=_member(Nature, record.get("nature")) or Nature.OCCURRENCE,
        ts=float(ts) if isinstance(ts, int | float) else 0.0,
        title=awake(record.get("title", "")),
        body=_texts(record.get("body")),
        fields=_pairs(record.get("fields")),
        items=_each(record.get("items"), _item),
        excerpt=awake(record.get("excerpt", "")),
        hint=awake(record.get("hint", "")),
        resolution=awake(record.get("resolution", "")),
        buttons=_each(record.get("buttons"), _button),
        over=record.get("over") is True,
    )


def _object(text: str) -> dict[str, Any]:
    record = json.loads(text)
    if not isinstance(record, dict):
        raise ValueError(f"a JSON object was expected, not {type(record).__name__}")  # noqa: TRY004 - as bad JSON is
    return record


def _item(record: Mapping[str, Any]) -> Item | None:
    mark = _member(Mark, record.get("mark")) or Mark.UNKNOWN
    return Item(mark=mark, text=awake(record.get("text", "")), detail=awake(record.get("detail", "")))


def _button(record: Mapping[str, Any]) -> Button | None:
    action = _member(ActionId, record.get("action"))
    if action is None:
        return None
    confirm = record.get("confirm")
    return Button(
        action=action,
        label=awake(record.get("label", "")),
        value=str(record.get("value", "")),
        style=_member(ButtonStyle, record.get("style")) or ButtonStyle.PLAIN,
        confirm=None if confirm is None else awake(confirm),
    )


def _member(kind: type[_E], value: object) -> _E | None:
    return _members(kind).get(value) if isinstance(value, str) else None


@cache
def _members(kind: type[_E]) -> dict[str, _E]:
    return {member.value: member for member in kind}


def _list(value: object) -> Iterable[Any]:
    return value if isinstance(value, list) else ()


def _texts(value: object) -> tuple[str, ...]:
    return tuple(awake(one) for one in _list(value))


def _pairs(value: object) -> tuple[tuple[str, str], ...]:
    return tuple((awake(one[0]), awake(one[1])) for one in _list(value) if isinstance(one, list) and len(one) == 2)


def _each(value: object, decode: Callable[[Mapping[str, Any]], _T | None]) -> tuple[_T, ...]:
    decoded = (decode(one) for one in _list(value) if isinstance(one, dict))
    return tuple(one for one in decoded if one is not None)
