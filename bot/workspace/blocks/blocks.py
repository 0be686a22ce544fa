"""Block Kit as Slack checks it: what a list of blocks may hold in a message and in a modal.

Known are the kinds that the page can draw; Slack has a few more (video, file, cards), refused here as unsupported.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

from trainmaster.bot.workspace.blocks import limits
from trainmaster.bot.workspace.blocks.elements import (
    ACCESSORY,
    ACTIONS_ELEMENT,
    CONTEXT_ELEMENT,
    INPUT_ELEMENT,
    any_text,
    exactly_one,
    image_url,
    link_url,
    plain_text,
)
from trainmaster.bot.workspace.blocks.schema import (
    Check,
    Faults,
    Record,
    anything,
    boolean,
    by_type,
    integer,
    list_of,
    one_of,
    string,
)


class Surface(StrEnum):
    """Where blocks are shown."""

    MESSAGE = "message"
    MODAL = "modal"
    HOME = "home"


def _section_has_content(value: Any, at: str, faults: Faults) -> None:
    if value.get("text") is None and value.get("fields") is None:
        faults.add(at, "must define either text or fields")


def _distinct_action_ids(value: Any, at: str, faults: Faults) -> None:
    seen: set[str] = set()
    elements = value.get("elements")
    for index, element in enumerate(elements if isinstance(elements, list) else []):
        action_id = element.get("action_id") if isinstance(element, dict) else None
        if isinstance(action_id, str) and action_id in seen:
            faults.add(f"{at}/elements/{index}/action_id", f"`action_id` {action_id} already exists in this block")
        elif isinstance(action_id, str):
            seen.add(action_id)


_STYLE: Final = Record(
    required={},
    optional={"bold": boolean, "italic": boolean, "strike": boolean, "code": boolean, "underline": boolean},
)
_RICH_LEAF: Final = by_type(
    {
        "text": Record(required={"type": anything, "text": string()}, optional={"style": _STYLE}),
        "link": Record(
            required={"type": anything, "url": link_url},
            optional={"text": string(), "style": _STYLE, "unsafe": boolean},
        ),
        "user": Record(required={"type": anything, "user_id": string()}, optional={"style": _STYLE}),
        "usergroup": Record(required={"type": anything, "usergroup_id": string()}, optional={"style": _STYLE}),
        "channel": Record(required={"type": anything, "channel_id": string()}, optional={"style": _STYLE}),
        "emoji": Record(required={"type": anything, "name": string()}, optional={"unicode": string(), "style": _STYLE}),
        "broadcast": Record(
            required={"type": anything, "range": one_of("here", "channel", "everyone")}, optional={"style": _STYLE}
        ),
        "date": Record(
            required={"type": anything, "timestamp": anything, "format": string()},
            optional={"url": link_url, "fallback": string(), "style": _STYLE},
        ),
    }
)
_LEAVES: Final = list_of(_RICH_LEAF, min_items=0)
_RICH_SECTION: Final = Record(required={"type": one_of("rich_text_section"), "elements": _LEAVES})
_INDENT: Final = integer(low=0, high=8)
_BORDER: Final = integer(low=0, high=1)
_RICH_PART: Final = by_type(
    {
        "rich_text_section": _RICH_SECTION,
        "rich_text_preformatted": Record(
            required={"type": anything, "elements": _LEAVES}, optional={"border": _BORDER, "language": string()}
        ),
        "rich_text_quote": Record(required={"type": anything, "elements": _LEAVES}, optional={"border": _BORDER}),
        "rich_text_list": Record(
            required={
                "type": anything,
                "style": one_of("bullet", "ordered"),
                "elements": list_of(_RICH_SECTION, min_items=0),
            },
            optional={"indent": _INDENT, "border": _BORDER, "offset": integer(low=0, high=10_000)},
        ),
    }
)
_RICH_TEXT: Final = Record(
    required={"type": anything, "elements": list_of(_RICH_PART)}, optional={"block_id": anything}
)
_CELL: Final = by_type(
    {
        "raw_text": Record(required={"type": anything, "text": string()}),
        "rich_text": _RICH_TEXT,
    }
)
_COLUMN: Final = Record(required={}, optional={"align": one_of("left", "center", "right"), "is_wrapped": boolean})

_BLOCK_ID: Final = string(max_chars=limits.ID_CHARS)


def _block(required: dict[str, Check], optional: dict[str, Check] | None = None, *rules: Check) -> Check:
    return Record(
        required={"type": anything, **required}, optional={"block_id": _BLOCK_ID, **(optional or {})}, rules=rules
    )


_IMAGE: Final = _block(
    {"alt_text": string(max_chars=limits.ALT_TEXT_CHARS)},
    {"image_url": image_url, "slack_file": anything, "title": plain_text(limits.IMAGE_TITLE_CHARS)},
    lambda value, at, faults: exactly_one(value, at, faults, "image_url", "slack_file"),
)
_SHARED: Final[dict[str, Check]] = {
    "section": _block(
        {},
        {
            "text": any_text(limits.SECTION_TEXT_CHARS),
            "fields": list_of(any_text(limits.SECTION_FIELD_CHARS), max_items=limits.SECTION_FIELDS),
            "accessory": ACCESSORY,
            "expand": boolean,
        },
        _section_has_content,
    ),
    "header": _block({"text": plain_text(limits.HEADER_CHARS)}),
    "divider": _block({}),
    "context": _block({"elements": list_of(CONTEXT_ELEMENT, max_items=limits.CONTEXT_ELEMENTS)}),
    "actions": _block(
        {"elements": list_of(ACTIONS_ELEMENT, max_items=limits.ACTIONS_ELEMENTS)}, None, _distinct_action_ids
    ),
    "image": _IMAGE,
    "rich_text": _block({"elements": list_of(_RICH_PART)}),
    "input": _block(
        {"label": plain_text(limits.INPUT_LABEL_CHARS), "element": INPUT_ELEMENT},
        {"hint": plain_text(limits.INPUT_LABEL_CHARS), "optional": boolean, "dispatch_action": boolean},
    ),
}
_MESSAGE_ONLY: Final[dict[str, Check]] = {
    "table": _block(
        {
            "rows": list_of(
                list_of(_CELL, max_items=limits.TABLE_COLUMNS),
                max_items=limits.TABLE_ROWS,
            )
        },
        {"column_settings": list_of(_COLUMN, max_items=limits.TABLE_COLUMNS)},
    ),
    "markdown": _block({"text": string(max_chars=limits.MARKDOWN_CHARS)}),
}
_LISTS: Final[dict[Surface, Check]] = {
    Surface.MESSAGE: list_of(by_type({**_SHARED, **_MESSAGE_ONLY}), max_items=limits.MESSAGE_BLOCKS, min_items=0),
    Surface.MODAL: list_of(by_type(_SHARED), max_items=limits.VIEW_BLOCKS, min_items=1),
    Surface.HOME: list_of(by_type(_SHARED), max_items=limits.VIEW_BLOCKS, min_items=1),
}


def check_blocks(blocks: Any, *, surface: Surface, at: str = "/blocks") -> list[str]:
    """Return what Slack would find wrong with ``blocks``; empty when it would take them."""
    faults = Faults()
    _LISTS[surface](blocks, at, faults)
    if not isinstance(blocks, list):
        return faults.lines
    seen: set[str] = set()
    tables = table_chars = 0
    for index, block in enumerate(blocks):
        if not isinstance(block, dict):
            continue
        block_id = block.get("block_id")
        if isinstance(block_id, str) and block_id in seen:
            faults.add(f"{at}/{index}/block_id", f"`block_id` {block_id} already exists")
        elif isinstance(block_id, str):
            seen.add(block_id)
        if block.get("type") == "table":
            tables += 1
            table_chars += count_chars(block.get("rows"))
    if tables > limits.TABLES:
        faults.add(at, "only one table block allowed per message")
    if table_chars > limits.TABLE_CHARS:
        faults.add(at, f"no more than {limits.TABLE_CHARS} characters allowed in all cells of a table")
    return faults.lines


def count_chars(node: Any) -> int:
    """Return the characters of every text in ``node``, as the limit on all blocks together counts them."""
    if isinstance(node, list):
        return sum(count_chars(item) for item in node)
    if isinstance(node, dict):
        own = node.get("text")
        total = len(own) if isinstance(own, str) else 0
        return total + sum(count_chars(item) for item in node.values() if isinstance(item, dict | list))
    return 0
