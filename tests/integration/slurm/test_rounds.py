"""The long series: what requeues, preemptions, power cuts, and kills at random moments leave of a run.

``make bench ARGS=slurm`` runs them, 30 of each and 100 kills; ``TRAINMASTER_SLURM_ROUNDS``, ``TRAINMASTER_SLURM_KILLS``
and ``TRAINMASTER_SEED`` say otherwise. With ``TRAINMASTER_FIGURES`` each round that held adds a line to that file.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.attack.living import Inventory
from tests.integration.slurm.conftest import ANN, BOB, Lab, laboratory
from tests.support.slurm import Cluster, needs_slurm, until
from trainmaster.trainer.contract import RunLayout

pytestmark = [
    *(pytest.mark.slurm, pytest.mark.cluster, pytest.mark.rounds, pytest.mark.training, needs_slurm),
    pytest.mark.timeout(4 * 3600),
]

ROUNDS = int(os.environ.get("TRAINMASTER_SLURM_ROUNDS", "1"))
KILLS = int(os.environ.get("TRAINMASTER_SLURM_KILLS", "6"))
SEED = os.environ.get("TRAINMASTER_SEED", "1")
TICK_S = 1.0
"""CHECK_INTERVAL_S of the bot in these tests."""
BUSY_S = 6.0
"""What reading, a kept look at the queue and Slack may add on a loaded machine."""
GIVEN_UP_S = 240.0
"""A node that comes back within seconds of its job's start is found out when it registers anew, after two minutes."""
LOST_S = 420.0
"""A job that started while its controller was killed is queued again, and may wait nearly four minutes."""


_ENDING = {"RUNNING", "COMPLETING"}


def noted(name: str, **figures: float) -> None:
    """The round is on record, if anybody keeps one."""
    if path := os.environ.get("TRAINMASTER_FIGURES"):
        with Path(path).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"name": name, **figures}) + "\n")


def queued_again(lab: Lab, number: str) -> bool:
    """Whether Slurm sees in time what has happened, and lets the job wait for its next start."""
    end_s = time.monotonic() + GIVEN_UP_S
    while (state := lab.slurm.job(number)["State"]) in _ENDING and time.monotonic() < end_s:
        time.sleep(0.2)
    return state in {"PENDING", "REQUEUE_HOLD"}


def requeued(lab: Lab) -> None:
    lab.slurm.ask("scontrol", "requeue", lab.number)


def preempted(lab: Lab) -> None:
    """A job of a higher tier wants the whole node."""
    node = lab.record["job"]["node"]
    words = ("--parsable", "-p", "main", "--exclusive", "-w", node, "-o", "/dev/null", "--wrap", "sleep 600")
    other = lab.slurm.ask("sbatch", *words).strip()
    until(lambda: lab.slurm.job(other)["State"] == "RUNNING", what="the preemptor", timeout_s=90)
    lab.slurm.ask("scancel", other)


def power_cut(lab: Lab) -> None:
    lab.slurm.do("node-down", lab.record["job"]["node"])


def power_flicker(lab: Lab) -> None:
    """The node is back before anybody has missed it."""
    node = lab.record["job"]["node"]
    lab.slurm.do("node-down", node)
    lab.slurm.do("node-up", node)


@pytest.mark.parametrize(
    ("strike", "partition", "wait_s"),
    [
        pytest.param(requeued, "main", 2, id="requeue"),
        pytest.param(preempted, "scavenge", 2, id="preemption"),
        pytest.param(power_cut, "main", 2, id="power-cut"),
        pytest.param(power_flicker, "main", 20, id="power-flicker"),
    ],
)
async def test_no_epoch_and_no_run_is_lost(
    tmp_path: Path,
    material: Path,
    slurm: Cluster,
    strike: Callable[[Lab], None],
    partition: str,
    wait_s: float,
) -> None:
    chance = random.Random(f"{strike.__name__} {SEED}")
    async with laboratory(tmp_path, material, slurm, f"--partition={partition}") as lab:
        run, number = lab.record["run"], lab.number
        newest = max(int(path.stem[-4:]) for path in RunLayout(lab.run).states.glob("epoch[0-9][0-9][0-9][0-9].pt"))
        for count in range(1, ROUNDS + 1):
            before = Inventory.of(lab.run)
            await asyncio.sleep(chance.uniform(0, wait_s))
            began_s = time.monotonic()
            strike(lab)
            assert queued_again(lab, number), (lab.slurm.job(number), lab.record["job"], lab.slurm.log()[-3000:])
            word_s = time.monotonic()
            await lab.reads("its job was queued again", f"Restarts: {count}", timeout_s=60)
            late_s = time.monotonic() - word_s
            assert late_s <= TICK_S + BUSY_S, late_s
            if (
                lab.slurm.job(number)["State"] == "REQUEUE_HOLD"
            ):  # Slurm's own limit: five launches in a row that failed
                await lab.reads("its job never starts by itself: JobHoldMaxRequeue")
                lab.slurm.ask("scontrol", "release", number)
            await lab.starts_again(number, 2 + count)  # elsewhere, while a node that was cut is down
            slurm.nodes_are_up()
            assert (lab.record["run"], lab.number) == (run, number)
            assert lab.record["from_epoch"] in {None, newest + 1}
            assert before.lost_in(Inventory.of(lab.run)) == []
            noted(strike.__name__, late_s=late_s, slurm_s=word_s - began_s)
        assert not RunLayout(lab.run).archive.exists()


