"""Clicks that nobody should count: by the wrong people, forged, replayed, late, and all at once."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest
from aiohttp import web

from tests.attack.living import trainers
from tests.attack.scene import ANN, BOB, CYD, DEE, stage
from tests.attack.strict_slack import StrictSlack
from tests.attack.strict_web import GROUP, OTHER_CHANNEL
from trainmaster.trainer.contract import RunLayout, read_json, replace_json

pytestmark = [pytest.mark.training, pytest.mark.timeout(300)]


async def test_only_a_second_person_on_call_can_approve(tmp_path: Path, material: Path, slack: StrictSlack) -> None:
    async with stage(tmp_path, material, slack) as scene:
        card = await scene.ask()
        assert "Only people on call" in await scene.says(DEE, slack.click(DEE, card, "approve"))
        assert "somebody else must approve" in await scene.says(ANN, slack.click(ANN, card, "approve"))
        assert scene.untouched()

        genuine = card.button("approve")["value"]
        for forged in ("", "0" * len(genuine), genuine[:-1], genuine + "'--", f"operation/{genuine}", "%00", "𝟘" * 40):
            answer = await scene.says(BOB, slack.click(BOB, card, "approve", value=forged))
            assert "no such question" in answer or "another message" in answer, forged
        report = await slack.until(lambda: slack.newest("training resumed"), what="another message")
        assert "another message" in await scene.says(BOB, slack.click(BOB, report, "approve", value=genuine))
        assert scene.untouched()

        answer = await scene.says(BOB, slack.click(BOB, card, "approve"))
        assert "The rollback has begun" in answer
        assert (await scene.over())["state"] == "done"
        for user, value in ((CYD, genuine), (BOB, genuine), (DEE, genuine)):
            answer = await scene.says(user, slack.click(user, card, "approve", value=value))
            assert "changed nothing" in answer or "Only people on call" in answer
        assert len(scene.bot.operations()) == 1
        assert (scene.attempt, len(trainers(tmp_path)), scene.acts("rollback.begin")) == (3, 1, 1)


async def test_fifty_people_approve_at_once_and_one_rollback_begins(
    tmp_path: Path, material: Path, slack: StrictSlack
) -> None:
    crowd = [f"U0CROWD{number:02d}" for number in range(50)]
    slack.people |= set(crowd)
    slack.groups[GROUP] = crowd
    async with stage(tmp_path, material, slack, ONCALL_USERGROUP=GROUP) as scene:
        card = await scene.ask()
        asked_before = sum(method == "usergroups.users.list" for method, _ in slack.calls)
        clicks = await asyncio.gather(*(slack.click(user, card, "approve") for user in crowd))
        answers = [(await slack.answered(user))[0] for user in crowd]
        assert sum("The rollback has begun" in answer for answer in answers) == 1
        assert sum("your click changed nothing" in answer for answer in answers) == 49
        await asyncio.gather(*(click.acked.wait() for click in clicks))
        assert (await scene.over())["state"] == "done"
        assert len(scene.bot.operations()) == 1
        assert (scene.attempt, len(trainers(tmp_path)), scene.acts("approval.yes")) == (3, 1, 1)
        # Slack allows about 20 of these calls a minute; refused, the list would decide, and the list is empty here.
        assert sum(method == "usergroups.users.list" for method, _ in slack.calls) - asked_before <= 2


async def test_two_of_two_must_be_different_people_and_still_on_call(
    tmp_path: Path, material: Path, slack: StrictSlack
) -> None:
    slack.groups[GROUP] = [ANN, BOB, CYD]
    async with stage(tmp_path, material, slack, ONCALL_USERGROUP=GROUP, APPROVALS_REQUIRED="2") as scene:
        card = await scene.ask()
        assert "1 of 2" in await scene.says(BOB, slack.click(BOB, card, "approve"))
        assert "counted before" in await scene.says(BOB, slack.click(BOB, card, "approve"))
        slack.groups[GROUP] = [ANN, CYD, DEE]
        await asyncio.sleep(5.2)  # a look-up counts for five seconds
        assert "Only people on call" in await scene.says(BOB, slack.click(BOB, card, "approve"))
        # Bob's yes went with him: Cyd's is the first of two.
        answer = await scene.says(CYD, slack.click(CYD, card, "approve"))
        assert "Your yes is counted" in answer
        assert scene.untouched()

        slack.faults["usergroups.users.list"] = lambda: web.json_response({"ok": False, "error": "internal_error"})
        await asyncio.sleep(5.2)
        # Nobody can be looked up, and the list (ANN, BOB, CYD) decides: DEE, known from the group only, does not count.
        assert "Only people on call" in await scene.says(DEE, slack.click(DEE, card, "approve"))
        assert scene.untouched()


async def test_answered_questions_stay_answered_through_replays_and_forms(
    tmp_path: Path, material: Path, slack: StrictSlack
) -> None:
    async with stage(tmp_path, material, slack) as scene:
        card = await scene.ask()
        genuine = slack.click_payload(BOB, card, "approve")
        await slack.click(CYD, card, "reject")
        form = await slack.until(lambda: slack.views[-1:], what="the form")
        for user, reason in ((DEE, "because"), (DEE, None), (DEE, 7), (DEE, {"a": []})):
            sent = slack.form_payload(user, form[0], reason)
            assert "Only people on call" in await scene.says(user, slack.send("interactive", sent))
        assert slack.cards() == [card]

        huge = "no ``` <!channel> <@U0ANN> \u202e" + "x" * 40_000
        sent = slack.form_payload(CYD, form[0], huge)
        assert "Rejected" in await scene.says(CYD, slack.send("interactive", sent, envelope_id="e" * 32))
        await slack.until(lambda: not slack.cards(), what="a card without buttons")
        closed = slack.newest("rejected")
        assert closed is not None
        assert "<!channel>" not in closed.shown
        assert "<@U0ANN> \\u202e" not in closed.shown

        again = await scene.says(CYD, slack.send("interactive", sent, envelope_id="e" * 32))
        assert "changed nothing" in again
        assert "rejected this" in await scene.says(BOB, slack.send("interactive", genuine))
        assert scene.untouched()
        assert scene.acts("approval.rejected") == 1

        # The same command delivered twice: the question stands once.
        first = await scene.ask()
        assert "already asked" in await scene.says(ANN, slack.command(ANN, "execute rollback to epoch 1"))
        assert slack.cards() == [first]


async def test_changed_world_voids_the_approval(tmp_path: Path, material: Path, slack: StrictSlack) -> None:
    async with stage(tmp_path, material, slack) as scene:
        layout = RunLayout(scene.run)
        record = read_json(layout.run_json) or {}
        card = await scene.ask()
        state = layout.state_file(1)
        kept = state.read_bytes()
        # Another file of the same name and size, as a copy that went wrong leaves it.
        state.write_bytes(kept[:-100] + bytes(100))
        assert "has begun" in await scene.says(BOB, slack.click(BOB, card, "approve"))
        assert (await scene.over())["state"] == "voided"
        assert (scene.attempt, len(trainers(tmp_path))) == (2, 1)
        state.write_bytes(kept)

        card = await scene.ask()
        replace_json(layout.run_json, {**record, "create_time": record["create_time"] - 3600})
        said = await scene.says(BOB, slack.click(BOB, card, "approve"))
        if "has begun" in said:
            await slack.until(
                lambda: "voided" in [one["state"] for one in scene.bot.operations()][1:], what="void again"
            )
        else:  # a look at the run came before the click
            assert "This question is void: the run has changed" in said
            assert len(scene.bot.operations()) == 1
        assert (scene.attempt, len(trainers(tmp_path))) == (2, 1)
        assert scene.acts("rollback.begin") == 0


async def test_expired_question_is_answered_and_changes_nothing(
    tmp_path: Path, material: Path, slack: StrictSlack
) -> None:
    async with stage(tmp_path, material, slack, APPROVAL_TTL_S="30") as scene:
        card = await scene.ask()
        # Once the bot answers, it has the card's place on record: killed before that, it would post a second card.
        await scene.says(DEE, slack.click(DEE, card, "approve"))
        database = scene.bot.state / "trainmaster.sqlite3"
        await scene.bot.kill()
        _age(database, 31.0)
        await scene.bot.begin()
        # The click is on its way while the bot starts; the button is gone by the time that people can see it.
        assert "expired" in await scene.says(BOB, slack.click(BOB, card, "approve"))
        await slack.until(lambda: not slack.cards(), what="a card without buttons")
        assert scene.untouched()


async def test_click_in_another_channel_and_during_a_restart_counts_once(
    tmp_path: Path, material: Path, slack: StrictSlack
) -> None:
    async with stage(tmp_path, material, slack) as scene:
        card = await scene.ask()
        payload = slack.click_payload(BOB, card, "approve")
        elsewhere = {**payload, "channel": {"id": OTHER_CHANNEL}}
        elsewhere["container"] = {**payload["container"], "channel_id": OTHER_CHANNEL}
        sent = await slack.send("interactive", payload, envelope_id="f" * 32)
        await sent.acked.wait()
        await scene.bot.kill()
        await scene.bot.begin()
        # Slack was not sure that it arrived, and sends it again; and somebody forges one in another channel.
        await slack.send("interactive", payload, envelope_id="f" * 32)
        await slack.send("interactive", elsewhere)
        assert (await scene.over())["state"] == "done"
        assert len(scene.bot.operations()) == 1
        assert (scene.attempt, len(trainers(tmp_path)), scene.acts("approval.yes")) == (3, 1, 1)


async def test_slack_in_trouble_delays_a_decision_and_never_doubles_it(
    tmp_path: Path, material: Path, slack: StrictSlack
) -> None:
    async with stage(tmp_path, material, slack) as scene:
        card = await scene.ask()
        limited = iter(range(4))

        def refuse() -> web.Response | None:
            if next(limited, None) is None:
                return None
            return web.json_response({"ok": False, "error": "ratelimited"}, status=429, headers={"Retry-After": "1"})

        slack.faults |= {"chat.postMessage": refuse, "chat.update": refuse, "chat.postEphemeral": refuse}
        payload = slack.click_payload(BOB, card, "approve")
        await slack.send("interactive", payload)
        slack.drop_sockets()
        await slack.send("interactive", payload)
        assert (await scene.over())["state"] == "done"
        await slack.until(lambda: slack.newest("rolled back to epoch 1"), what="the word of it")
        await slack.answered(BOB, 1)
        assert len(scene.bot.operations()) == 1
        assert (scene.attempt, scene.acts("rollback.begin")) == (3, 1)


def _age(database: Path, by_s: float) -> None:
    """The pending questions are older than they were."""
    import sqlite3

    connection = sqlite3.connect(database)
    for name, body in connection.execute("SELECT id, body FROM approvals").fetchall():
        record = json.loads(body)
        record["created_ts"] -= by_s
        record["expires_ts"] = time.time() - 1
        connection.execute("UPDATE approvals SET body = ? WHERE id = ?", (json.dumps(record), name))
    connection.commit()
    connection.close()
