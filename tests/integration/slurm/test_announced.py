"""What a cluster lets one see coming: a preemption, a wait without end, a time limit that comes too early."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.attack.living import light_run
from tests.integration.slurm.conftest import laboratory
from tests.support.slurm import Cluster, needs_slurm, until
from trainmaster.trainer.contract import EventKind, RunLayout

pytestmark = [pytest.mark.slurm, pytest.mark.cluster, pytest.mark.training, needs_slurm, pytest.mark.timeout(300)]


async def test_preemption_is_announced_and_the_same_run_goes_on(tmp_path: Path, material: Path, slurm: Cluster) -> None:
    async with laboratory(tmp_path, material, slurm, "--partition=scavenge") as lab:
        run, number = lab.record["run"], lab.number
        whole_node = ("--exclusive", "-w", lab.record["job"]["node"])
        other = slurm.ask(
            *("sbatch", "--parsable", "-p", "main", *whole_node, "-o", "/dev/null", "--wrap", "sleep 600")
        ).strip()
        await lab.reads("its job must make room for another one", timeout_s=60)
        await lab.reads("its job was queued again", "orderly way", timeout_s=90)
        slurm.ask("scancel", other)
        await lab.starts_again(number, 3)
        assert (lab.record["run"], lab.number) == (run, number)


async def test_long_wait_and_a_reason_that_never_ends_are_told(tmp_path: Path, material: Path, slurm: Cluster) -> None:
    async with laboratory(tmp_path, material, slurm, PENDING_MAX_S="60") as lab:
        number = lab.number
        slurm.ask("scontrol", "requeue", number)
        await lab.reads("its job has waited for", "limit 60 s", timeout_s=90)
        slurm.ask("scontrol", "update", "PartitionName=main", "State=DOWN")
        try:
            slurm.ask("scontrol", "update", f"JobId={number}", "StartTime=now")
            await lab.reads("its job never starts by itself: PartitionDown", timeout_s=60)
        finally:
            slurm.ask("scontrol", "update", "PartitionName=main", "State=UP")
        await lab.trains(3)


async def test_limit_before_the_epoch_s_end_is_told_in_time(tmp_path: Path, material: Path, slurm: Cluster) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    _with_long_epochs(light_run(taken, material))
    async with laboratory(tmp_path, taken, slurm, "--time=60") as lab:
        alert = await lab.reads("the job's limit comes", "before the end of epoch 3", timeout_s=60)
        assert "limit comes 3 h" in alert.shown or "limit comes 4 h" in alert.shown
        assert f"JobId={lab.number} TimeLimit=+" in alert.shown
        slurm.ask("scontrol", "update", f"JobId={lab.number}", "TimeLimit=+600")
        await lab.reads("its epoch ends before the limit", timeout_s=60)


def _with_long_epochs(run: Path) -> None:
    """As if its epochs had taken five hours."""
    events = RunLayout(run).events
    rows = [json.loads(line) for line in events.read_text().splitlines()]
    for row in rows:
        if row["kind"] == EventKind.EPOCH_FINISHED:
            row["seconds"] = 5 * 3600.0
    events.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_job_of_two_nodes_is_refused_in_words(tmp_path: Path, slurm: Cluster) -> None:
    root = Path(__file__).resolve().parents[3]
    command = f"exec {sys.executable} -P -m trainmaster.trainer train model=m.yaml data=d.yaml project={tmp_path}/runs"
    words = ("-N", "2", f"--chdir={tmp_path}", "-o", f"{tmp_path}/out", f"--export=ALL,PYTHONPATH={root}")
    number = slurm.ask("sbatch", "--parsable", *words, "--wrap", command).strip()
    until(lambda: slurm.job(number)["State"] == "FAILED", what="its end", timeout_s=90)
    assert slurm.job(number)["exit_code"] == str(2 << 8)
    assert "this job has 2 nodes (SLURM_NNODES), and a run trains on one" in (tmp_path / "out").read_text()
    assert not (tmp_path / "runs").exists()
