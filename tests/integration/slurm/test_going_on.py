"""AUTO_RESUME=auto: what its cluster ended for good goes on once, and what it starts again by itself is left to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.slurm.conftest import ANN, Lab, laboratory
from tests.support.slurm import Cluster, cluster, needs_slurm, until

pytestmark = [pytest.mark.slurm, pytest.mark.cluster, pytest.mark.training, needs_slurm, pytest.mark.timeout(300)]

QUIET_S = 6.0
"""A second start would have come by then: the bot looks every second and begins one second after a death."""


@asynccontextmanager
async def going_on(folder: Path, material: Path, slurm: Cluster, *options: str) -> AsyncIterator[Lab]:
    """A lab whose bot resumes by itself."""
    settings = {"AUTO_RESUME": "auto", "AUTO_RESUME_PAUSE_S": "1"}
    async with laboratory(folder, material, slurm, *options, **settings) as lab:
        yield lab
        slurm.nodes_are_up()


def resumes(lab: Lab) -> list[dict[str, Any]]:
    """The bot's own."""
    return [one for one in lab.bot.operations() if one["kind"] == "resume"]


async def goes_on_once(lab: Lab, before: str, why: str) -> None:
    """The bot has submitted the run again after job ``before`` and said why, and nobody has since."""
    await lab.reads("by itself", f"Why: {why}", timeout_s=120)
    await lab.trains(3, timeout_s=90)
    await lab.reads("digits goes on by itself", timeout_s=30)
    await asyncio.sleep(QUIET_S)
    assert lab.number != before
    assert lab.slurm.jobs() == [lab.number], lab.slurm.job(lab.number)
    assert (lab.record["attempt"], len(resumes(lab))) == (3, 1)


async def is_left_to_slurm(lab: Lab, number: str) -> None:
    """The same job trains again, and the bot did nothing."""
    await lab.reads("its job was queued again", timeout_s=90)
    await lab.starts_again(number, 3)
    await asyncio.sleep(QUIET_S)
    assert lab.slurm.jobs() == [number]
    assert (lab.number, lab.record["attempt"], resumes(lab)) == (number, 3, [])


def preempted(lab: Lab) -> None:
    """A job of a higher tier wanted the whole node, and is gone again."""
    words = ("-p", "main", "--exclusive", "-w", lab.record["job"]["node"], "-o", "/dev/null", "--wrap", "sleep 600")
    other = lab.slurm.ask("sbatch", "--parsable", *words).strip()
    until(lambda: lab.slurm.job(other)["State"] == "RUNNING", what="the preemptor", timeout_s=90)
    lab.slurm.ask("scancel", other)


async def test_job_of_a_lost_node_is_resumed_once(tmp_path: Path, material: Path, slurm: Cluster) -> None:
    async with going_on(tmp_path, material, slurm, "--no-requeue") as lab:
        number = lab.number
        slurm.do("node-down", lab.record["job"]["node"])
        await goes_on_once(lab, number, "its node was lost")


async def test_job_of_a_lost_node_that_slurm_queues_again_is_left_to_it(
    tmp_path: Path, material: Path, slurm: Cluster
) -> None:
    async with going_on(tmp_path, material, slurm) as lab:
        number = lab.number
        slurm.do("node-down", lab.record["job"]["node"])
        await is_left_to_slurm(lab, number)


async def test_preempted_job_is_resumed_once(tmp_path: Path, material: Path, slurm: Cluster) -> None:
    async with going_on(tmp_path, material, slurm, "--partition=scavenge", "--no-requeue") as lab:
        number = lab.number
        preempted(lab)
        await goes_on_once(lab, number, "its job made room for another one")
        assert lab.record["job"]["partition"] == "scavenge"


@pytest.mark.rounds
async def test_preempted_job_that_slurm_queues_again_is_left_to_it(
    tmp_path: Path, material: Path, slurm: Cluster
) -> None:
    async with going_on(tmp_path, material, slurm, "--partition=scavenge") as lab:
        number = lab.number
        preempted(lab)
        await is_left_to_slurm(lab, number)


