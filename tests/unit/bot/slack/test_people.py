"""Who somebody is, from what Slack tells."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from trainmaster.bot.core.conversation.standing import Standing
from trainmaster.bot.slack.incoming import mention_request, message_talk, press, slash_request
from trainmaster.bot.slack.people import SlackPeople, standing_of, zone_of


@pytest.mark.parametrize(
    ("user", "standing"),
    [
        ({"id": "U1", "team_id": "T1"}, Standing.MEMBER),
        ({"id": "U1"}, Standing.MEMBER),
        ({"is_restricted": True}, Standing.GUEST),
        ({"is_ultra_restricted": True}, Standing.GUEST),
        ({"team_id": "T2"}, Standing.FOREIGN),
        ({"is_stranger": True}, Standing.FOREIGN),
        ({"is_bot": True}, Standing.BOT),
        ({"id": "USLACKBOT", "is_bot": False, "team_id": "T1"}, Standing.BOT),
        ({"deleted": True}, Standing.GONE),
    ],
    ids=str,
)
def test_standing_is_read_from_the_user_object(user: dict[str, Any], standing: Standing) -> None:
    assert standing_of(user, "T1") is standing


@pytest.mark.parametrize(
    ("user", "in_june_h", "in_december_h"),
    [
        pytest.param({"tz": "Europe/Berlin", "tz_offset": 7200}, 2, 1, id="by its name"),
        pytest.param({"tz": "Europe/Berlin"}, 2, 1, id="the name alone"),
        pytest.param({"tz_offset": -18000}, -5, -5, id="the offset alone"),
        pytest.param({"tz": "Europe/Berlin", "tz_offset": 10800}, 3, 3, id="Slack knows newer rules"),
        pytest.param({"tz": "Mars/Olympus", "tz_offset": 3600}, 1, 1, id="no such name"),
        pytest.param({"tz": "../../etc/passwd", "tz_offset": 3600}, 1, 1, id="a path"),
        pytest.param({"tz": "Europe", "tz_offset": 3600}, 1, 1, id="a folder"),
        pytest.param({"tz": 5, "tz_offset": 10**9}, 0, 0, id="nonsense"),
        pytest.param({}, 0, 0, id="nothing"),
    ],
)
def test_a_clock_is_read_from_the_user_object_with_its_summer_time(
    user: dict[str, Any], in_june_h: int, in_december_h: int
) -> None:
    june, december = (datetime(2026, month, 1, tzinfo=UTC) for month in (6, 12))
    zone = zone_of(user, june.timestamp())
    assert june.astimezone(zone).utcoffset() == timedelta(hours=in_june_h)
    assert december.astimezone(zone).utcoffset() == timedelta(hours=in_december_h)


@pytest.mark.parametrize("key", ["user_team", "source_team", "team"])
def test_words_carry_the_workspace_that_they_come_from(key: str) -> None:
    event = {"type": "app_mention", "user": "U1", "channel": "C1", "text": "<@UBOT> stop now", "ts": "5.0", key: "T2"}
    found = mention_request({"event": event}, "UBOT", "T1")
    assert found is not None
    assert found.foreign == "T2"
    own = mention_request({"event": {**event, key: "T1"}}, "UBOT", "T1")
    assert own is not None
    assert own.foreign == ""


def test_words_whose_event_tells_no_workspace_are_of_the_one_that_they_came_from() -> None:
    event = {"type": "app_mention", "user": "U1", "channel": "C1", "text": "<@UBOT> stop now", "ts": "5.0"}
    for more, body_team, foreign in (
        ({}, "T2", "T2"),
        ({}, "T1", ""),
        ({"team": "T1"}, "T2", ""),
        ({"user_profile": {"team": "T2"}}, "T1", "T2"),
    ):
        found = mention_request({"team_id": body_team, "event": {**event, **more}}, "UBOT", "T1")
        assert found is not None
        assert found.foreign == foreign


def test_a_direct_message_of_several_people_is_one_however_it_was_said() -> None:
    event = {"user": "U1", "channel": "G1", "text": "<@UBOT> plan", "ts": "5.0", "channel_type": "mpim"}
    typed = {"user_id": "U1", "channel_id": "C1", "text": "plan", "channel_name": "mpdm-ann--bob-1"}
    for found in (mention_request({"event": event}, "UBOT"), slash_request(typed)):
        assert found is not None
        assert found.direct
    body = {
        "user": {"id": "U1"},
        "channel": {"id": "C1", "name": "mpdm-ann--bob-1"},
        "container": {"message_ts": "5.0"},
        "actions": [{"action_id": "propose_rollback", "value": "a1"}],
    }
    clicked = press(body)
    assert clicked is not None
    assert clicked.direct


@pytest.mark.parametrize(
    ("error", "standing"),
    [
        ("user_not_found", Standing.NOBODY),
        ("user_not_visible", Standing.NOBODY),
        ("internal_error", Standing.UNKNOWN),
        ("missing_scope", Standing.UNKNOWN),
    ],
)
async def test_whom_the_workspace_does_not_know_is_nobody(error: str, standing: Standing) -> None:
    class Refusing:
        async def users_info(self, *, user: str) -> None:
            raise SlackApiError("no", {"ok": False, "error": error})

    people = SlackPeople(cast("AsyncWebClient", Refusing()), lambda: "C1")
    assert await people.standing("U1") is standing
    assert standing.acts is (standing is Standing.UNKNOWN)


def test_commands_and_clicks_carry_the_workspace_that_they_come_from() -> None:
    said = slash_request({"user_id": "U1", "channel_id": "C1", "text": "stop now", "team_id": "T2"}, "T1")
    assert said is not None
    assert said.foreign == "T2"
    body = {
        "user": {"id": "U1", "team_id": "T2"},
        "team": {"id": "T1"},
        "channel": {"id": "C1"},
        "container": {"message_ts": "5.0"},
        "actions": [{"action_id": "approve", "value": "a1"}],
    }
    clicked = press(body, "T1")
    assert clicked is not None
    assert clicked.foreign == "T2"


@pytest.mark.parametrize("mark", [{"bot_id": "B1"}, {"app_id": "A1"}, {"bot_profile": {"id": "B1"}}], ids=str)
def test_words_of_a_bot_are_not_heard(mark: dict[str, Any]) -> None:
    event = {"user": "U1", "channel": "D1", "channel_type": "im", "text": "stop now", "ts": "5.0", **mark}
    assert message_talk({"event": event}, "UBOT", "T1") is None
    assert mention_request({"event": event}, "UBOT", "T1") is None
