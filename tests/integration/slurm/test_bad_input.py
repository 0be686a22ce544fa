"""What people, admins and machines do wrong on a cluster: told in words, and nothing is started twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.slurm.conftest import ANN, laboratory
from tests.support.slurm import Cluster, needs_slurm

pytestmark = [pytest.mark.slurm, pytest.mark.cluster, pytest.mark.training, needs_slurm, pytest.mark.timeout(300)]


async def test_refusal_of_a_submission_is_told_as_slurm_said_it_and_nothing_starts(
    tmp_path: Path, material: Path, slurm: Cluster
) -> None:
    slurm.ask("scontrol", "create", "PartitionName=short", "Nodes=ALL", "State=UP")
    async with laboratory(tmp_path, material, slurm, "--partition=short") as lab:
        await lab.says(ANN, "stop now")
        await lab.reads("is stopped")
        slurm.ask("scontrol", "delete", "PartitionName=short")
        await lab.slack.command(ANN, "resume")
        await lab.reads("sbatch refused", "invalid partition specified: short", timeout_s=60)
        assert slurm.jobs() == []
        assert lab.record["attempt"] == 2
        slurm.ask("scontrol", "create", "PartitionName=short", "Nodes=ALL", "State=UP")
        await lab.says(ANN, "resume")
        await lab.reads("digits goes on")
        assert slurm.jobs() == [lab.number]
    slurm.ask("scontrol", "delete", "PartitionName=short")


@pytest.mark.parametrize("ahead_s", [-200, 200])
async def test_clock_of_a_node_that_is_minutes_off_changes_nothing(
    tmp_path: Path, material: Path, slurm: Cluster, ahead_s: int
) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "skew").write_text(f"{ahead_s}")
    async with laboratory(tmp_path, material, slurm) as lab:
        number = lab.number
        await lab.status("digits: training")
        slurm.ask("scontrol", "requeue", number)
        await lab.reads("its job was queued again", "orderly way")
        await lab.starts_again(number, 3)
        await lab.says(ANN, "stop now")
        await lab.reads("is stopped", "can be resumed")
        await lab.says(ANN, "resume")
        await lab.reads("digits goes on")
        assert slurm.jobs() == [lab.number]
        assert lab.shown("still works though") == lab.shown("training process died") == lab.shown("no batch for") == 0