async def rolled_back(lab: Lab, strike: Callable[[], Awaitable[None]]) -> None:
    """A rollback that ``strike`` meets at its moment ends well."""
    await lab.slack.command(ANN, "execute rollback to epoch 1")
    card = await lab.reads("Roll back", "submitted again with")
    await lab.slack.click(BOB, card, "approve")
    await strike()
    if not lab.bot.operations():  # killed before the click was on record, which Slack told Bob
        (again,) = await lab.slack.until(lab.slack.cards, what="the card")
        await lab.slack.click(BOB, again, "approve")
    await lab.reads("rolled back to epoch 1", timeout_s=LOST_S)
    assert lab.record["from_epoch"] in {None, 2}  # None: its job was lost while it trained, and submitted once more


async def stopped_and_resumed(lab: Lab, strike: Callable[[], Awaitable[None]]) -> None:
    """A stop, and then a resume that ``strike`` meets at its moment."""
    await lab.says(ANN, "stop now")
    await lab.reads("is stopped")
    await lab.slack.command(ANN, "resume")
    await strike()
    while not [one for one in lab.bot.operations() if one["kind"] == "resume"]:
        await lab.says(ANN, "resume")  # refused in words until the controller answers
        await asyncio.sleep(1)
    await lab.reads("digits goes on", timeout_s=LOST_S)


Act = Callable[[Lab, Callable[[], Awaitable[None]]], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Kill:
    """Who is killed, when after the last click, and for how long the controller is then away."""

    victim: str
    moment_s: float
    silence_s: float

    async def strike(self, lab: Lab) -> float:
        """It is done, and whoever was killed works again; when, by a clock that nobody sets."""
        await asyncio.sleep(self.moment_s)
        if self.victim != "controller":
            await lab.bot.kill()
        if self.victim != "bot":
            lab.slurm.do("ctl-down", "KILL")
            await asyncio.sleep(self.silence_s)
        if self.victim != "controller":
            await lab.bot.start()
        if self.victim != "bot":
            lab.slurm.do("ctl-up")
        return time.monotonic()


async def survived(folder: Path, material: Path, slurm: Cluster, act: Act, kill: Kill) -> float:
    """``act`` ended well all the same: one trainer, and nothing lost. Seconds from the kill until the bot said so."""
    async with laboratory(folder, material, slurm) as lab:
        run, before = lab.record["run"], Inventory.of(lab.run)
        struck_s = 0.0

        async def strike() -> None:
            nonlocal struck_s
            struck_s = await kill.strike(lab)

        await act(lab, strike)
        told_s = time.monotonic() - struck_s
        assert slurm.jobs() == [lab.number]
        assert lab.record["run"] == run
        assert before.lost_in(Inventory.of(lab.run)) == []
        return told_s


@pytest.mark.parametrize("act", [rolled_back, stopped_and_resumed])
@pytest.mark.parametrize("victim", ["bot", "controller", "both"])
async def test_kill_at_a_random_moment_leaves_one_trainer(
    tmp_path: Path, material: Path, slurm: Cluster, victim: str, act: Act
) -> None:
    """Every kill is tried, whatever became of the one before."""
    chance = random.Random(f"{victim} {act.__name__} {SEED}")
    name = f"kill of the {victim}, {act.__name__}"
    lost = []
    for count in range(max(1, KILLS // 6)):
        folder = tmp_path / str(count)
        folder.mkdir()
        kill = Kill(victim=victim, moment_s=chance.uniform(0, 8), silence_s=chance.uniform(0, 3))
        try:
            noted(name, told_s=await survived(folder, material, slurm, act, kill))
        except (AssertionError, TimeoutError) as error:
            lost.append(f"{kill}: {error}"[:2000])
            slurm.nodes_are_up()
    assert lost == []
