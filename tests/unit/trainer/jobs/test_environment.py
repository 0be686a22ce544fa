"""What Slurm's environment tells a trainer."""

from __future__ import annotations

import json

import pytest

from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.contract import ClusterJob
from trainmaster.trainer.jobs.environment import OPTIONS_VARIABLE, job_of, refuse_several_nodes

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
