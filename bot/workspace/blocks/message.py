"""Whole messages and modals: text, blocks, attachments and metadata together, with Slack's error names."""

from __future__ import annotations

from typing import Any, Final

from trainmaster.bot.workspace.blocks import limits
from trainmaster.bot.workspace.blocks.blocks import Surface, check_blocks, count_chars
from trainmaster.bot.workspace.blocks.elements import plain_text
from trainmaster.bot.workspace.blocks.schema import (
    Check,
    Faults,
    Record,
    anything,
    boolean,
    list_of,
    one_of,
    parse_json,
    string,
)
from trainmaster.bot.workspace.refusal import MethodRefusedError

_COLOUR_WORDS: Final = frozenset({"good", "warning", "danger"})


def _blocks_pass(value: Any, at: str, faults: Faults) -> None:
    faults.lines.extend(check_blocks(value, surface=Surface.MESSAGE, at=at))


def _colour(value: Any, at: str, faults: Faults) -> None:
    digits = value.removeprefix("#") if isinstance(value, str) else ""
    is_hex = len(digits) in {3, 6} and all(digit in "0123456789abcdefABCDEF" for digit in digits)
    if not is_hex and value not in _COLOUR_WORDS:
        faults.add(at, f"invalid color: {value}")


_FREE_TEXT: Final = string(min_chars=0)
_ATTACHMENT: Final = Record(
    required={},
    optional={
        "blocks": _blocks_pass,
        "color": _colour,
        "fields": list_of(
            Record(required={}, optional={"title": _FREE_TEXT, "value": _FREE_TEXT, "short": boolean}), min_items=0
        ),
        "mrkdwn_in": anything,
        "ts": anything,
        **dict.fromkeys(
            (
                "fallback",
                "text",
                "pretext",
                "title",
                "title_link",
                "author_name",
                "author_link",
                "author_icon",
                "image_url",
                "thumb_url",
                "footer",
                "footer_icon",
            ),
            _FREE_TEXT,
        ),
    },
)
_VIEW: Final = Record(
    required={"type": one_of("modal"), "title": plain_text(limits.VIEW_TITLE_CHARS), "blocks": anything},
    optional={
        "submit": plain_text(limits.VIEW_TITLE_CHARS),
        "close": plain_text(limits.VIEW_TITLE_CHARS),
        "private_metadata": string(min_chars=0, max_chars=limits.VIEW_METADATA_CHARS),
        "callback_id": string(min_chars=0, max_chars=limits.ID_CHARS),
        "external_id": string(min_chars=0, max_chars=limits.ID_CHARS),
        "clear_on_close": boolean,
        "notify_on_close": boolean,
        "submit_disabled": boolean,
    },
)
_HOME: Final = Record(
    required={"type": one_of("home"), "blocks": anything},
    optional={
        "private_metadata": string(min_chars=0, max_chars=limits.VIEW_METADATA_CHARS),
        "callback_id": string(min_chars=0, max_chars=limits.ID_CHARS),
        "external_id": string(min_chars=0, max_chars=limits.ID_CHARS),
    },
)


def read_blocks(raw: Any) -> list[dict[str, Any]]:
    """Return the blocks of a request, checked; raises :class:`MethodRefusedError`."""
    blocks = _decode(raw, "invalid_blocks_format", list)
    lines = check_blocks(blocks, surface=Surface.MESSAGE)
    if lines:
        raise MethodRefusedError("invalid_blocks", lines)
    if count_chars(blocks) > limits.ALL_BLOCKS_CHARS:
        raise MethodRefusedError("msg_blocks_too_long")
    return list(blocks)


def read_attachments(raw: Any) -> list[dict[str, Any]]:
    """Return the attachments of a request, checked; raises :class:`MethodRefusedError`."""
    attachments = _decode(raw, "invalid_attachments", list)
    if len(attachments) > limits.ATTACHMENTS:
        raise MethodRefusedError("too_many_attachments")
    faults = Faults()
    check: Check = list_of(_ATTACHMENT, min_items=0)
    check(attachments, "/attachments", faults)
    if faults.lines:
        raise MethodRefusedError("invalid_attachments", faults.lines)
    if count_chars([attachment.get("blocks", []) for attachment in attachments]) > limits.ALL_BLOCKS_CHARS:
        raise MethodRefusedError("msg_blocks_too_long")
    return list(attachments)


def read_metadata(raw: Any) -> dict[str, Any]:
    """Return the metadata of a request, checked; raises :class:`MethodRefusedError`."""
    metadata = _decode(raw, "invalid_metadata_format", dict)
    payload = metadata.get("event_payload")
    if not isinstance(metadata.get("event_type"), str) or not isinstance(payload, dict):
        raise MethodRefusedError("invalid_metadata_format", ["[ERROR] event_type and event_payload are required"])
    return dict(metadata)


def read_text(raw: Any, *, is_update: bool) -> str:
    """Return the text of a request, checked against the limit of its method; raises :class:`MethodRefusedError`."""
    text = "" if raw is None else str(raw)
    if len(text) > limits.POST_TEXT_CHARS or (is_update and len(text.encode()) > limits.UPDATE_TEXT_BYTES):
        raise MethodRefusedError("msg_too_long")
    return text


def read_view(raw: Any) -> dict[str, Any]:
    """Return the modal of a request, checked; raises :class:`MethodRefusedError`."""
    view = _decode(raw, "invalid_arguments", dict)
    faults = Faults()
    _VIEW(view, "/view", faults)
    blocks = view.get("blocks")
    faults.lines.extend(check_blocks(blocks, surface=Surface.MODAL, at="/view/blocks"))
    has_input = isinstance(blocks, list) and any(isinstance(b, dict) and b.get("type") == "input" for b in blocks)
    if has_input and view.get("submit") is None:
        faults.add("/view", "missing required field: submit")
    if faults.lines:
        raise MethodRefusedError("invalid_arguments", faults.lines)
    return dict(view)


def read_home(raw: Any) -> dict[str, Any]:
    """Return the Home of a request, checked; raises :class:`MethodRefusedError`."""
    view = _decode(raw, "invalid_arguments", dict)
    faults = Faults()
    _HOME(view, "/view", faults)
    faults.lines.extend(check_blocks(view.get("blocks"), surface=Surface.HOME, at="/view/blocks"))
    if faults.lines:
        raise MethodRefusedError("invalid_arguments", faults.lines)
    return dict(view)


def _decode(raw: Any, error: str, kind: type) -> Any:
    try:
        value = parse_json(raw)
    except ValueError as fault:
        raise MethodRefusedError(error) from fault
    if not isinstance(value, kind):
        raise MethodRefusedError(error)
    return value
