"""What people submit without Trainmaster: found by its number, and ended alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.slurm import Cluster, needs_slurm, until
from trainmaster.bot.core.run.job import JobIdentity
from trainmaster.bot.core.run.launch_spec import Force
from trainmaster.bot.drivers.slurm.driver import SlurmDriver

pytestmark = [pytest.mark.slurm, pytest.mark.cluster, needs_slurm, pytest.mark.timeout(120)]


@pytest.mark.parametrize("force", list(Force))
def test_stop_of_an_array_s_last_task_leaves_the_others_alone(
    tmp_path: Path, slurm: Cluster, monkeypatch: pytest.MonkeyPatch, force: Force
) -> None:
    """That task's own number is the array's, by which scancel ends them all."""
    monkeypatch.setenv("SLURM_CONF", slurm.environ["SLURM_CONF"])
    words = ("--array=1-3", "--mem=50", "-o", "/dev/null", "--wrap", "exec sleep 600")
    number = slurm.ask("sbatch", "--parsable", *words).strip()
    try:
        until(lambda: len(slurm.jobs()) == 3, what="three jobs")
        until(lambda: slurm.ask("squeue", "-h", "-t", "R", "-O", "JobID:|").count("|") == 3, what="three at work")
        assert number in slurm.jobs()
        driver = SlurmDriver(tmp_path)
        assert driver.stop(JobIdentity(id=number), force)
        until(lambda: number not in slurm.jobs(), what="the end of the last task")
        assert len(slurm.jobs()) == 2
    finally:
        slurm.clear()
