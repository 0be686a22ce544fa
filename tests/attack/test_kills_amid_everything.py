"""kill -9 of the bot at random moments while an alert comes, people vote, take and silence it, and a rollback runs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.attack.living import LivingBot, trainers
from tests.attack.planting import plant_dead_run, rows
from tests.attack.scene import ANN, BOB, CYD, Scene, stage
from tests.attack.strict_slack import StrictSlack
from tests.attack.strict_web import Post
from trainmaster.bot.storage.audit import AuditLog

pytestmark = [pytest.mark.training, pytest.mark.timeout(7200)]

NUM_KILLS = int(os.environ.get("TRAINMASTER_KILLS", "1"))
KILLS_A_SCENE = 5
SEED = os.environ.get("TRAINMASTER_SEED", "1")


@dataclass
class Tally:
    """What went wrong, in words, and how much was looked at."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    disagree: list[str] = field(default_factory=list)
    posted_twice: list[str] = field(default_factory=list)
    kills: int = 0
    acts: int = 0

    def __str__(self) -> str:
        return (
            f"{self.kills} kills, {self.acts} acts: lost {self.lost}, doubled {self.doubled}, "
            f"audit and database disagree {self.disagree}, messages posted twice {self.posted_twice}"
        )


async def test_nothing_is_lost_doubled_or_told_otherwise_at_whatever_moment_the_bot_is_killed(
    tmp_path: Path, material: Path
) -> None:
    chance = random.Random(f"everything {SEED}")
    tally, spent_s = Tally(), [8.0]
    for number in range(0, NUM_KILLS, KILLS_A_SCENE):
        slack = await StrictSlack.start()
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            async with stage(folder, material, slack, APPROVALS_REQUIRED="2") as scene:
                for cycle in range(min(KILLS_A_SCENE, NUM_KILLS - number)):
                    await one_cycle(scene, material, f"dead{cycle}", chance.uniform(0, min(spent_s)), spent_s, tally)
            tally.posted_twice += twice_in(slack)
            tally.disagree += [] if AuditLog(scene.bot.state / "audit.jsonl").verify().intact else ["the chain"]
        finally:
            await slack.close()
        assert slack.breaches == []
        print(tally, flush=True)
        shutil.rmtree(folder)
    assert (tally.lost, tally.doubled, tally.disagree, tally.posted_twice) == ([], [], [], []), tally


async def one_cycle(
    scene: Scene, material: Path, name: str, moment_s: float, spent_s: list[float], tally: Tally
) -> None:
    """Everything once, with one kill in it; afterwards all of it holds, once, and the audit log says so."""
    attempt, ended = scene.attempt, len(scene.bot.operations())
    began = time.monotonic()
    killing = asyncio.create_task(kill_at(scene.bot, moment_s))
    plant_dead_run(scene.bot.runs, material, name)
    rollback = Rollback(scene, ended)
    try:
        async with asyncio.TaskGroup() as people:
            people.create_task(rollback.ask_and_approve())
            people.create_task(care_for(scene, name))
        await until(lambda: len(scene.bot.operations()) > ended, "the operation")
        await until(lambda: scene.bot.operations()[-1]["state"] != "open", "the end of the operation", timeout_s=90)
        if killing.done():
            spent_s.append(max(3.0, time.monotonic() - began))
    except* (TimeoutError, AssertionError) as error:
        told = [whisper.text[:200] for whisper in scene.slack.whispers[-4:]]
        tally.lost.append(f"{name} at {moment_s:.2f} s: {error.exceptions}; {told}; {scene.bot.output()[-3000:]}")
    await killing
    tally.kills += 1
    tally.acts += 5
    where = f"{name} at {moment_s:.2f} s"
    operations = scene.bot.operations()
    if len(operations) != ended + 1:
        tally.doubled.append(f"{where}: {len(operations) - ended} operations")
    elif (
        operations[-1]["state"] != "done" or scene.attempt != attempt + 1 or len(trainers(scene.run.parent.parent)) != 1
    ):
        tally.lost.append(f"{where}: {operations[-1]['state']} {operations[-1]['problem']} attempt {scene.attempt}")
    if not await is_told(scene.slack, name):
        tally.lost.append(f"{where}: the alert")
    with contextlib.suppress(TimeoutError):
        await until(lambda: not differences(scene.bot), "agreement", timeout_s=10)
    tally.disagree += [f"{where}: {one}" for one in differences(scene.bot)]


async def kill_at(bot: LivingBot, moment_s: float) -> None:
    await asyncio.sleep(moment_s)
    await bot.kill()
    await bot.start()


class Rollback:
    """A question, put by Ann and answered by Bob and Cyd, each of whom repeats what was not carried out."""

    def __init__(self, scene: Scene, ended: int) -> None:
        self._scene = scene
        self._ended = ended

    async def ask_and_approve(self) -> None:
        slack, bot = self._scene.slack, self._scene.bot
        asked_before = len(rows(bot, "SELECT id FROM approvals"))
        await insist(
            lambda: slack.command(ANN, "execute rollback to epoch 1"),
            lambda: len(rows(bot, "SELECT id FROM approvals")) > asked_before,
            "the question",
        )
        voted = "SELECT user FROM votes WHERE approval = ? AND user = ?"
        for user in (BOB, CYD):
            card = await slack.until(self._card, what="the card", timeout_s=60)
            value = card.button("approve")["value"]
            payload = slack.click_payload(user, card, "approve")

            async def click(payload: Any = payload) -> Any:
                return await slack.send("interactive", payload)

            await insist(click, lambda value=value, user=user: bool(rows(bot, voted, value, user)), f"{user}'s vote")

    def _card(self) -> Post | None:
        pending = {str(row[0]) for row in rows(self._scene.bot, "SELECT id FROM approvals WHERE state = 'pending'")}
        shown = (card for card in self._scene.slack.cards() if card.button("approve")["value"] in pending)
        return next(shown, None)