@pytest.mark.parametrize("way", ["saves", pytest.param("deaf", marks=pytest.mark.rounds)])
async def test_job_that_reached_its_time_limit_is_resumed_once(
    tmp_path: Path, material: Path, slurm: Cluster, way: str
) -> None:
    """Whether its trainer saved when it was asked, or Slurm had to end it."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / way).touch()
    async with going_on(tmp_path, material, slurm, "--time=1") as lab:
        number = lab.number
        await goes_on_once(lab, number, "its job reached its time limit")


async def test_job_that_used_more_memory_than_it_asked_for_is_resumed_once(tmp_path: Path, material: Path) -> None:
    """Without control groups Slurm kills such a job and calls that a failure of its launch."""
    with cluster(NODES="2", EXTRA="JobAcctGatherParams=OverMemoryKill") as strict:
        async with going_on(tmp_path, material, strict, "--mem-per-cpu=300") as lab:
            number = lab.number
            lab.way("greedy", "900")
            await goes_on_once(lab, number, "it was killed from outside, by nobody known")


def begins_badly(lab: Lab, how: str) -> None:
    """The next start does ``how`` before anything of Trainmaster's runs, and no later one does."""
    wrapper, once = lab.run.parent.parent / "python", lab.run.parent / "once"
    once.touch()
    shebang, _, rest = wrapper.read_text().partition("\n")
    bad = f'case "$*" in *" resume "*) if [ -e {once} ]; then rm {once}; {how}; fi;; esac'
    wrapper.write_text(f"{shebang}\n{bad}\n{rest}")


REFUSED = "exit 1"
"""As Slurm tells a start that a node did not take: "Killing non-startable batch: Job credential revoked"."""
STOPPED_EARLY = "trap 'exit 3' TERM; while :; do sleep 0.1; done"


async def test_start_that_a_node_refused_is_submitted_once_more_by_the_resume(lab: Lab) -> None:
    await lab.says(ANN, "stop now")
    await lab.reads("is stopped")
    begins_badly(lab, REFUSED)
    await lab.says(ANN, "resume")
    await lab.reads("digits goes on", timeout_s=60)
    assert lab.slurm.jobs() == [lab.number]
    assert lab.record["attempt"] == 3
    assert lab.shown("training process died") == 0


@pytest.mark.rounds
@pytest.mark.parametrize("cut", [False, True], ids=["after a stop in order", "after a power cut"])
@pytest.mark.parametrize(
    ("how", "why"),
    [
        pytest.param(REFUSED, "its node refused to start its job", id="refused"),
        pytest.param(STOPPED_EARLY, "it was killed from outside, by nobody known", id="stopped"),
    ],
)
async def test_start_that_slurm_made_and_that_never_signed_in_is_resumed_once(
    tmp_path: Path, material: Path, slurm: Cluster, how: str, why: str, cut: bool
) -> None:
    async with going_on(tmp_path, material, slurm) as lab:
        number = lab.number
        begins_badly(lab, how)
        if cut:
            slurm.do("node-down", lab.record["job"]["node"])
        else:
            slurm.ask("scontrol", "requeue", number)
        await lab.reads("its job was queued again", timeout_s=90)
        until(lambda: slurm.job(number)["State"] == "PENDING", what="the queue")
        slurm.ask("scontrol", "update", f"JobId={number}", "StartTime=now")
        until(lambda: not (lab.run.parent / "once").exists(), what="the bad start", timeout_s=60)
        if how == STOPPED_EARLY:
            await asyncio.sleep(1)
            slurm.ask("scancel", "--signal=TERM", "--batch", number)
        await goes_on_once(lab, number, why)


async def test_start_that_a_late_signal_ended_before_it_signed_in_is_resumed_once(
    tmp_path: Path, material: Path, slurm: Cluster
) -> None:
    """The start before had stopped in order, for the requeue; its word is not taken for the end of this one."""
    async with going_on(tmp_path, material, slurm) as lab:
        number = lab.number
        lab.way("slow", "60")
        slurm.ask("scontrol", "requeue", number)
        await lab.reads("its job was queued again", "orderly way", timeout_s=60)
        until(lambda: slurm.job(number)["State"] == "PENDING", what="the queue")
        slurm.ask("scontrol", "update", f"JobId={number}", "StartTime=now")
        until(lambda: slurm.job(number)["State"] == "RUNNING", what="the next start", timeout_s=60)
        slurm.ask("scancel", "--signal=TERM", "--batch", number)
        (lab.run.parent / "slow").unlink()
        await goes_on_once(lab, number, "it was killed from outside, by nobody known")
        assert lab.shown("training stopped on request") == 0
