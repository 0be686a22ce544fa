from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainmaster.bot.core.alerts.finding import Finding, Nature, Severity
from trainmaster.bot.core.conversation.message import ActionId, Button, ButtonStyle, Item, Mark, Message, Table, Tone
from trainmaster.bot.storage.codec import (
    content_hash,
    decode_finding,
    decode_message,
    encode_finding,
    encode_message,
    sql_text,
)

VALID = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
ANY = st.text(max_size=20)


def items(text: st.SearchStrategy[str]) -> st.SearchStrategy[Item]:
    return st.builds(Item, mark=st.sampled_from(Mark), text=text, detail=text)


def buttons(text: st.SearchStrategy[str]) -> st.SearchStrategy[Button]:
    return st.builds(
        Button,
        action=st.sampled_from(ActionId),
        label=text,
        value=text,
        style=st.sampled_from(ButtonStyle),
        confirm=st.none() | text,
    )


def tuples(one: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(one, max_size=3).map(tuple)


MESSAGES = st.builds(
    Message,
    title=VALID,
    tone=st.sampled_from(Tone),
    body=tuples(VALID),
    fields=tuples(st.tuples(VALID, VALID)),
    items=tuples(items(VALID)),
    table=st.none() | st.builds(Table, header=tuples(VALID), rows=tuples(tuples(VALID))),
    excerpt=VALID,
    context=tuples(VALID),
    buttons=tuples(buttons(VALID)),
    mentions=tuples(VALID),
)
FINDINGS = st.builds(
    Finding,
    run=ANY,
    check=ANY,
    key=ANY,
    severity=st.sampled_from(Severity),
    nature=st.sampled_from(Nature),
    ts=st.floats(allow_nan=False, allow_infinity=False),
    title=ANY,
    body=tuples(ANY),
    fields=tuples(st.tuples(ANY, ANY)),
    items=tuples(items(ANY)),
    excerpt=ANY,
    hint=ANY,
    resolution=ANY,
    buttons=tuples(buttons(ANY)),
)


@given(MESSAGES)
def test_message_survives_the_round_trip(message: Message) -> None:
    assert decode_message(encode_message(message)) == message


@given(FINDINGS)
def test_finding_survives_the_round_trip(finding: Finding) -> None:
    text = encode_finding(finding)
    assert decode_finding(text) == finding
    assert text.encode("utf-8")


def test_equal_messages_have_equal_hashes() -> None:
    first, second = (encode_message(Message(title=title)) for title in ("a", "b"))
    assert content_hash(first) == content_hash(encode_message(Message(title="a"))) != content_hash(second)


def test_text_that_is_no_unicode_becomes_sendable() -> None:
    assert decode_message(encode_message(Message(title="img\udcff.jpg"))).title == "img?.jpg"
    assert sql_text("run\udcff") == "run\\udcff"


def test_time_that_is_no_number_is_stored() -> None:
    finding = Finding(
        run="r", check="c", key="k", severity=Severity.INFO, nature=Nature.OCCURRENCE, ts=float("nan"), title="t"
    )
    assert decode_finding(encode_finding(finding)).ts == 0.0


def test_what_a_newer_version_wrote_is_read_as_far_as_it_is_known() -> None:
    record = {
        "title": "t",
        "tone": "purple",
        "shade": 3,
        "buttons": [{"action": "dance"}, {"action": "ack", "label": "A", "value": "v", "style": "round"}],
        "items": [{"mark": ["sparkle"], "text": "x"}, 7],
    }
    message = decode_message(json.dumps(record))
    assert (message.tone, [one.action for one in message.buttons]) == (Tone.NEUTRAL, [ActionId.ACK])
    assert [(one.mark, one.text) for one in message.items] == [(Mark.UNKNOWN, "x")]


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '"x"'])
def test_what_is_no_object_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        decode_message(text)
