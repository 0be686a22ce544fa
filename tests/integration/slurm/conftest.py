"""A real Slurm, a real bot process outside its nodes, a Slack that refuses what Slack refuses, and a run."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.attack.living import LivingBot, light_run, trained
from tests.attack.material import make_paced_material
from tests.attack.strict_slack import StrictSlack
from tests.attack.strict_web import Post
from tests.support.made_once import made_once
from tests.support.slurm import Cluster, cluster, until
from trainmaster.trainer.contract import MODULE_ARGV, RunLayout, read_json
from trainmaster.trainer.jobs.script import batch_script, sbatch_words

ANN, BOB = "U0ANN", "U0BOB"


@pytest.fixture(scope="module")
def slurm() -> Iterator[Cluster]:
    """A cluster of two nodes that gives up a silent one soon."""
    with cluster(NODES="2", GRACE="3") as made:
        yield made


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real run that was stopped, made once."""
    return made_once(tmp_path_factory, "material", make_paced_material)


@dataclass(kw_only=True)
class Lab:
    """A run of the light trainer as a job, in its third epoch, and a bot that watches it."""

    slurm: Cluster
    slack: StrictSlack
    bot: LivingBot
    run: Path

    @property
    def record(self) -> dict[str, Any]:
        return read_json(RunLayout(self.run).run_json) or {}

    @property
    def number(self) -> str:
        """Of the job that the record names."""
        return str(self.record["job"]["id"])

    async def trains(self, attempt: int, timeout_s: float = 60.0) -> None:
        try:
            await trained(self.run, 1, 3, attempt=attempt, timeout_s=timeout_s)
        except TimeoutError:
            log = self.run.parent.parent / "job.log"
            said = log.read_text()[-600:] if log.exists() else ""
            seen = self.slurm.ask("squeue", "-t", "all"), self.record.get("attempt"), said
            raise AssertionError(f"attempt {attempt} does not train: {seen}") from None

    async def says(self, user: str, words: str) -> str:
        """What ``user`` is told: the newest answer, at least one."""
        before = len(self.slack.told(user))
        await self.slack.command(user, words)
        return (await self.slack.answered(user, before + 1))[-1]

    @contextlib.asynccontextmanager
    async def resumed_without_a_partition(self) -> AsyncIterator[str]:
        """The number of the job that waits while no partition is open."""
        await self.says(ANN, "stop now")
        await self.reads("is stopped")
        self.slurm.ask("scontrol", "update", "PartitionName=main", "State=DOWN")
        try:
            await self.says(ANN, "resume")
            await self.reads("waits in the queue, however long: PartitionDown", timeout_s=60)
            (waiting,) = self.slurm.jobs()
            yield waiting
        finally:
            self.slurm.ask("scontrol", "update", "PartitionName=main", "State=UP")

    async def status(self, *words: str) -> Post:
        """The newest answer to ``/train status`` that shows all ``words``."""
        await self.slack.command(ANN, "status")
        return await self.reads("Runtime: ", *words)

    async def reads(self, *words: str, timeout_s: float = 30.0) -> Post:
        """The newest post of the channel that shows all ``words``."""

        def found() -> Post | None:
            posts = [one for one in self.slack.posts.values() if all(word in one.shown for word in words)]
            return posts[-1] if posts else None

        return await self.slack.until(found, what=f"a post with {words}", timeout_s=timeout_s)

    async def starts_again(self, number: str, attempt: int) -> None:
        """The requeued job need not wait its two minutes; its trainer trains as that attempt. One that was held and
        released keeps the state of before, with another reason."""
        waits = {"PENDING", "REQUEUE_HOLD"}
        until(lambda: self.slurm.job(number)["State"] in waits, what="the queue", timeout_s=60)
        self.slurm.ask("scontrol", "update", f"JobId={number}", "StartTime=now")
        await self.trains(attempt)

    def way(self, name: str, text: str = "") -> None:
        """The trainer is told how to behave; see :mod:`tests.attack.light_trainer`."""
        (self.run.parent / name).write_text(text)

    def shown(self, *words: str) -> int:
        """Posts that show all ``words``."""
        return sum(all(word in one.shown for word in words) for one in self.slack.posts.values())

    def submit(self, *options: str, key: str = "first") -> str:
        """The run is a job, as ``trainmaster sbatch -- resume`` submits one; its number."""
        folder = self.run.parent.parent
        argv = (str(folder / "python"), *MODULE_ARGV, "resume", str(self.run), "again=auto")
        given = ("--mem-per-cpu=100", *options)
        run = str(self.record["run"])
        script = folder / "job.sh"
        script.write_text(
            batch_script(argv, cwd=str(folder), key=key, run=run, options=given, env={"PYTHONPATH": str(_root())})
        )
        words = sbatch_words(run, key, given, margin_s=20, log=str(folder / "job.log"))
        return self.slurm.ask("sbatch", "--parsable", *words, str(script)).strip()


def _root() -> Path:
    return Path(__file__).resolve().parents[3]


@contextlib.asynccontextmanager
async def laboratory(
    folder: Path, material: Path, slurm: Cluster, *options: str, **settings: str
) -> AsyncIterator[Lab]:
    """A lab whose bot listens and whose run trains; at the end nothing is left. ``settings`` are the bot's."""
    slack = await StrictSlack.start()
    settings = {"HOLD_WARNING_S": "0", "RESOLVE_HOLD_S": "0", "STOP_GRACE_S": "10", **settings}
    bot = LivingBot(folder, slack, **slurm.environ, **settings)
    lab = Lab(slurm=slurm, slack=slack, bot=bot, run=light_run(folder, material))
    try:
        lab.submit(*options)
        await lab.trains(2)
        await bot.start()
        yield lab
    finally:
        await bot.stop()
        slurm.clear()
        await slack.close()
    assert slack.breaches == []


@pytest.fixture
async def lab(tmp_path: Path, material: Path, slurm: Cluster) -> AsyncIterator[Lab]:
    """See :func:`laboratory`."""
    async with laboratory(tmp_path, material, slurm) as made:
        yield made
        slurm.nodes_are_up()
