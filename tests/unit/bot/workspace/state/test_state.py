from __future__ import annotations

import pytest

from trainmaster.bot.workspace.refusal import MethodRefusedError
from trainmaster.bot.workspace.state.messages import Body
from trainmaster.bot.workspace.state.people import BOT_USER_ID, Channel, Person
from trainmaster.bot.workspace.state.state import WorkspaceState


@pytest.fixture
def state() -> WorkspaceState:
    return WorkspaceState(
        people=[Person(user_id="U0ANNA", name="anna"), Person(user_id="U0BEN", name="ben")],
        channels=[Channel(channel_id="C0TRAIN", name="training")],
        commands=[],
        clock=lambda: 1_700_000_000.5,
    )


def say(state: WorkspaceState, text: str, **where: str) -> str:
    return state.post(channel_id="C0TRAIN", user_id=BOT_USER_ID, body=Body(text=text), **where).ts


def test_message_ids_grow_even_when_the_clock_stands_still(state: WorkspaceState) -> None:
    ids = [say(state, "x") for _ in range(3)]
    assert ids == ["1700000000.500000", "1700000000.500001", "1700000000.500002"]


def test_blocks_and_buttons_get_the_ids_that_were_left_out_and_keep_those_given(state: WorkspaceState) -> None:
    blocks = (
        {"type": "actions", "elements": [{"type": "button", "action_id": "mine"}, {"type": "button"}]},
        {"type": "section", "block_id": "mine", "accessory": {"type": "button"}},
    )
    message = state.post(channel_id="C0TRAIN", user_id=BOT_USER_ID, body=Body(blocks=blocks))
    first, second = message.body.blocks
    assert first["block_id"]
    assert first["elements"][0]["action_id"] == "mine"
    assert first["elements"][1]["action_id"]
    assert second["block_id"] == "mine"
    assert second["accessory"]["action_id"]


def test_reply_to_a_reply_lands_in_the_thread_of_the_root(state: WorkspaceState) -> None:
    root = say(state, "root")
    reply = say(state, "reply", thread_ts=root)
    say(state, "again", thread_ts=reply)
    assert [message.body.text for message in state.replies("C0TRAIN", root)] == ["reply", "again"]


def test_reply_to_nothing_is_refused(state: WorkspaceState) -> None:
    with pytest.raises(MethodRefusedError, match="thread_not_found"):
        say(state, "x", thread_ts="1.000001")


def test_edit_keeps_the_id_and_what_was_shown_before(state: WorkspaceState) -> None:
    message = state.post(channel_id="C0TRAIN", user_id=BOT_USER_ID, body=Body(text="one"))
    edited = state.edit(message, Body(text="two"))
    assert (edited.ts, edited.body.text, edited.earlier[-1].text) == (message.ts, "two", "one")


def test_every_change_reaches_every_feed_in_order(state: WorkspaceState) -> None:
    with state.feed() as one, state.feed() as two:
        ts = say(state, "x")
        message = state.get("C0TRAIN", ts)
        assert message is not None
        state.delete(message)
        for feed in (one, two):
            assert [feed.get_nowait()["type"] for _ in range(2)] == ["message", "deleted"]
    say(state, "after the feed was closed")
    assert one.empty()


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("C0TRAIN", "C0TRAIN"),
        ("#training", "C0TRAIN"),
        ("training", "C0TRAIN"),
        ("U0BEN", "D0BEN"),
        ("dm", "D0ANNA"),
        ("@trainmaster", "D0ANNA"),
        ("nowhere", None),
    ],
)
def test_channel_is_found_by_id_name_or_person(state: WorkspaceState, wanted: str, found: str | None) -> None:
    channel = state.find_channel(wanted, person=state.people["U0ANNA"])
    assert (channel.channel_id if channel else None) == found


def test_what_is_handed_out_is_a_copy(state: WorkspaceState) -> None:
    blocks = ({"type": "section", "block_id": "a", "text": {"type": "mrkdwn", "text": "x"}},)
    message = state.post(channel_id="C0TRAIN", user_id=BOT_USER_ID, body=Body(blocks=blocks))
    message.wire()["blocks"][0]["text"]["text"] = "changed"
    assert message.wire()["blocks"][0]["text"]["text"] == "x"
