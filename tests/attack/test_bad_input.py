"""Thousands of bad commands, clicks and forms through Slack's own library: always an answer, never a traceback, and
nothing is done."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.attack.office import Office
from tests.attack.strict_web import BOT, BOT_USER, CHANNEL, TEAM, Json
from tests.unit.bot.operations.paper import ALICE, BOB
from trainmaster.bot.core.conversation.message import ActionId
from trainmaster.bot.slack import incoming
from trainmaster.commands import COMMANDS, is_command

NUM_INPUTS = int(os.environ.get("TRAINMASTER_BAD_INPUTS", "1500"))
"""``make bench`` takes 10,000; the suite has less time."""
STRANGER = "U0DEE"


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def office(runner: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    office = Office(tmp_path_factory.mktemp("office"))
    runner.run(office.open())
    yield office
    runner.run(office.close())


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(max_size=40),
    st.lists(st.text(max_size=5), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
)
WORDS = st.sampled_from(
    [
        *(
            "execute",
            "rollback",
            "roll back",
            "to",
            "epoch",
            "level",
            "strict",
            "next",
            "dry run",
            "stop",
            "now",
            "after",
        ),
        *(
            "resume",
            "continue",
            "because",
            "ack",
            "silence",
            "unsilence",
            "2h",
            "archive",
            "bring back",
            "audit",
            "runs",
        ),
        *("use", "status", "help", "of", "on", "for", "digits", "progress", "alerts", "approve", "reject", "verify"),
        *(
            "0",
            "-1",
            "1e9",
            "99999999999999999999",
            "٣",
            "²",
            "½",
            "0x10",
            "NaN",
            "1/0",
            "10000000000000000000d",
            "-5m",
        ),
        *("\u202eolleh", "\u200b", "\u0000", "\ud800", "\ufeff", "e\u0301" * 50, "𝟘", "ﷺ", "שלום", "🏴\U000e0067"),
        *(
            "<@U0BOT>",
            "<@U0ALICE>",
            "<!channel>",
            "<!subteam^S1>",
            "<http://x|y>",
            "&lt;@U0ALICE&gt;",
            "```",
            "`",
            "*",
            "_",
        ),
        *("<!date^99999999999999^{date}|x>", "<t:1>", "<u:U0ALICE>", "<t:99999999999999999999>", "<t:nan>", "<t:-1>"),
        *(
            "../../etc/passwd",
            "'; DROP TABLE approvals;--",
            "$(reboot)",
            "%s%n",
            "{0.__class__}",
            "\\",
            "/train",
            "\n\n",
        ),
        *("x" * 40_000, "1" * 5_000, "a " * 5_000, "(" * 500, "\u0001"),
    ]
)
TEXT = st.one_of(st.text(max_size=200), st.lists(WORDS, min_size=1, max_size=7).map(" ".join))
STRANGERS = st.one_of(
    st.just(STRANGER), st.sampled_from(["U0ALICE'--", "<@U0ALICE>", "u0alice", "U0ALICE ", "W1", "B0BOT"])
)
ON_CALL = st.sampled_from([ALICE, BOB])


def torn(payload: Json, path: list[str], junk: Any, *, gone: bool) -> Json:
    """``payload`` with one value replaced by ``junk`` or taken out."""
    torn: Any = json.loads(json.dumps(payload))
    place = torn
    for key in path[:-1]:
        place = place[key][0] if isinstance(place[key], list) else place[key]
    if gone:
        place.pop(path[-1], None)
    else:
        place[path[-1]] = junk
    return dict(torn)


HURRIED = settings(
    max_examples=max(1, NUM_INPUTS // 5),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
    derandomize="TRAINMASTER_BAD_INPUTS" not in os.environ,
)


def slash(office: Office, user: Any, text: str) -> Json:
    return {
        "token": "t",
        "team_id": TEAM,
        "channel_id": CHANNEL,
        "user_id": user,
        "command": "/train",
        "text": text,
        "api_app_id": "A0",
        "trigger_id": office.slack.trigger(),
        "response_url": office.slack.response_url(STRANGER),
    }


@pytest.mark.timeout(900)
@HURRIED
@given(user=st.one_of(STRANGERS, ON_CALL), text=TEXT)
def test_any_words_are_answered(runner: asyncio.Runner, office: Office, user: str, text: str) -> None:
    payload = slash(office, user, text)
    request = incoming.slash_request(payload)
    assert request is not None
    assume(user not in {ALICE, BOB} or not is_command(request.text, COMMANDS))
    runner.run(office.take(payload, must_answer=True))
    office.check()


@pytest.mark.timeout(900)
@HURRIED
@given(user=STRANGERS, text=TEXT, subtype=st.sampled_from([None, "bot_message", "message_changed", "message_deleted"]))
def test_any_talk_is_answered_when_it_is_meant_for_the_bot(
    runner: asyncio.Runner, office: Office, user: str, text: str, subtype: str | None
) -> None:
    event: Json = {"type": "message", "channel": "D0DEE", "channel_type": "im", "user": user, "text": text, "ts": "7.0"}
    if subtype is not None:
        inner = {**event, "subtype": None}
        event |= {"subtype": subtype, "bot_id": BOT, "message": inner, "previous_message": inner}
    payload = {
        "token": "t",
        "team_id": TEAM,
        "api_app_id": "A0",
        "type": "event_callback",
        "event": event,
        "event_id": f"Ev{office.slack.trigger()}",
        "event_time": 1,
        "authorizations": [{"team_id": TEAM, "user_id": BOT_USER, "is_bot": True}],
    }
    before = office.answers()
    runner.run(office.take(payload, must_answer=subtype is None))
    assert subtype is None or office.answers() == before
    office.check()


VALUES = st.one_of(st.text(max_size=60), WORDS, st.just("{}"), st.just('{"id": "x", "approve": true}'), st.none(), JUNK)


@pytest.mark.timeout(900)
@HURRIED
@given(user=ON_CALL, action=st.sampled_from(list(ActionId)), value=VALUES)
def test_forged_values_are_answered(
    runner: asyncio.Runner, office: Office, user: str, action: ActionId, value: Any
) -> None:
    assume(value not in {office.approval, "digits", "digits-0001"} if isinstance(value, str) else True)
    runner.run(office.take(click(office, user, action, value), must_answer=True))
    office.check()


@pytest.mark.timeout(900)
@HURRIED
@given(
    user=STRANGERS,
    action=st.one_of(st.sampled_from([*ActionId]), st.text(max_size=20)),
    path=st.sampled_from(
        [
            *(["user"], ["user", "id"], ["channel"], ["channel", "id"], ["container"], ["container", "message_ts"]),
            *(
                ["message"],
                ["actions"],
                ["actions", "value"],
                ["actions", "action_id"],
                ["trigger_id"],
                ["response_url"],
            ),
            *(["type"], ["team"], ["api_app_id"], ["token"], ["container", "channel_id"], ["actions", "type"]),
        ]
    ),
    junk=JUNK,
    gone=st.booleans(),
)
def test_torn_clicks_do_nothing(
    runner: asyncio.Runner, office: Office, user: str, action: str, path: list[str], junk: Any, gone: bool
) -> None:
    payload = torn(click(office, user, action, office.approval), path, junk, gone=gone)
    runner.run(office.take(payload, must_answer=False))
    office.check()


@pytest.mark.timeout(900)
@HURRIED
@given(
    user=st.one_of(STRANGERS, ON_CALL),
    about=st.one_of(
        st.text(max_size=60),
        st.just("[" * 20_000),
        st.fixed_dictionaries({"value": VALUES, "channel": JUNK, "ts": JUNK}).map(lambda d: json.dumps(d, default=str)),
        st.fixed_dictionaries({"value": VALUES}).map(lambda d: json.dumps({**d, "channel": CHANNEL, "ts": "1.1"})),
    ),
    reason=st.one_of(TEXT, JUNK),
    stray=st.booleans(),
    form=st.sampled_from(["reject_form", "continue_form"]),
)
def test_forged_forms_do_nothing(
    runner: asyncio.Runner, office: Office, user: str, about: str, reason: Any, stray: bool, form: str
) -> None:
    assume(office.approval not in about and "digits" not in about)
    values = {"reason": {"reason": {"type": "plain_text_input", "value": reason}}}
    view = {
        "id": "V1",
        "type": "modal",
        "callback_id": form,
        "private_metadata": about,
        "hash": "1",
        "state": reason if stray else {"values": values},
    }
    payload = {
        "type": "view_submission",
        "team": {"id": TEAM},
        "user": {"id": user},
        "api_app_id": "A0",
        "token": "t",
        "trigger_id": office.slack.trigger(),
        "view": view,
        "response_urls": [],
    }
    runner.run(office.take(payload, must_answer=False))
    office.check()


def click(office: Office, user: str, action: str, value: Any) -> Json:
    return {
        "type": "block_actions",
        "team": {"id": TEAM},
        "user": {"id": user},
        "api_app_id": "A0",
        "token": "t",
        "container": {"type": "message", "message_ts": "1.1", "channel_id": CHANNEL},
        "trigger_id": office.slack.trigger(),
        "channel": {"id": CHANNEL},
        "message": {"ts": "1.1", "text": "x"},
        "response_url": office.slack.response_url(STRANGER),
        "actions": [{"action_id": str(action), "block_id": "b", "type": "button", "value": value, "action_ts": "1.0"}],
    }
