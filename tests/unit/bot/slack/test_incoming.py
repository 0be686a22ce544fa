"""What Slack sends is read as what a person meant; what is odd is ignored, never a crash."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainmaster.bot.core.conversation.message import ActionId
from trainmaster.bot.core.conversation.request import Origin, Press
from trainmaster.bot.slack import incoming

BOT = "U0BOT"


def event(**event_fields: Any) -> dict[str, Any]:
    base = {"type": "message", "user": "U0ANNA", "channel": "C0TRAIN", "ts": "10.1", "text": "status"}
    return {"event_id": "Ev1", "event": {**base, **event_fields}}


def click(**fields: Any) -> dict[str, Any]:
    return {
        "user": {"id": "U0ANNA"},
        "channel": {"id": "C0TRAIN"},
        "container": {"type": "message", "message_ts": "10.1"},
        "message": {"ts": "10.1"},
        "actions": [{"action_id": "approve", "value": "7"}],
        "trigger_id": "t1",
        **fields,
    }


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        pytest.param("status", "status", id="plain"),
        pytest.param("  epoch   4\tprogress ", "epoch 4 progress", id="blanks"),
        pytest.param("", "", id="nothing"),
        pytest.param("&lt;b&gt; &amp;amp;", "<b> &amp;", id="entities-once"),
    ],
)
def test_the_words_of_a_slash_command_come_as_typed(typed: str, expected: str) -> None:
    request = incoming.slash_request({"user_id": "U0ANNA", "channel_id": "C0TRAIN", "text": typed, "trigger_id": "t1"})
    assert request is not None
    assert (request.text, request.origin, request.user, request.channel) == (
        expected,
        Origin.SLASH,
        "U0ANNA",
        "C0TRAIN",
    )


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        pytest.param("<@U0BOT> status", "status", id="in-front"),
        pytest.param("status <@U0BOT|trainmaster>", "status", id="behind-with-name"),
        pytest.param("<@U0BOT> /train stop now", "stop now", id="command-typed-out"),
        pytest.param("<@U0BEN> status", "<@U0BEN> status", id="somebody-else"),
    ],
)
def test_the_mention_of_the_bot_is_no_part_of_the_words(typed: str, expected: str) -> None:
    request = incoming.mention_request(event(text=typed), BOT)
    assert request is not None
    assert (request.text, request.origin) == (expected, Origin.MENTION)


def test_a_mention_in_a_thread_knows_its_thread() -> None:
    request = incoming.mention_request(event(text="<@U0BOT> status", thread_ts="9.0"), BOT)
    assert request is not None
    assert (request.thread_ts, request.ts) == ("9.0", "10.1")


@pytest.mark.parametrize(
    ("fields", "origin"),
    [
        pytest.param({"channel": "D0ANNA", "channel_type": "im"}, Origin.DIRECT, id="direct"),
        pytest.param({"channel": "D0ANNA"}, Origin.DIRECT, id="direct-by-id"),
        pytest.param({"channel": "D0ANNA", "thread_ts": "9.0"}, Origin.DIRECT, id="thread-in-direct"),
        pytest.param({"thread_ts": "9.0"}, Origin.THREAD, id="thread"),
        pytest.param({"thread_ts": "9.0", "subtype": "thread_broadcast"}, Origin.THREAD, id="also-sent-to-channel"),
    ],
)
def test_talk_that_may_be_meant_for_the_bot_is_read(fields: dict[str, Any], origin: Origin) -> None:
    talk = incoming.message_talk(event(**fields), BOT)
    assert talk is not None
    assert talk.request.origin is origin


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({}, id="talk-in-the-channel"),
        pytest.param({"thread_ts": "10.1"}, id="root-of-a-thread"),
        pytest.param({"thread_ts": "9.0", "text": "<@U0BOT> status"}, id="mention-has-its-own-event"),
        pytest.param({"thread_ts": "9.0", "subtype": "message_changed"}, id="edit"),
        pytest.param({"thread_ts": "9.0", "subtype": "message_deleted"}, id="deletion"),
        pytest.param({"channel": "D0ANNA", "bot_id": "B1"}, id="another-bot"),
        pytest.param({"channel": "D0ANNA", "user": BOT}, id="ourselves"),
        pytest.param({"channel": "D0ANNA", "user": None}, id="nobody"),
    ],
)
def test_talk_that_is_not_for_the_bot_is_ignored(fields: dict[str, Any]) -> None:
    assert incoming.message_talk(event(**fields), BOT) is None


@pytest.mark.parametrize(("parent", "expected"), [(BOT, True), ("U0ANNA", False)], ids=["ours", "a-persons"])
def test_slack_says_whose_thread_it_is(parent: str, expected: bool) -> None:
    talk = incoming.message_talk(event(thread_ts="9.0", parent_user_id=parent), BOT)
    assert talk is not None
    assert talk.under_bot is expected


def test_a_press_names_button_person_and_message() -> None:
    assert incoming.press(click(message={"ts": "10.1", "thread_ts": "9.0"})) == Press(
        action=ActionId.APPROVE,
        value="7",
        user="U0ANNA",
        channel="C0TRAIN",
        message_ts="10.1",
        thread_ts="9.0",
        id="t1",
    )


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"actions": []}, id="no-action"),
        pytest.param({"actions": [{"action_id": "drop_table"}]}, id="no-button-of-ours"),
        pytest.param({"actions": [{"action_id": ["approve"]}]}, id="odd-action"),
        pytest.param({"user": None}, id="nobody"),
        pytest.param({"channel": None, "container": {}}, id="nowhere"),
        pytest.param({"message": None, "container": {"channel_id": "C0TRAIN"}}, id="no-message"),
    ],
)
def test_a_forged_press_is_no_press(fields: dict[str, Any]) -> None:
    assert incoming.press(click(**fields)) is None


def test_the_form_brings_back_what_was_pressed_and_the_reason() -> None:
    actions = [{"action_id": "reject", "value": "7"}]
    asked = incoming.press(click(message={"ts": "10.1", "thread_ts": "9.0"}, actions=actions))
    assert asked is not None
    form = incoming.reason_form(asked)
    assert len(form["title"]["text"]) <= 24
    view = {**form, "state": {"values": {"reason": {"reason": {"value": " epoch 7 is\nfine &amp; good "}}}}}
    press = incoming.reason_given({"user": {"id": "U0BEN"}, "view": view, "trigger_id": "t2"})
    assert press == Press(
        action=ActionId.REJECT,
        value="7",
        user="U0BEN",
        channel="C0TRAIN",
        message_ts="10.1",
        thread_ts="9.0",
        reason="epoch 7 is fine & good",
        id="t2",
        by_form=True,
    )


def test_the_form_of_continue_brings_back_a_continue() -> None:
    asked = incoming.press(click(actions=[{"action_id": "continue_run", "value": "run-1"}]))
    assert asked is not None
    view = {**incoming.reason_form(asked), "state": {"values": {"reason": {"reason": {"value": "one bad image"}}}}}
    press = incoming.reason_given({"user": {"id": "U0BEN"}, "view": view})
    assert press is not None
    assert (press.action, press.value, press.reason) == (ActionId.CONTINUE_RUN, "run-1", "one bad image")


@pytest.mark.parametrize("metadata", ["", "nonsense", "[]", "{}", '{"channel": 1, "ts": "1"}', "[" * 5000])
def test_a_forged_form_is_no_rejection(metadata: str) -> None:
    assert incoming.reason_given({"user": {"id": "U0BEN"}, "view": {"private_metadata": metadata}}) is None


def test_deliveries_of_one_event_have_one_key() -> None:
    assert incoming.event_key(event()) == incoming.event_key(event(text="changed"))
    assert incoming.event_key({"event": {"channel": "C", "ts": "1", "type": "message"}}) == "C/1/message"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *(
                        "event",
                        "user",
                        "channel",
                        "ts",
                        "text",
                        "thread_ts",
                        "subtype",
                        "actions",
                        "action_id",
                        "value",
                    ),
                    *("container", "message", "view", "state", "values", "reason", "private_metadata", "id", "user_id"),
                ]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=8), json_values) | json_values.filter(lambda value: isinstance(value, dict)))
def test_no_payload_makes_the_reading_fail(body: dict[str, Any]) -> None:
    incoming.slash_request(body)
    incoming.mention_request(body, BOT)
    incoming.message_talk(body, BOT)
    incoming.press(body)
    incoming.reason_given(body)
    incoming.event_key(body)


def test_half_a_surrogate_pair_reaches_no_database() -> None:
    pressed = incoming.press(click(actions=[{"action_id": "approve", "value": "7\ud800"}]))
    assert pressed is not None
    assert pressed.value == "7?"


def test_value_longer_than_slack_allows_still_fits_into_a_form() -> None:
    pressed = incoming.press(click(actions=[{"action_id": "reject", "value": "x" * 40_000}]))
    assert pressed is not None
    assert len(incoming.reason_form(pressed)["private_metadata"]) <= 3_000


def test_a_click_tells_when_it_was_made_and_its_form_carries_that_along() -> None:
    asked = incoming.press(click(actions=[{"action_id": "reject", "value": "7", "action_ts": "1700000000.25"}]))
    assert asked is not None
    assert asked.pressed_ts == 1700000000.25
    view = {**incoming.reason_form(asked), "state": {"values": {}}}
    given = incoming.reason_given({"user": {"id": "U0BEN"}, "view": view})
    assert given is not None
    assert (given.pressed_ts, given.by_form) == (1700000000.25, True)


@pytest.mark.parametrize("told", ["", "now", "-1", "inf", "nan", None, 7, []])
def test_a_click_without_a_usable_time_has_none(told: object) -> None:
    asked = incoming.press(click(actions=[{"action_id": "reject", "value": "7", "action_ts": told}]))
    assert asked is not None
    assert asked.pressed_ts is None
