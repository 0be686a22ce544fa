"""What the jobs of a hundred runs cost the bot."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from tests.integration.slurm.test_rounds import noted
from tests.support.slurm import Cluster, needs_slurm
from trainmaster.bot.core.run.job import JobIdentity
from trainmaster.bot.drivers.slurm.client import SlurmClient
from trainmaster.bot.drivers.slurm.driver import SlurmDriver

pytestmark = [pytest.mark.slurm, pytest.mark.cluster, needs_slurm, pytest.mark.timeout(300)]

MAX_LOOK_S = 0.050
"""Of processor, for a look at the jobs of a hundred runs."""


def processor_s() -> float:
    """Of this process and of the children that it waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in usages)


class CountingClient(SlurmClient):
    """Counts the looks."""

    looks = 0

    def queue(self):  # type: ignore[no-untyped-def]
        self.looks += 1
        return super().queue()


@pytest.mark.core
def test_hundred_jobs_cost_one_look(slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CONF", slurm.environ["SLURM_CONF"])
    numbers = [slurm.ask("sbatch", "--parsable", "-H", "-o", "/dev/null", "--wrap", "true").strip() for _ in range(100)]
    try:
        client = CountingClient()
        driver = SlurmDriver(tmp_path, client=client, max_age_s=60)
        before_s = processor_s()
        facts = [driver.inspect(JobIdentity(id=number)) for number in numbers]
        spent_s = processor_s() - before_s
        assert {fact.status.value for fact in facts} == {"pending"}
        assert client.looks == 1
        noted("look at 100 jobs", processor_s=spent_s)
        assert spent_s <= MAX_LOOK_S, f"{1e3 * spent_s:.1f} ms"
    finally:
        slurm.clear()
