"""People who may do nothing, against the bot as a process: guests, machines, other workspaces, shared channels.

All but the outsiders stand in ONCALL_USERS, as a list that was written by hand may have them.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from pathlib import Path
from typing import Any

import pytest

from tests.attack.living import LivingBot, trainers
from tests.attack.planting import plant_dead_run, rows
from tests.attack.scene import ANN, BOB, CYD, DEE, Scene, stage
from tests.attack.strict_slack import StrictSlack
from tests.attack.strict_web import BOT_USER, CHANNEL, TEAM, Json, Post
from trainmaster.bot.core.conversation.message import ActionId
from trainmaster.commands import COMMANDS
from trainmaster.commands.base import Needs

pytestmark = [pytest.mark.training, pytest.mark.timeout(300)]

GUEST, MACHINE, GONE, OTHER_TEAM = "U0GUEST", "U0MACHINE", "U0GONE", "T0OTHER"
ON_CALL = ",".join((ANN, BOB, CYD, GUEST, MACHINE, GONE))
PROFILES: dict[str, Json] = {
    GUEST: {"is_restricted": True, "team_id": TEAM},
    MACHINE: {"is_bot": True, "team_id": TEAM},
    GONE: {"deleted": True, "team_id": TEAM},
}
WORDS = tuple(one for command in COMMANDS if command.needs is not Needs.NOTHING for one in command.examples)
READING = tuple(one for command in COMMANDS if command.needs is Needs.NOTHING for one in command.examples)
FORMS = {ActionId.REJECT, ActionId.CONTINUE_RUN}
"""Buttons that ask for a reason first."""
PRESSED = tuple(one for one in ActionId if one is not ActionId.DETAILS)
"""All that do something; :attr:`ActionId.DETAILS` shows what stands there already."""
OF_TELLING = {
    *(
        "messages",
        "alerts",
        "alert_revisions",
        "seen",
        "bot_state",
        "pages",
        "sketches",
        "runs_seen",
        "sqlite_sequence",
    ),
    *("audit_due", "counts"),
}
"""Tables that the bot itself writes to whatever people do."""


async def test_nobody_who_may_not_act_does_anything(tmp_path: Path, material: Path, slack: StrictSlack) -> None:
    """Every command, button, form, shortcut and Home there is: those of the tables, whatever is added to them."""
    slack.people |= set(PROFILES)
    slack.profiles |= PROFILES
    async with stage(tmp_path, material, slack, ONCALL_USERS=ON_CALL) as scene:
        card = await scene.ask()
        plant_dead_run(scene.bot.runs, material, "dead0")
        alert = await slack.until(lambda: _with(slack, "dead0", "ack"), what="an alert")
        values = _values(card, alert)
        before = _decided(scene.bot)

        for user in PROFILES:
            for words in WORDS:
                answer = await scene.says(user, slack.command(user, words))
                assert "nly full members" in answer, (user, words, answer)
            for action in PRESSED:
                answer = await _pressed(scene, user, card, action, values[action])
                assert "nly full members" in answer, (user, action, answer)
            for words in READING:
                await slack.command(user, words)

        # Somebody of another workspace whose id is that of a person on call.
        for words in (*WORDS, *READING):
            answer = await scene.says(BOB, slack.command(BOB, words, team_id=OTHER_TEAM))
            assert "of workspace T0OTHER" in answer, (words, answer)
        for action in ActionId:
            answer = await _pressed(scene, BOB, card, action, values[action], team=OTHER_TEAM)
            assert "of workspace T0OTHER" in answer, (action, answer)
        assert "of workspace T0OTHER" in await scene.says(BOB, slack.send("interactive", _shortcut(slack, alert)))

        # A person of a shared channel: the event says whose they are. And machines that talk like people.
        for words in (*WORDS, *READING):
            said = _mention(words, BOB, user_team=OTHER_TEAM, source_team=OTHER_TEAM)
            await slack.send("events_api", {**said, "is_ext_shared_channel": True})
            for mark in ({"bot_id": "B0OTHER"}, {"app_id": "A0OTHER"}, {"bot_profile": {"id": "B0"}}):
                await slack.send("events_api", _mention(words, BOB, **mark))
        # A direct message of somebody who is not in the alert channel.
        for words in WORDS:
            await slack.send("events_api", _mention(words, DEE, channel="D0DEE", channel_type="im", type="message"))
        await slack.until(lambda: scene.acts("person.refused") >= len(WORDS), what="that they were refused")

        for user, team in ((GUEST, TEAM), (BOB, OTHER_TEAM)):
            opened = {"type": "app_home_opened", "user": user, "tab": "home", "channel": "D0", "event_ts": "1.1"}
            await slack.send("events_api", {**_mention("", user), "team_id": team, "event": opened})
        await slack.until(lambda: GUEST in slack.homes, what="the guest's Home")
        # The bot works on all of them before it answers this one.
        assert "Audit log" in await scene.says(ANN, slack.command(ANN, "audit"))
        await asyncio.sleep(2)
        assert BOB not in slack.homes
        assert '"type": "actions"' not in json.dumps(slack.homes[GUEST])
        assert "for you" not in json.dumps(slack.homes[GUEST]).replace("Nothing waits for you", "")

        assert scene.bot.operations() == []
        assert (scene.attempt, len(trainers(tmp_path))) == (2, 1)
        assert _decided(scene.bot) == before
        assert rows(scene.bot, "SELECT * FROM alerts WHERE acked_by IS NOT NULL") == []
        refused = {entry["actor"] for entry in scene.bot.audit() if entry["action"] == "person.refused"}
        assert {*PROFILES, BOB, DEE} <= refused
        assert {entry["action"] for entry in scene.bot.audit()} == {"person.refused", "approval.asked"}


def _values(card: Post, alert: Post) -> dict[ActionId, str]:
    """What each button would act on, were it pressed by somebody else."""
    question, fingerprint, run = card.button("approve")["value"], alert.button("ack")["value"], "digits-0001"
    on_alert = dict.fromkeys((ActionId.ACK, ActionId.SILENCE, ActionId.UNSILENCE), fingerprint)
    on_run = dict.fromkeys((ActionId.PROPOSE_ROLLBACK, ActionId.RESUME_RUN, ActionId.CONTINUE_RUN), run)
    return {**dict.fromkeys(ActionId, question), **on_alert, **on_run}


async def _pressed(scene: Scene, user: str, post: Post, action: ActionId, value: str, *, team: str = TEAM) -> str:
    """The answer to a press, through the form where there is one."""
    slack = scene.slack
    payload = slack.click_payload(user, post, action.value, value=value)
    payload["user"]["team_id"] = team
    if action not in FORMS:
        return await scene.says(user, slack.send("interactive", payload))
    opened = len(slack.views)
    await slack.send("interactive", payload)
    await slack.until(lambda: len(slack.views) > opened, what=f"the form of {action}")
    sent = slack.form_payload(user, slack.views[-1], "because")
    sent["user"]["team_id"] = team
    return await scene.says(user, slack.send("interactive", sent))


def _shortcut(slack: StrictSlack, post: Post) -> Json:
    return {
        "type": "message_action",
        "callback_id": "explain_alert",
        "team": {"id": TEAM},
        "user": {"id": BOB, "team_id": OTHER_TEAM},
        "channel": {"id": post.channel},
        "message": {"ts": post.ts, "text": post.text},
        "message_ts": post.ts,
        "trigger_id": slack.trigger(),
        "response_url": slack.response_url(BOB),
        "action_ts": f"{time.time():.6f}",
        "token": "t",
    }


def _decided(bot: LivingBot) -> dict[str, list[Any]]:
    """Every row that somebody's word or press can have made."""
    tables = {name for (name,) in rows(bot, "SELECT name FROM sqlite_master WHERE type = 'table'")} - OF_TELLING
    own = {"intents": " WHERE kind != 'storm_told'"}
    return {name: rows(bot, f"SELECT * FROM {name}{own.get(name, '')}") for name in sorted(tables)}


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
