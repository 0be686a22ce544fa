"""The few kinds of blocks that messages here are made of. Text comes in already as it goes onto the wire.

A title is a bold line, not a ``header`` block, which can show neither a time nor a person and shouts in a short answer.
It carries its tone as a sign, not as an attachment's coloured bar: clients fold attachments away ("show more"), with
the buttons in them. A table is a ``table`` block: a code block wraps its lines on a phone and the columns fall apart,
while the table scrolls sideways.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from trainmaster.bot.core.conversation.message import Button, ButtonStyle
from trainmaster.bot.core.conversation.picture import Picture
from trainmaster.bot.slack import limits
from trainmaster.bot.slack.text import clip, one_line

Block = dict[str, Any]

_NUMBER: Final = re.compile(r"[-+]?[\d.,]+(?:e[-+]?\d+)?\s?%?|–|nan|-?inf", re.IGNORECASE)
_CONFIRM_TITLE: Final = "Are you sure?"
_CONFIRM_DENY: Final = "Cancel"


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockPart:
    """Blocks with the characters that they count against the total, and what was left out of them, in words."""

    blocks: tuple[Block, ...] = ()
    num_chars: int = 0
    left_out: tuple[str, ...] = ()


def plain_object(text: str) -> Block:
    """A text object that is not formatted; emoji signs are drawn."""
    return {"type": "plain_text", "text": text, "emoji": True}


def mrkdwn_object(text: str) -> Block:
    """``verbatim``: Slack must not make links of URLs, channels of ``#words`` or mentions of ``@words`` by itself."""
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def section(text: str) -> Block:
    """A paragraph, a checklist, an excerpt."""
    return {"type": "section", "text": mrkdwn_object(text)}


def fields(texts: Sequence[str]) -> tuple[Block, ...]:
    """Two columns, in as many sections as ten fields each take."""
    groups = [texts[at : at + limits.SECTION_FIELDS] for at in range(0, len(texts), limits.SECTION_FIELDS)]
    return tuple({"type": "section", "fields": [mrkdwn_object(text) for text in group]} for group in groups)


def context(texts: Sequence[str]) -> Block:
    """A block of small print under a message."""
    return {"type": "context", "elements": [mrkdwn_object(text) for text in texts]}


def table(header_cells: Sequence[str], rows: Sequence[Sequence[str]]) -> Block:
    """Columns of numbers stand right."""
    columns = [[row[index] for row in rows] for index in range(len(header_cells))]
    settings = [
        {"align": "right" if column and all(_NUMBER.fullmatch(cell) for cell in column) else "left"}
        for column in columns
    ]
    lines = [header_cells, *rows]
    return {
        "type": "table",
        "column_settings": settings,
        "rows": [[{"type": "raw_text", "text": cell} for cell in line] for line in lines],
    }


def image(picture: Picture) -> Block:
    """A picture that was uploaded before."""
    alt = clip(one_line(picture.alt) or "A picture without words.", limits.PICTURE_ALT_CHARS)
    return {"type": "image", "slack_file": {"id": picture.file}, "alt_text": alt}


def button(spec: Button) -> tuple[Block, int]:
    """A button, and the characters that it counts."""
    label = clip(one_line(spec.label) or spec.action.value, limits.BUTTON_LABEL_CHARS)
    element: Block = {"type": "button", "action_id": spec.action.value, "text": plain_object(label)}
    num_chars = len(label)
    if spec.value:
        element["value"] = spec.value
    if spec.style is not ButtonStyle.PLAIN:
        element["style"] = spec.style.value
    if spec.confirm is not None:
        text = clip(one_line(spec.confirm) or _CONFIRM_TITLE, limits.CONFIRM_TEXT_CHARS)
        yes = clip(one_line(spec.label) or spec.action.value, limits.CONFIRM_LABEL_CHARS)
        element["confirm"] = {
            "title": plain_object(_CONFIRM_TITLE),
            "text": plain_object(text),
            "confirm": plain_object(yes),
            "deny": plain_object(_CONFIRM_DENY),
        }
        if spec.style is ButtonStyle.DANGER:
            element["confirm"]["style"] = "danger"
        num_chars += len(_CONFIRM_TITLE) + len(text) + len(yes) + len(_CONFIRM_DENY)
    return element, num_chars


def actions(elements: Sequence[Block]) -> tuple[Block, ...]:
    """Rows of buttons. Slack refuses the same ``action_id`` twice in one block, so a repeated one opens the next."""
    rows: list[list[Block]] = []
    for element in elements:
        for row in rows:
            if len(row) < limits.ACTIONS_ELEMENTS and all(one["action_id"] != element["action_id"] for one in row):
                row.append(element)
                break
        else:
            rows.append([element])
    return tuple({"type": "actions", "elements": row} for row in rows)
