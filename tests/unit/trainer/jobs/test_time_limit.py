"""A job's time limit where the environment does not tell it."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainmaster.trainer.contract import ClusterJob
from trainmaster.trainer.jobs.environment import OPTIONS_VARIABLE
from trainmaster.trainer.jobs.time_limit import with_limit

BY_HAND = ClusterJob(id="4", options=("--partition=main",))
RECORDED = "4|2:00|1795971216|"
"""Of Slurm 22.05, of a job of two minutes."""


def squeue(folder: Path, says: str) -> dict[str, str]:
    program = folder / "squeue"
    program.write_text(f"#!/bin/sh\n{says}\n")
    program.chmod(0o755)
    return {"PATH": f"{folder}:/usr/bin:/bin"}


def test_limit_of_a_job_submitted_by_hand_is_asked_of_slurm(tmp_path: Path) -> None:
    job = with_limit(BY_HAND, squeue(tmp_path, f"echo '{RECORDED}'"))
    assert job == ClusterJob(id="4", end_ts=1795971216.0, options=("--partition=main", "--time=2"))


def test_options_of_a_submission_of_ours_stay_as_they_were_given(tmp_path: Path) -> None:
    environ = squeue(tmp_path, f"echo '{RECORDED}'") | {OPTIONS_VARIABLE: "[]"}
    assert with_limit(ClusterJob(id="4"), environ) == ClusterJob(id="4", end_ts=1795971216.0)


def test_last_task_of_an_array_is_told_from_the_others(tmp_path: Path) -> None:
    rows = "printf '5|10:00|1795970000|\\n4|1-00:00:00|1795971216|\\n'"
    job = with_limit(BY_HAND, squeue(tmp_path, rows))
    assert job is not None
    assert job.options == ("--partition=main", "--time=1440")


@pytest.mark.parametrize(
    "says",
    [
        pytest.param("echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1", id="no answer"),
        pytest.param("echo 'welcome to the cluster'", id="something else"),
        pytest.param("echo '4|UNLIMITED|N/A|'", id="no limit"),
        pytest.param("echo '4|UNLIMITED|1827507216|'", id="no limit, told as a year"),
        pytest.param("echo '4|INVALID'", id="cut off"),
    ],
)
def test_limit_that_is_not_told_changes_nothing(tmp_path: Path, says: str) -> None:
    assert with_limit(BY_HAND, squeue(tmp_path, says)) == BY_HAND


def test_where_there_is_no_squeue_and_outside_of_slurm_nothing_is_asked(tmp_path: Path) -> None:
    assert with_limit(BY_HAND, {"PATH": str(tmp_path)}) == BY_HAND
    assert with_limit(None, squeue(tmp_path, "exit 9")) is None