async def care_for(scene: Scene, name: str) -> None:
    """The alert of the dead run is taken by Ann, and the run silenced by Bob."""
    slack, bot = scene.slack, scene.bot

    def alert() -> Post | None:
        found = (post for post in slack.posts.values() if name in post.text)
        return next((post for post in found if any(one["action_id"] == "ack" for one in post.buttons())), None)

    post = await slack.until(alert, what=f"the alert of {name}", timeout_s=60)
    payload = slack.click_payload(ANN, post, "ack")
    acked = "SELECT 1 FROM alerts WHERE run = ? AND acked_by = ?"
    run = f"{name}-0001"
    await insist(lambda: slack.send("interactive", payload), lambda: bool(rows(bot, acked, run, ANN)), "the ack")
    silenced = "SELECT 1 FROM silences WHERE run = ?"
    await insist(
        lambda: slack.command(BOB, f"silence 2h for {name}"), lambda: bool(rows(bot, silenced, run)), "the silence"
    )


async def insist(act: Callable[[], Awaitable[Any]], done: Callable[[], bool], what: str) -> None:
    """A person who sees that it was not carried out, because Slack says so or nothing comes, does it again."""
    for _ in range(8):
        # A busy machine may take half a minute to start the bot: nothing listens, which Slack says, too.
        with contextlib.suppress(ConnectionError, RuntimeError, AssertionError):
            envelope = await act()
            with contextlib.suppress(TimeoutError):
                await until(done, what, timeout_s=6)
                return
            if envelope.acked.is_set():
                with contextlib.suppress(TimeoutError):
                    await until(done, what, timeout_s=6)
                    return
        if done():
            return
    raise TimeoutError(what)


async def until(holds: Callable[[], bool], what: str, *, timeout_s: float = 60.0) -> None:
    ends = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > ends:
            raise TimeoutError(what)
        await asyncio.sleep(0.05)


async def is_told(slack: StrictSlack, name: str) -> bool:
    """Whether the channel shows the alert of the run's death."""

    def standing() -> bool:
        return any(name in post.text and "ack" in str(post.versions) for post in slack.posts.values())

    with contextlib.suppress(AssertionError):
        await slack.until(standing, timeout_s=20)
    return standing()


def twice_in(slack: StrictSlack) -> list[str]:
    """Keys of messages that stand in the channel more than once; answers all have the same."""
    keys = Counter((post.metadata.get("event_payload") or {}).get("key") for post in slack.posts.values())
    return [str(key) for key, count in keys.items() if count > 1 and key not in {None, "answer"}]


def differences(bot: LivingBot) -> list[str]:
    """Where the audit log and the database tell different things."""
    audit = bot.audit()
    told: dict[str, Counter[Any]] = {}

    def tell(kind: str, about: Any, number: int = 1) -> None:
        told.setdefault(kind, Counter())[about] += number

    for entry in audit:
        detail = entry["detail"]
        if entry["action"] == "approval.yes":
            tell("votes", (detail["approval"], entry["actor"]))
        elif entry["action"] == "approval.not_counted":
            tell("votes", (detail["approval"], entry["actor"]), -1)
        elif entry["action"] == "approval.asked":
            tell("questions", detail["approval"])
        elif entry["action"] in {"rollback.begin", "rollback.end"}:
            tell(entry["action"], detail["operation"])
            if entry["action"].endswith("end"):
                tell("results", (detail["operation"], detail["result"]))
        elif entry["action"] == "alert.silenced":
            tell("silences", (detail.get("run", entry["subject"]), entry["actor"]))
        elif entry["action"] == "alert.acked" and detail["outcome"] == "done":
            tell("acks", (detail.get("run", entry["subject"]), entry["actor"]))
    closed = [(one["id"], one["state"]) for one in bot.operations() if one["state"] != "open"]
    kept = {
        "votes": Counter(tuple(row) for row in rows(bot, "SELECT approval, user FROM votes")),
        "questions": Counter(row[0] for row in rows(bot, "SELECT id FROM approvals")),
        "silences": Counter(tuple(row) for row in rows(bot, "SELECT run, made_by FROM silences")),
        "rollback.begin": Counter(name for name, state in closed if state != "voided"),
        "rollback.end": Counter(name for name, _ in closed),
        "results": Counter(closed),
    }
    found = [
        f"{kind}: {+told.get(kind, Counter())} but {kept[kind]}"
        for kind in kept
        if +told.get(kind, Counter()) != kept[kind]
    ]
    acked = {tuple(row) for row in rows(bot, "SELECT run, acked_by FROM alerts WHERE acked_by IS NOT NULL")}
    if acked != set(told.get("acks", ())):
        found.append(f"acks: {told.get('acks')} but {acked}")
    return found
