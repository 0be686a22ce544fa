"""What a cluster does to a run by itself: told once, and nothing is lost."""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.integration.slurm.conftest import ANN, Lab
from tests.support.slurm import needs_slurm, until
from trainmaster.trainer.contract import RunLayout

pytestmark = [pytest.mark.slurm, pytest.mark.cluster, pytest.mark.training, needs_slurm, pytest.mark.timeout(300)]


@pytest.mark.core
async def test_requeue_is_no_stop_and_the_same_run_goes_on(lab: Lab) -> None:
    run, number = lab.record["run"], lab.number
    lab.slurm.ask("scontrol", "requeue", number)
    await lab.reads("its job was queued again", "orderly way")
    await lab.starts_again(number, 3)
    assert (lab.record["run"], lab.number, lab.record["job"]["restart"]) == (run, number, 1)
    assert not RunLayout(lab.run).archive.exists()
    await lab.reads("training resumed with epoch 3")
    assert lab.shown("training stopped on request") == 0


@pytest.mark.core
async def test_power_cut_of_the_node_is_told_and_the_run_goes_on_elsewhere(lab: Lab) -> None:
    run, number, node = lab.record["run"], lab.number, lab.record["job"]["node"]
    lab.slurm.do("node-down", node)
    await lab.reads("its job was queued again", "left no word", timeout_s=60)
    await lab.starts_again(number, 3)
    assert lab.record["run"] == run
    assert lab.record["job"]["node"] != node
    assert lab.shown("training process died") == 0


async def test_dead_daemon_whose_trainer_lives_gets_no_second_one_and_is_told(lab: Lab) -> None:
    number, node = lab.number, lab.record["job"]["node"]
    lab.slurm.do("slurmd-down", node)
    until(lambda: lab.slurm.job(number)["RestartCnt"] == "1", what="the requeue", timeout_s=60)
    lab.slurm.ask("scontrol", "update", f"JobId={number}", "StartTime=now")
    await lab.reads(f"its trainer on {node} still works", timeout_s=90)
    assert lab.record["attempt"] == 2
    log = lab.run.parent.parent / "job.log"
    until(lambda: "the trainer of an earlier start" in log.read_text(), what="the word of the one that waits")
    await asyncio.sleep(3)
    assert lab.record["attempt"] == 2


@pytest.mark.core
async def test_killed_trainer_is_told_with_slurm_s_word_within_a_tick(lab: Lab) -> None:
    lab.slurm.ask("scancel", "--signal=KILL", "--batch", lab.number)
    await lab.reads("the training process died", "Slurm says: its job failed", "signal 9", timeout_s=10)


async def test_job_deleted_by_an_admin_is_told_as_cancelled(lab: Lab) -> None:
    lab.slurm.ask("scancel", lab.number)
    await lab.reads("training stopped on request", "its job was cancelled", timeout_s=15)


@pytest.mark.core
async def test_silent_controller_is_one_alert_and_no_death(lab: Lab) -> None:
    lab.slurm.do("ctl-down", "KILL")
    try:
        await lab.reads("controller gives no answer", timeout_s=40)
        await lab.says(ANN, "stop now")
        await lab.reads("digits: stopping", "it is asked until it answers")
        assert lab.shown("training process died") == 0
    finally:
        lab.slurm.do("ctl-up")
    await lab.reads("controller answers again", timeout_s=60)
    await lab.reads("digits is stopped", "can be resumed")
    assert lab.shown("controller gives no answer") <= 2  # the alert, and its line in the channel's card


async def test_controller_that_is_away_for_a_moment_is_told_to_nobody(lab: Lab) -> None:
    await lab.status("digits: training")
    lab.slurm.do("ctl-down", "KILL")
    await asyncio.sleep(4)
    lab.slurm.do("ctl-up")
    await asyncio.sleep(8)
    await lab.status("digits: training")
    assert lab.shown("controller gives no answer") == lab.shown("training process died") == 0


async def test_suspended_job_is_told_and_comes_back(lab: Lab) -> None:
    lab.slurm.ask("scontrol", "suspend", lab.number)
    await lab.reads("the cluster has suspended its job")
    await lab.status("digits: suspended")
    lab.slurm.ask("scontrol", "resume", lab.number)
    await lab.reads("its job goes on", timeout_s=30)


async def test_held_job_never_starts_and_that_is_told(lab: Lab) -> None:
    lab.slurm.ask("scontrol", "requeuehold", lab.number)
    await lab.reads("its job never starts by itself: job requeued in held state")


async def test_kill_of_bot_and_controller_in_the_middle_of_a_resume_leaves_one_trainer(lab: Lab) -> None:
    await lab.says(ANN, "stop now")
    await lab.reads("is stopped")
    await lab.slack.command(ANN, "resume")
    await asyncio.sleep(0.3)
    await lab.bot.kill()
    lab.slurm.do("ctl-down", str(int(signal.SIGKILL)))
    await lab.bot.start()
    lab.slurm.do("ctl-up")
    while not [one for one in lab.bot.operations() if one["kind"] == "resume"]:  # killed before it was on record
        await lab.says(ANN, "resume")  # refused in words until the controller answers
        await asyncio.sleep(1)
    await lab.reads("digits goes on", timeout_s=90)
    assert lab.slurm.jobs() == [lab.number]
    assert lab.record["attempt"] == 3
