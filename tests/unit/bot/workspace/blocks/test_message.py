from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.bot.workspace.blocks.making import button, modal, mrkdwn, plain, section, text_input
from trainmaster.bot.workspace.blocks.message import read_attachments, read_blocks, read_metadata, read_text, read_view
from trainmaster.bot.workspace.refusal import MethodRefusedError


@pytest.mark.parametrize(
    ("text", "is_update", "passes"),
    [
        pytest.param("x" * 40_000, False, True, id="post of 40000"),
        pytest.param("x" * 40_001, False, False, id="post of 40001"),
        pytest.param("x" * 4_000, True, True, id="update of 4000 bytes"),
        pytest.param("x" * 4_001, True, False, id="update of 4001 bytes"),
        pytest.param("é" * 2_000, True, True, id="update of 2000 letters of two bytes"),
        pytest.param("é" * 2_001, True, False, id="update of 2001 letters of two bytes"),
    ],
)
def test_text_is_limited_more_when_updating(text: str, is_update: bool, passes: bool) -> None:
    if passes:
        assert read_text(text, is_update=is_update) == text
    else:
        with pytest.raises(MethodRefusedError) as refused:
            read_text(text, is_update=is_update)
        assert refused.value.error == "msg_too_long"


def test_blocks_of_13200_characters_pass_and_one_more_is_refused() -> None:
    blocks = [section(text=mrkdwn("x" * 3000))] * 4 + [section(text=mrkdwn("x" * 1200))]
    assert read_blocks(blocks) == blocks
    with pytest.raises(MethodRefusedError) as refused:
        read_blocks([*blocks, section(text=mrkdwn("x"))])
    assert refused.value.error == "msg_blocks_too_long"


def test_blocks_may_come_as_json_text() -> None:
    assert read_blocks(json.dumps([section()])) == [section()]


@pytest.mark.parametrize("raw", ["[{", "{}", '"x"', 7], ids=["broken", "object", "string", "number"])
def test_blocks_that_are_no_list_have_the_wrong_format(raw: Any) -> None:
    with pytest.raises(MethodRefusedError) as refused:
        read_blocks(raw)
    assert refused.value.error == "invalid_blocks_format"


def test_refused_blocks_name_their_place_in_the_answer() -> None:
    with pytest.raises(MethodRefusedError) as refused:
        read_blocks([{"type": "divider"}] * 51)
    assert refused.value.body() == {
        "ok": False,
        "error": "invalid_blocks",
        "errors": ["no more than 50 items allowed [json-pointer:/blocks]"],
        "response_metadata": {"messages": ["[ERROR] no more than 50 items allowed [json-pointer:/blocks]"]},
    }


ATTACHMENTS = {
    "colour word": ([{"color": "danger", "text": "x"}], None),
    "hex colour": ([{"color": "#2eb67d", "blocks": [section()]}], None),
    "fields": ([{"fields": [{"title": "a", "value": "b", "short": True}]}], None),
    "100 of them": ([{"text": "x"}] * 100, None),
    "101 of them": ([{"text": "x"}] * 101, "too_many_attachments"),
    "unknown colour": ([{"color": "reddish"}], "invalid_attachments"),
    "unknown field": ([{"colour": "#fff"}], "invalid_attachments"),
    "bad blocks inside": ([{"blocks": [{"type": "nope"}]}], "invalid_attachments"),
    "too much text in blocks": ([{"blocks": [section(text=mrkdwn("x" * 2700))]}] * 5, "msg_blocks_too_long"),
    "not a list": ({"text": "x"}, "invalid_attachments"),
}


@pytest.mark.parametrize(("attachments", "error"), ATTACHMENTS.values(), ids=ATTACHMENTS.keys())
def test_attachments_are_checked(attachments: Any, error: str | None) -> None:
    if error is None:
        assert read_attachments(attachments) == attachments
    else:
        with pytest.raises(MethodRefusedError) as refused:
            read_attachments(attachments)
        assert refused.value.error == error


@pytest.mark.parametrize(
    ("metadata", "passes"),
    [
        pytest.param({"event_type": "alert", "event_payload": {"id": "7"}}, True, id="complete"),
        pytest.param({"event_type": "alert"}, False, id="no payload"),
        pytest.param({"event_type": 7, "event_payload": {}}, False, id="type that is a number"),
        pytest.param("[]", False, id="list"),
    ],
)
def test_metadata_needs_a_type_and_a_payload(metadata: Any, passes: bool) -> None:
    if passes:
        assert read_metadata(metadata) == metadata
    else:
        with pytest.raises(MethodRefusedError) as refused:
            read_metadata(metadata)
        assert refused.value.error == "invalid_metadata_format"


VIEWS = {
    "title of 24": (modal(title=plain("x" * 24)), True),
    "title of 25": (modal(title=plain("x" * 25)), False),
    "submit of 25": (modal(submit=plain("x" * 25)), False),
    "private metadata of 3000": (modal(private_metadata="x" * 3000), True),
    "private metadata of 3001": (modal(private_metadata="x" * 3001), False),
    "callback_id of 256": (modal(callback_id="x" * 256), False),
    "input without submit": ({"type": "modal", "title": plain("T"), "blocks": [text_input()]}, False),
    "no input and no submit": ({"type": "modal", "title": plain("T"), "blocks": [section()]}, True),
    "home tab": (modal(type="home"), False),
    "bad block": (modal(blocks=[section(accessory=button(), fields=[])]), False),
}


@pytest.mark.parametrize(("view", "passes"), VIEWS.values(), ids=VIEWS.keys())
def test_modal_is_checked(view: Any, passes: bool) -> None:
    if passes:
        assert read_view(json.dumps(view)) == view
    else:
        with pytest.raises(MethodRefusedError) as refused:
            read_view(view)
        assert refused.value.error == "invalid_arguments"
        assert refused.value.lines
