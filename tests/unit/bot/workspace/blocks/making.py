"""Small valid pieces of Block Kit for tests to stretch to a limit and one beyond."""

from __future__ import annotations

from typing import Any

Block = dict[str, Any]


def plain(text: str = "x") -> Block:
    return {"type": "plain_text", "text": text}


def mrkdwn(text: str = "x") -> Block:
    return {"type": "mrkdwn", "text": text}


def section(**fields: Any) -> Block:
    return {"type": "section", **(fields or {"text": mrkdwn()})}


def button(**fields: Any) -> Block:
    return {"type": "button", "text": plain(), "action_id": "go", **fields}


def actions(*elements: Block, **fields: Any) -> Block:
    return {"type": "actions", "elements": list(elements or (button(),)), **fields}


def buttons(count: int) -> list[Block]:
    return [button(action_id=f"go-{index}") for index in range(count)]


def confirm(**fields: Any) -> Block:
    return {"title": plain(), "text": mrkdwn(), "confirm": plain(), "deny": plain(), **fields}


def option(value: str = "a", text: str = "A") -> Block:
    return {"text": plain(text), "value": value}


def options(count: int) -> list[Block]:
    return [option(f"value-{index}") for index in range(count)]


def select(**fields: Any) -> Block:
    return {"type": "static_select", "action_id": "pick", "options": [option()], **fields}


def image(**fields: Any) -> Block:
    return {"type": "image", "alt_text": "a plot", "image_url": "https://example.com/plot.png", **fields}


def table(rows: int = 1, columns: int = 1) -> Block:
    return {"type": "table", "rows": [[{"type": "raw_text", "text": "1"}] * columns] * rows}


def rich_text(*leaves: Block) -> Block:
    section_ = {"type": "rich_text_section", "elements": list(leaves or ({"type": "text", "text": "x"},))}
    return {"type": "rich_text", "elements": [section_]}


def text_input(**fields: Any) -> Block:
    element = {"type": "plain_text_input", "action_id": "text"}
    return {"type": "input", "label": plain("Why?"), "element": element, **fields}


def modal(**fields: Any) -> Block:
    return {"type": "modal", "title": plain("Title"), "submit": plain("Go"), "blocks": [text_input()], **fields}
