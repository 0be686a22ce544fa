"""A :class:`message.Message` as Slack takes it. Pure; within every limit by construction."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from trainmaster.bot.core.conversation.known_by import has_ids
from trainmaster.bot.core.conversation.message import Button, Item, Mark, Message, Table, Tone
from trainmaster.bot.core.conversation.plainer import Words
from trainmaster.bot.core.conversation.tokens import NOBODY_KNOWN
from trainmaster.bot.slack import blocks, limits
from trainmaster.bot.slack.blocks import BlockPart
from trainmaster.bot.slack.text import clean, code_block, fit, headline, literal, mrkdwn, one_line, plain, utf8_len

_SIGNS: Final = {
    Tone.NEUTRAL: "",
    Tone.GOOD: "🟢 ",
    Tone.WARNING: "🟡 ",
    Tone.CRITICAL: "🔴 ",
    Tone.PROGRESS: "🔵 ",
}
_MARKS: Final = {
    Mark.DONE: "✅",
    Mark.FAILED: "❌",
    Mark.WARNING: "⚠️",
    Mark.RUNNING: "🔵",
    Mark.WAITING: "⚪",
    Mark.UNKNOWN: "❔",
}
_UNTITLED: Final = "Trainmaster"
_EMPTY: Final = "–"
_USER_ID: Final = re.compile(r"[UW][A-Z0-9]{1,20}")
_GROUP_ID: Final = re.compile(r"S[A-Z0-9]{1,20}")
_DRAWN: Final = re.compile(r"[\u2580-\u259f\u25b0\u25b1]{2,} ?")
"""Bars and curves of characters: read aloud they are ten times "white parallelogram", and the number stands beside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """``text`` is the notification, what a screen reader says, and what a client without blocks shows."""

    text: str
    blocks: tuple[dict[str, Any], ...]


class _Room:
    """Characters that are left for the next part: its own share and what the parts before it did not use."""

    def __init__(self) -> None:
        self._carried = 0

    def open(self, share: int) -> int:
        self._carried += share
        return self._carried

    def spend(self, part: BlockPart) -> BlockPart:
        self._carried -= part.num_chars
        return part


def render(message: Message, names: Mapping[str, str] = NOBODY_KNOWN) -> Rendered:
    """``message`` in Block Kit, its buttons under its first lines, above the fold of a phone. What does not fit is cut,
    and the small print says what was left out. ``names`` is what people are called, by id, for the notification."""
    if isinstance(message, Words):
        mentions = _mentions(message.mentions, limits.MENTIONS_SHARE)
        return Rendered(text=f"{_text(message, names)} {mentions}".strip(), blocks=())
    room = _Room()
    title, titled = _title(message, room.open(limits.TITLE_SHARE))
    room.spend(titled)
    mentions = _mentions(message.mentions, room.open(limits.MENTIONS_SHARE))
    room.spend(BlockPart(num_chars=len(mentions)))
    buttons = room.spend(_buttons(message.buttons, room.open(limits.BUTTONS_SHARE)))
    fields = room.spend(_fields(message.fields, room.open(limits.FIELDS_SHARE)))
    items = room.spend(_items(message.items, room.open(limits.ITEMS_SHARE)))
    body = room.spend(_body(title, message.body, mentions, room.open(limits.BODY_SHARE)))
    excerpt = room.spend(_excerpt(message.excerpt, room.open(limits.EXCERPT_SHARE)))
    table = room.spend(_table(message.table, room.open(limits.TABLE_SHARE)))
    shown = (body, buttons, fields, items, excerpt, table)
    left_out = [what for part in (titled, *shown) for what in part.left_out]
    small_print = _context(message.context, left_out, limits.CONTEXT_SHARE)
    pictures = BlockPart(blocks=tuple(map(blocks.image, message.pictures[: limits.MAX_PICTURES])))
    parts = (*shown, pictures, small_print)
    return Rendered(text=_text(message, names), blocks=tuple(block for part in parts for block in part.blocks))


def _title(message: Message, room: int) -> tuple[str, BlockPart]:
    sign = _SIGNS[message.tone]
    text, complete = fit([sign, *mrkdwn(headline(message.title) or _UNTITLED, bold=True)], room - 2)
    return f"*{text}*", BlockPart(num_chars=len(text) + 2, left_out=() if complete else ("the end of the title",))


def _mentions(users: Sequence[str], room: int) -> str:
    tags = [f"<@{user}>" for user in users if _USER_ID.fullmatch(user)]
    tags += [f"<!subteam^{group}>" for group in users if _GROUP_ID.fullmatch(group)]
    line = ""
    for tag in tags[: limits.MAX_MENTIONS]:
        longer = f"{line} {tag}".strip()
        if len(longer) > room:
            break
        line = longer
    return line


def _body(title: str, paragraphs: Sequence[str], mentions: str, room: int) -> BlockPart:
    """Title, text and mentions in one section; only the text counts here, the others are paid for."""
    space = min(room, limits.SECTION_CHARS - len(title) - len(mentions)) - 2
    text, complete = fit(mrkdwn(clean("\n".join(paragraphs)).strip()), space)
    shown = "\n".join(part for part in (title, text, mentions) if part.strip())
    return BlockPart(
        blocks=(blocks.section(shown),),
        num_chars=len(text) + 2,
        left_out=() if complete else ("the end of the text",),
    )


