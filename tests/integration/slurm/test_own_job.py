"""A job that the bot itself submits: known before it begins, started with what its run had, and one at a time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.slurm.conftest import ANN, BOB, Lab, laboratory
from tests.support.slurm import Cluster, cluster, environment, needs_slurm, until
from trainmaster.trainer.contract import RunRecordState

pytestmark = [pytest.mark.slurm, pytest.mark.cluster, pytest.mark.training, needs_slurm, pytest.mark.timeout(300)]


@pytest.mark.core
async def test_job_that_waits_is_what_status_tells_and_what_stop_takes(lab: Lab) -> None:
    first = lab.number
    async with lab.resumed_without_a_partition() as waiting:
        assert waiting != first
        await lab.status("digits: pending", f"Job: {waiting} in main, on no node yet", "Attempt 3 waits: PartitionDown")
        assert "attempt 3 waits: PartitionDown" in _watched(lab)
        await lab.reads("digits: pending", "Attempt 3 waits: PartitionDown")
        assert "under way" in await lab.says(ANN, "resume")
        await lab.says(ANN, "stop now")
        until(lambda: not lab.slurm.jobs(), what="an empty queue", timeout_s=60)
        await lab.reads("broken off on request", "Emergency stop", timeout_s=60)
    assert lab.record["attempt"] == 2
    await lab.says(ANN, "resume")
    await lab.reads("digits goes on")
    assert lab.slurm.jobs() == [lab.number]


def _watched(lab: Lab) -> str:
    """What a person at a terminal sees, without a look into the bot's own folder."""
    env = environment(lab.slurm, {"RUNS_DIR": str(lab.run.parent), "STATE_DIR": str(lab.run.parent / "another")})
    env["PYTHONPATH"] = str(Path(__file__).resolve().parents[3])
    command = [sys.executable, "-P", "-m", "trainmaster", "watch", "--once", str(lab.run)]
    return subprocess.run(command, env=env, cwd=lab.run.parent, capture_output=True, text=True, check=True).stdout


@pytest.mark.core
async def test_job_is_started_with_what_the_run_had_and_without_what_is_the_bot_s(
    tmp_path: Path, material: Path, slurm: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "k3y")
    monkeypatch.setenv("SLACK_BOT_TOKEN", "xoxb-of-a-person-s-shell")
    watchdog = {"WATCHDOG_URL": "http://127.0.0.1:9/ping", "TIDE": "of the bot's service"}
    async with laboratory(tmp_path, material, slurm, **watchdog) as lab:
        monkeypatch.delenv("WANDB_API_KEY")
        lab.way("tell")
        await lab.says(ANN, "stop now")
        await lab.reads("is stopped")
        await lab.says(ANN, "resume")
        await lab.reads("digits goes on")
        given = dict(
            entry.partition("=")[::2] for entry in (lab.run.parent / "environ").read_text().split("\0") if entry
        )
        assert given["WANDB_API_KEY"] == "k3y"
        assert given["SLURM_JOB_ID"] == lab.number
        assert not [name for name in given if name.startswith("SLACK_")]
        assert {"WATCHDOG_URL", "TIDE", "STATE_DIR", "ONCALL_USERS"}.isdisjoint(given)


async def test_stop_after_the_epoch_holds_across_a_requeue(lab: Lab) -> None:
    number = lab.number
    await lab.slack.command(ANN, "stop after epoch")
    await lab.reads("will be stopped when epoch 3 has ended")
    lab.slurm.ask("scontrol", "requeue", number)
    await lab.reads("its job was queued again")
    await lab.starts_again(number, 3)
    assert lab.record["state"] == RunRecordState.RUNNING
    lab.way("short", "20")
    await lab.reads("is stopped", "can be resumed", timeout_s=60)
    assert lab.slurm.jobs() == []
    assert lab.record["attempt"] == 3


async def test_what_a_rollback_put_aside_is_listed_and_brought_back(lab: Lab) -> None:
    await lab.slack.command(ANN, "execute rollback to epoch 1")
    card = await lab.reads("Roll back", "submitted again with")
    await lab.slack.click(BOB, card, "approve")
    await lab.reads("rolled back to epoch 1", timeout_s=60)
    await lab.slack.command(ANN, "archive")
    await lab.reads("after-epoch-0001")
    assert "still runs" in await lab.says(ANN, "bring back after-epoch-0001")
    await lab.says(ANN, "stop now")
    await lab.reads("is stopped")
    await lab.slack.command(ANN, "bring back after-epoch-0001")
    await lab.reads("after-epoch-0001 is brought back", timeout_s=60)


async def test_number_that_another_job_got_is_not_taken_for_the_run_s(tmp_path: Path, material: Path) -> None:
    """A controller that lost its database counts from 1 again."""
    with cluster(NODES="2") as lost:
        async with laboratory(tmp_path, material, lost) as lab:
            number = lab.number
            lost.do("ctl-down", "KILL")
            shutil.rmtree(lost.lab / "state")
            (lost.lab / "state").mkdir()
            lost.do("ctl-up")
            others = [
                lost.ask("sbatch", "--parsable", "-o", "/dev/null", "--wrap", "exec sleep 600").strip()
                for _ in range(int(number))
            ]
            assert number in others
            await lab.reads("the training process died", f"job {number} is 'wrap'", timeout_s=60)
            await lab.says(ANN, "stop now")
            await lab.says(ANN, "resume")
            await lab.reads("digits goes on", timeout_s=60)
            assert lab.number not in others
            assert set(others) <= set(lost.jobs())


@pytest.mark.skipif(os.geteuid() != 0, reason="a folder that the nodes don't see is mounted, which only root may")
def test_doctor_sees_that_the_nodes_do_not_share_runs_dir(tmp_path: Path, slurm: Cluster) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "apart", str(runs)], check=True)
    try:
        env = environment(slurm, {"RUNS_DIR": str(runs), "STATE_DIR": str(tmp_path / "state")})
        env["PYTHONPATH"] = str(Path(__file__).resolve().parents[3])
        command = [sys.executable, "-P", "-m", "trainmaster", "doctor"]
        said = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=False).stdout
        assert "is not the same there: put it on a disk that bot and nodes share" in said
    finally:
        subprocess.run(["umount", str(runs)], check=True)
