"""People who may do nothing, against the bot as a process: guests, machines, other workspaces, shared channels.

All but the outsiders stand in ONCALL_USERS, as a list that was written by hand may have them.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from pathlib import Path
from typing import Any

import pytest

from tests.attack.living import trainers
from tests.attack.planting import plant_dead_run, rows
from tests.attack.scene import ANN, BOB, CYD, DEE, stage
from tests.attack.strict_slack import StrictSlack
from tests.attack.strict_web import BOT_USER, CHANNEL, TEAM, Json, Post

pytestmark = [pytest.mark.training, pytest.mark.timeout(300)]

GUEST, MACHINE, GONE, OTHER_TEAM = "U0GUEST", "U0MACHINE", "U0GONE", "T0OTHER"
ON_CALL = ",".join((ANN, BOB, CYD, GUEST, MACHINE, GONE))
PROFILES: dict[str, Json] = {
    GUEST: {"is_restricted": True, "team_id": TEAM},
    MACHINE: {"is_bot": True, "team_id": TEAM},
    GONE: {"deleted": True, "team_id": TEAM},
}
WORDS = (
    "stop now",
    "stop after epoch",
    "resume",
    "continue because I say so",
    "ack",
    "silence 7d for dead0",
    "unsilence 1",
    "execute rollback to epoch 1",
    "bring back after1",
)
BUTTONS = ("approve", "ack", "silence")


async def test_nobody_who_may_not_act_does_anything(tmp_path: Path, material: Path, slack: StrictSlack) -> None:
    slack.people |= set(PROFILES)
    slack.profiles |= PROFILES
    async with stage(tmp_path, material, slack, ONCALL_USERS=ON_CALL) as scene:
        card = await scene.ask()
        plant_dead_run(scene.bot.runs, material, "dead0")
        alert = await slack.until(lambda: _with(slack, "dead0", "ack"), what="an alert")

        for user in PROFILES:
            for words in WORDS:
                answer = await scene.says(user, slack.command(user, words))
                assert "nly full members" in answer, (user, words, answer)
            for button in BUTTONS:
                answer = await scene.says(user, slack.click(user, card if button == "approve" else alert, button))
                assert "nly full members" in answer, (user, button, answer)

        # Somebody of another workspace whose id is that of a person on call.
        for words in WORDS:
            answer = await scene.says(BOB, slack.command(BOB, words, team_id=OTHER_TEAM))
            assert "of workspace T0OTHER" in answer, (words, answer)
        for button in BUTTONS:
            payload = slack.click_payload(BOB, card if button == "approve" else alert, button)
            payload["user"]["team_id"] = OTHER_TEAM
            answer = await scene.says(BOB, slack.send("interactive", payload))
            assert "of workspace T0OTHER" in answer, (button, answer)

        # A person of a shared channel: the event says whose they are. And machines that talk like people.
        for words in WORDS:
            said = _mention(words, BOB, user_team=OTHER_TEAM, source_team=OTHER_TEAM)
            await slack.send("events_api", {**said, "is_ext_shared_channel": True})
            for mark in ({"bot_id": "B0OTHER"}, {"app_id": "A0OTHER"}, {"bot_profile": {"id": "B0"}}):
                await slack.send("events_api", _mention(words, BOB, **mark))
            # A direct message of somebody who is not in the alert channel.
            await slack.send("events_api", _mention(words, DEE, channel="D0DEE", channel_type="im", type="message"))
        await slack.until(lambda: scene.acts("person.refused") >= 9, what="that they were refused")
        # The bot works on all of them before it answers this one.
        assert "Audit log" in await scene.says(ANN, slack.command(ANN, "audit"))
        await asyncio.sleep(2)

        assert scene.bot.operations() == []
        assert (scene.attempt, len(trainers(tmp_path))) == (2, 1)
        assert rows(scene.bot, "SELECT * FROM votes") == []
        assert rows(scene.bot, "SELECT * FROM silences") == []
        assert rows(scene.bot, "SELECT * FROM intents WHERE kind != 'storm_told'") == []
        assert rows(scene.bot, "SELECT * FROM alerts WHERE acked_by IS NOT NULL") == []
        assert len(rows(scene.bot, "SELECT * FROM approvals")) == 1
        refused = {entry["actor"] for entry in scene.bot.audit() if entry["action"] == "person.refused"}
        assert {*PROFILES, BOB, DEE} <= refused
        assert {entry["action"] for entry in scene.bot.audit()} == {"person.refused", "approval.asked"}


async def test_what_comes_minutes_late_asks_back_and_status_answers(
    tmp_path: Path, material: Path, slack: StrictSlack
) -> None:
    async with stage(tmp_path, material, slack) as scene:
        card = await scene.ask()
        late = f"{time.time() - 300:.6f}"
        answer = await scene.says(BOB, slack.click(BOB, card, "approve", action_ts=late))
        assert "reached me only now" in answer
        await slack.send("events_api", _mention("stop now", BOB, ts=late))
        await slack.send("events_api", _mention("status", BOB, ts=late))
        await slack.until(lambda: slack.newest("Last clean checkpoint", "Clipped gradients"), what="the status")
        assert scene.untouched()
        assert "The rollback has begun" in await scene.says(BOB, slack.click(BOB, card, "approve"))
        assert (await scene.over())["state"] == "done"


def _with(slack: StrictSlack, name: str, action: str) -> Post | None:
    found = (post for post in slack.posts.values() if name in post.text)
    return next((post for post in found if any(one["action_id"] == action for one in post.buttons())), None)


def _mention(words: str, user: str, **more: Any) -> Json:
    event = {
        "type": "app_mention",
        "user": user,
        "text": f"<@{BOT_USER}> {words}",
        "ts": f"{time.time():.6f}",
        "channel": CHANNEL,
        "channel_type": "channel",
        "team": TEAM,
        **more,
    }
    return {
        "type": "event_callback",
        "team_id": TEAM,
        "api_app_id": "A0",
        "event_id": "Ev" + secrets.token_hex(6),
        "event_time": int(time.time()),
        "authorizations": [{"team_id": TEAM, "user_id": BOT_USER, "is_bot": True}],
        "event": event,
    }
