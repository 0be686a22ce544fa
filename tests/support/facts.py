"""What a message says, fact by fact, so that none of them is said twice; and what only machines know things by."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from trainmaster.bot.core.conversation.message import Message
from trainmaster.bot.core.conversation.tokens import TOKEN

_CLAUSE = re.compile(r"[;·\n()]|[.,?] |(?<!\d): |[.,:?]$| (?:as|and|or) ")
_NUMBER_OF = re.compile(r"\b\d+ of \d+\b")
_COUNTED = re.compile(r"\b(\d+) (?:\w+ )?(bad|skipped|clipped|clips|criteria|alerts?)\b")
_COUNTED_LABELS = re.compile(r"\b(bad|clipped|criteria|skipped)\b", re.IGNORECASE)
_PLACE = re.compile(r"(?:in |of |after |to |the )*(?:end of )?(?:epoch|attempt|batch|epochs)(?: \d+)*(?: batch \d+)?")
"""Says what is spoken of, and nothing of it."""
_CHOICES = ("roll back now", "at the epoch's end", "continue")
"""Names of what is to be chosen, and of buttons: the advice names one of them."""
_MIN_CHARS = 9

IDS = re.compile(
    r"\b(?=[0-9a-f]*[a-f])(?=[0-9a-f]*\d)[0-9a-f]{12,64}\b|\b(?:[Pp]id|[Pp]rocess) \d|\bsha256\b"
    r"|(?<![\w./:~-])/(?:[^\s/]+/)+[^\s/]+|\bkill(?: -\w+)? \d"
)
"""Digests, ids of plans, process ids and whole paths."""


def said_twice(message: Message) -> list[str]:
    """Facts and people that stand more than once in what is shown at once; details are shown on request, and apart."""
    said = Counter(fact for part in _parts(message) for fact in _facts(part))
    lines = [_counts(_normal(f"{item.text}; {item.detail}")) for item in message.items]
    for counts in lines:  # two lines are of two things: the same count of both is two facts
        said.subtract(counts)
    said.update(set().union(*lines))
    for name in (*_CHOICES, *(button.label.lower() for button in message.buttons)):
        del said[name]
    named = Counter(user for text in _texts(message) for user in TOKEN.findall(text) for user in [user[1]] if user)
    named.update(message.mentions)
    known = {found["ts"] for text in _texts(replace(message, context=())) for found in TOKEN.finditer(text)}
    small = {found["ts"] for text in message.context for found in TOKEN.finditer(text)}
    times = sorted(filter(None, known & small))  # a time of the small print that is read above already
    return sorted([fact for fact, n in said.items() if n > 1] + [who for who, n in named.items() if n > 1] + times)


def ids_shown(blocks: tuple[dict[str, Any], ...]) -> list[str]:
    """What of :data:`IDS` is read at once; what is quoted from a log or is to be copied stands in a block of code."""
    return [found.group() for text in texts_of(blocks) for found in IDS.finditer(text)]


def texts_of(blocks: tuple[dict[str, Any], ...]) -> list[str]:
    """The texts of ``blocks``, without the buttons' values and without blocks of code."""
    texts: list[str] = []

    def walk(node: object) -> None:
        if isinstance(node, dict):
            if isinstance(node.get("text"), str):
                texts.append(str(node["text"]))
            for key, value in node.items():
                if key not in {"value", "text"} or isinstance(value, dict):
                    walk(value)
        elif isinstance(node, list | tuple):
            for one in node:
                walk(one)

    walk(blocks)
    return [text for text in texts if not text.startswith("```")]


def _texts(message: Message) -> Iterator[str]:
    yield from (message.title, *message.body, *message.context)
    for item in message.items:
        yield from (item.text, item.detail)
    for _, value in message.fields:
        yield value


def _parts(message: Message) -> Iterator[tuple[str, str]]:
    """Each text by itself, with its label where it has one."""
    yield from (("", text) for text in (message.title, *message.body, *message.context))
    for item in message.items:
        yield "", item.text.replace(": ", " ")  # of which thing it is said belongs to the fact
        yield "", item.detail
    yield from message.fields
    if message.table is not None:
        yield from (("", " ".join(row)) for row in message.table.rows)


def _facts(part: tuple[str, str]) -> set[str]:
    label, text = part
    plain = _normal(text)
    found = _counts(plain)
    if (what := _COUNTED_LABELS.search(label)) and (number := re.match(r"\d+", plain)):
        found.add(f"{number.group()} {what.group().lower()}")
    clauses = [clause.strip() for clause in _CLAUSE.split(plain)]
    if label:
        clauses.append(f"{_normal(label)} {clauses[0]}".strip())
    for clause in clauses:
        enough = len(clause) >= _MIN_CHARS and (re.search(r"\d", clause) or len(clause.split()) > 2)
        if enough and not clause.startswith("/train") and not _PLACE.fullmatch(clause):
            found.add(clause)
    return found


def _counts(plain: str) -> set[str]:
    counted = {f"{number} {what.rstrip('s')}" for number, what in _COUNTED.findall(plain)}
    return counted | set(_NUMBER_OF.findall(plain))


def _normal(text: str) -> str:
    """Lower case, numbers without marks of thousands, times as they are counted."""
    text = TOKEN.sub(lambda found: f"@{found['ts'] or found['user'] or found['label']}", text)
    text = re.sub(r"(?<=\d),(?=\d{3}\b)", "", text)
    return re.sub(r"\s+", " ", text).strip().lower()
