"""What an admin does to a run's job or its node: said rightly, and the run goes on or stands as it was left."""

from __future__ import annotations

import pytest

from tests.integration.slurm.conftest import ANN, Lab
from tests.support.slurm import needs_slurm, until

pytestmark = [
    *(pytest.mark.slurm, pytest.mark.cluster, pytest.mark.training, pytest.mark.rounds, needs_slurm),
    pytest.mark.timeout(300),
]


async def test_node_that_is_set_down_by_hand_is_a_requeue(lab: Lab) -> None:
    run, number, node = lab.record["run"], lab.number, lab.record["job"]["node"]
    lab.slurm.ask("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=memory")
    await lab.reads("its job was queued again", timeout_s=60)
    await lab.starts_again(number, 3)
    assert (lab.record["run"], lab.slurm.jobs()) == (run, [number])
    assert lab.shown("training process died") == lab.shown("training stopped on request") == 0


async def test_suspended_run_that_is_stopped_ends_and_goes_on_by_resume(lab: Lab) -> None:
    number = lab.number
    lab.slurm.ask("scontrol", "suspend", number)
    await lab.reads("the cluster has suspended its job")
    await lab.says(ANN, "stop now")
    await lab.reads("is stopped", timeout_s=60)
    until(lambda: not lab.slurm.jobs(), what="an empty queue", timeout_s=40)
    assert lab.shown("training process died") == 0
    await lab.says(ANN, "resume")
    await lab.reads("digits goes on", timeout_s=60)
    assert lab.slurm.jobs() == [lab.number] != [number]


async def test_requeued_job_that_is_deleted_while_it_waits_is_told_as_cancelled(lab: Lab) -> None:
    lab.slurm.do("node-down", lab.record["job"]["node"])
    await lab.reads("its job was queued again", "left no word", timeout_s=60)
    lab.slurm.ask("scancel", lab.number)
    await lab.reads("its job was cancelled", timeout_s=30)
    await lab.says(ANN, "resume")
    await lab.reads("digits goes on", timeout_s=60)
    assert lab.record["attempt"] == 3


async def test_time_limit_that_is_shortened_is_told_and_resolved_when_it_is_lengthened(lab: Lab) -> None:
    number = lab.number
    lab.slurm.ask("scontrol", "update", f"JobId={number}", "TimeLimit=3")
    await lab.reads("the job's limit comes", "before the end of epoch", timeout_s=60)
    lab.slurm.ask("scontrol", "update", f"JobId={number}", "TimeLimit=2-0")
    await lab.reads("its epoch ends before the limit", timeout_s=40)


async def test_restart_that_an_admin_holds_waits_and_goes_on_when_it_is_released(lab: Lab) -> None:
    async with lab.resumed_without_a_partition() as waiting:
        lab.slurm.ask("scontrol", "hold", waiting)
    await lab.reads("waits in the queue, however long: JobHeld", timeout_s=60)
    await lab.bot.kill()
    lab.slurm.ask("scontrol", "release", waiting)
    await lab.bot.start()
    await lab.reads("digits goes on", timeout_s=90)
    assert lab.slurm.jobs() == [lab.number] == [waiting]