def _fields(pairs: Sequence[tuple[str, str]], room: int) -> BlockPart:
    texts: list[str] = []
    left = room
    cut = 0
    for label, value in pairs[: limits.MAX_FIELDS]:
        name = one_line(label).replace("*", "").replace("`", "'")
        head = f"*{fit(literal(name), limits.LINE_CHARS // 4)[0]}*\n" if name else ""
        space = min(limits.LINE_CHARS, left) - len(head)
        if space < 1:
            break
        text, complete = fit(mrkdwn(clean(value).strip() or _EMPTY), space)
        texts.append(head + text)
        left -= len(head) + len(text)
        cut += not complete
    lost = len(pairs) - len(texts)
    return BlockPart(
        blocks=blocks.fields(texts),
        num_chars=room - left,
        left_out=_words((lost, "field", ""), (cut, "field", "the end of ")),
    )


def _items(items: Sequence[Item], room: int) -> BlockPart:
    lines: list[str] = []
    left = min(room, limits.SECTION_CHARS)
    cut = 0
    for item in items:
        detail = f" · {one_line(item.detail)}" if one_line(item.detail) else ""
        head = f"{_MARKS[item.mark]}  "
        space = min(limits.LINE_CHARS, left - 1) - len(head)
        if space < 1:
            break
        text, complete = fit(mrkdwn(one_line(item.text) + detail), space)
        lines.append(head + text)
        left -= len(head) + len(text) + 1
        cut += not complete
    lost = len(items) - len(lines)
    text = "\n".join(lines)
    return BlockPart(
        blocks=(blocks.section(text),) if lines else (),
        num_chars=len(text),
        left_out=_words((lost, "line", ""), (cut, "line", "the end of ")),
    )


def _excerpt(text: str, room: int) -> BlockPart:
    if not text.strip():
        return BlockPart()
    shown, _ = code_block(text, min(room, limits.SECTION_CHARS), limits.EXCERPT_LINES)
    return BlockPart(blocks=(blocks.section(shown),), num_chars=len(shown))


def _table(spec: Table | None, room: int) -> BlockPart:
    if spec is None or not spec.header:
        return BlockPart()
    width = min(len(spec.header), limits.TABLE_COLUMNS)
    head = _cells(spec.header, width)
    room = min(room, limits.TABLE_CHARS)
    used = sum(map(len, head))
    rows: list[tuple[str, ...]] = []
    for row in spec.rows[: limits.TABLE_ROWS - 1]:
        cells = _cells(row, width)
        if used + sum(map(len, cells)) > room:
            break
        used += sum(map(len, cells))
        rows.append(cells)
    if used > room:
        return BlockPart(left_out=("the table",))
    return BlockPart(
        blocks=(blocks.table(head, rows),),
        num_chars=used,
        left_out=_words((len(spec.rows) - len(rows), "row", ""), (len(spec.header) - width, "column", "")),
    )


def _cells(row: Sequence[str], width: int) -> tuple[str, ...]:
    padded = (*row, *("",) * width)[:width]
    return tuple(fit(plain(one_line(cell) or _EMPTY), limits.LINE_CHARS // 4)[0] for cell in padded)


def _buttons(specs: Sequence[Button], room: int) -> BlockPart:
    """A button whose value is too long is left out: a shortened value would act on something else."""
    elements: list[dict[str, Any]] = []
    used = 0
    for spec in specs:
        element, num_chars = blocks.button(spec)
        if len(spec.value) > limits.BUTTON_VALUE_CHARS or used + num_chars > room:
            continue
        if len(elements) == limits.MAX_BUTTONS:
            break
        elements.append(element)
        used += num_chars
    return BlockPart(
        blocks=blocks.actions(elements), num_chars=used, left_out=_words((len(specs) - len(elements), "button", ""))
    )


def _context(texts: Sequence[str], left_out: Sequence[str], room: int) -> BlockPart:
    note = f"Left out for length: {', '.join(left_out)}." if left_out else ""
    shown: list[str] = []
    left = room - len(note)
    for text in texts:
        if len(shown) == limits.CONTEXT_ELEMENTS - 1 or left < 1:
            break
        line, _ = fit(mrkdwn(one_line(text)), min(limits.LINE_CHARS, left))
        if line:
            shown.append(line)
            left -= len(line)
    shown += [note] if note else []
    return BlockPart(blocks=(blocks.context(shown),) if shown else ())


def _text(message: Message, names: Mapping[str, str]) -> str:
    """The whole message in words, its details included, as far as an edit can carry them: a screen reader says this and
    not the blocks, and a lock screen shows how it begins: with the run and the fact. Process ids, digests and paths are
    left to the thread."""
    told = _NotTwice()
    lines = [told.line(one_line(message.title) or _UNTITLED), *(told.line(line) for line in _lines(message))]
    if message.details is not None:
        lines += [told.line(line) for line in _lines(message.details) if not has_ids(line)]
    lines = [_DRAWN.sub("", line) for line in lines]
    text, _ = fit(plain("\n".join(line for line in lines if line.strip()), names), limits.TEXT_BYTES, utf8_len)
    return text


class _NotTwice:
    """Lines that were said before are not said again."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def line(self, text: str) -> str:
        key = text.strip()
        new = key not in self._said
        self._said.add(key)
        return text if new else ""


def _lines(message: Message) -> Iterator[str]:
    yield from message.body
    if message.table is not None:
        for row in message.table.rows:
            named = ((one_line(name), one_line(cell)) for name, cell in zip(message.table.header, row, strict=False))
            yield ", ".join(f"{name} {cell}".strip() for name, cell in named if cell)
    for label, value in message.fields:
        yield f"{one_line(label)}: {one_line(value)}"
    for item in message.items:
        said = ", ".join(filter(None, (one_line(item.text), one_line(item.detail))))
        yield f"{_MARKS[item.mark]} {said}".rstrip()
    yield from message.excerpt.split("\n")[-limits.EXCERPT_LINES :]


def _words(*counts: tuple[int, str, str]) -> tuple[str, ...]:
    return tuple(
        f"{prefix}{number} {noun}{'' if number == 1 else 's'}" for number, noun, prefix in counts if number > 0
    )
