"""A run on a cluster is handled with the same words as one on this host."""

from __future__ import annotations

import asyncio

import pytest

from tests.integration.slurm.conftest import ANN, BOB, Lab
from tests.support.slurm import needs_slurm
from trainmaster.trainer.contract import ExitCode, RunRecordState

pytestmark = [pytest.mark.slurm, pytest.mark.cluster, pytest.mark.training, needs_slurm, pytest.mark.timeout(300)]


@pytest.mark.core
async def test_status_names_job_node_and_restarts(lab: Lab) -> None:
    await lab.status("digits: training", f"{lab.number} in main, on n", "0 restarts")


@pytest.mark.core
async def test_stop_now_lets_the_trainer_save_and_resume_submits_it_again(lab: Lab) -> None:
    first, run = lab.number, lab.record["run"]
    await lab.says(ANN, "stop now")
    await lab.reads("is stopped", "can be resumed")
    assert (lab.record["state"], lab.record["exit_code"]) == (RunRecordState.STOPPED, ExitCode.STOPPED)
    assert lab.slurm.job(first)["State"] == "FAILED"
    assert lab.slurm.jobs() == []
    await lab.says(ANN, "resume")
    await lab.reads("digits goes on")
    assert lab.number != first
    assert lab.record["run"] == run
    assert lab.record["job"]["options"] == ["--mem-per-cpu=100"]
    assert lab.slurm.jobs() == [lab.number]


@pytest.mark.core
async def test_stop_now_takes_a_waiting_job_out_of_the_queue(lab: Lab) -> None:
    lab.slurm.ask("scontrol", "requeue", lab.number)
    await lab.reads("its job was queued again", "attempt 3 waits until")
    await lab.status("digits: pending", "Attempt 3 waits until", "BeginTime")
    await lab.says(ANN, "stop now")
    await lab.reads("is stopped", "was taken out of the queue")
    assert lab.slurm.jobs() == []


@pytest.mark.core
async def test_rollback_goes_through_the_queue_to_one_trainer(lab: Lab) -> None:
    await lab.slack.command(ANN, "execute rollback to epoch 1")
    card = await lab.reads("Roll back", "submitted again with --mem-per-cpu=100")
    await lab.slack.click(BOB, card, "approve")
    await lab.reads("rolled back to epoch 1", timeout_s=60)
    assert lab.record["from_epoch"] == 2
    assert lab.slurm.jobs() == [lab.number]


async def test_rollback_into_a_full_queue_says_that_it_waits_and_goes_on_when_there_is_room(lab: Lab) -> None:
    await lab.slack.command(ANN, "execute rollback to epoch 1")
    card = await lab.reads("Roll back")
    lab.slurm.ask("scontrol", "update", "PartitionName=main", "State=DOWN")
    try:
        await lab.slack.click(BOB, card, "approve")
        await lab.reads("waits in the queue, however long: PartitionDown", timeout_s=60)
        await asyncio.sleep(2)
        assert lab.record["attempt"] == 2
    finally:
        lab.slurm.ask("scontrol", "update", "PartitionName=main", "State=UP")
    await lab.reads("rolled back to epoch 1", timeout_s=60)
    assert lab.slurm.jobs() == [lab.number]
    assert lab.record["attempt"] == 3


async def test_resume_of_a_waiting_or_running_job_is_refused_in_words(lab: Lab) -> None:
    assert "still runs" in await lab.says(ANN, "resume")
    lab.slurm.ask("scontrol", "requeue", lab.number)
    await lab.reads("its job was queued again")
    assert "waits in the queue already" in await lab.says(ANN, "resume")
