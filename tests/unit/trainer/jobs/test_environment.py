"""What Slurm's environment tells a trainer."""

from __future__ import annotations

import json

import pytest

from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.contract import ClusterJob
from trainmaster.trainer.jobs.environment import (
    OPTIONS_VARIABLE,
    job_of,
    refuse_several_nodes,
    refuse_to_resume_as_rank,
)

IN_A_JOB = {
    "SLURM_JOB_ID": "10",
    "SLURM_CLUSTER_NAME": "lab",
    "SLURM_JOB_PARTITION": "main",
    "SLURMD_NODENAME": "n1",
    "SLURM_JOB_NODELIST": "n1",
    "SLURM_JOB_NUM_NODES": "1",
    "SLURM_MEM_PER_CPU": "500",
}
"""As Slurm 22.05 sets it in a batch job."""


def test_outside_of_slurm_there_is_no_job() -> None:
    assert job_of({"PATH": "/bin"}) is None


def test_job_submitted_by_hand_is_recognised_with_options_to_submit_it_again() -> None:
    assert job_of(IN_A_JOB) == ClusterJob(
        id="10",
        cluster="lab",
        restart=0,
        node="n1",
        partition="main",
        options=("--partition=main", "--mem-per-cpu=500"),
    )


def test_options_of_the_submission_are_kept_as_they_were_given() -> None:
    job = job_of({**IN_A_JOB, OPTIONS_VARIABLE: json.dumps(["-p", "gpu", "--gres=gpu:1"])})
    assert job is not None
    assert job.options == ("-p", "gpu", "--gres=gpu:1")


def test_task_of_an_array_is_known_by_its_own_number_and_counts_its_restarts() -> None:
    job = job_of({**IN_A_JOB, "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "2", "SLURM_RESTART_COUNT": "3"})
    assert job is not None
    assert (job.id, job.array_task, job.restart) == ("10", 2, 3)


@pytest.mark.parametrize("name", ["SLURM_NNODES", "SLURM_JOB_NUM_NODES"])
def test_several_nodes_are_refused_in_words(name: str) -> None:
    with pytest.raises(ArgumentsError, match="2 nodes"):
        refuse_several_nodes({name: "2"})
    refuse_several_nodes({name: "1"})
    refuse_several_nodes({})


def test_shell_that_salloc_gives_is_no_job_and_a_step_of_it_is() -> None:
    """That shell is where salloc was called: nothing of Slurm's reaches what trains there."""
    shell = {**IN_A_JOB, "SLURM_SUBMIT_HOST": "login"}
    del shell["SLURMD_NODENAME"]
    assert job_of(shell) is None
    step = job_of({**shell, "SLURMD_NODENAME": "n1", "SLURM_PROCID": "0"})
    assert step is not None
    assert step.node == "n1"


def test_trainer_that_srun_starts_several_times_is_refused_in_words() -> None:
    """Each would train a run of its own, on the same GPUs."""
    with pytest.raises(ArgumentsError, match="4 times"):
        refuse_several_nodes({**IN_A_JOB, "SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "4"})
    refuse_several_nodes({**IN_A_JOB, "SLURM_NTASKS": "4"})  # a batch script, or a step of one task
    refuse_several_nodes({**IN_A_JOB, "SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "1"})


@pytest.mark.parametrize(
    ("told", "options"),
    [
        ({"SLURM_GPUS": "a100:2", "SLURM_GPUS_ON_NODE": "2"}, ("--gpus=a100:2",)),
        ({"SLURM_GPUS_PER_NODE": "a100:2", "SLURM_GPUS_ON_NODE": "2"}, ("--gpus-per-node=a100:2",)),
        ({"SLURM_GPUS_ON_NODE": "2"}, ("--gpus=2",)),
        ({"SLURM_JOB_START_TIME": "1795891220", "SLURM_JOB_END_TIME": "1796323220"}, ("--time=7200",)),
        ({"SLURM_JOB_START_TIME": "1795891220", "SLURM_JOB_END_TIME": "1827427220"}, ()),
        ({"SLURM_JOB_START_TIME": "²", "SLURM_JOB_END_TIME": "7"}, ()),
        ({"SLURM_JOB_RESERVATION": "course"}, ("--reservation=course",)),
    ],
    ids=["type of GPU", "type for each node", "number alone", "five days", "no limit", "no number", "reservation"],
)
def test_job_submitted_by_hand_keeps_what_it_asked_for(told: dict[str, str], options: tuple[str, ...]) -> None:
    job = job_of({"SLURM_JOB_ID": "10", "SLURMD_NODENAME": "n1", **told})
    assert job is not None
    assert job.options == options


def test_one_of_several_ranks_resumes_nothing() -> None:
    """Each took the run's lock, so that the other was told of another trainer there, or waited for half an hour."""
    with pytest.raises(ArgumentsError, match=r"rank 1 of 2 .*one process"):
        refuse_to_resume_as_rank({"RANK": "1", "WORLD_SIZE": "2"})
    refuse_to_resume_as_rank({"RANK": "0", "WORLD_SIZE": "1"})  # a pod of its own
    refuse_to_resume_as_rank({})
