"""What ``sbatch`` is given beside its words, and what its answer means."""

from __future__ import annotations

import pytest

from trainmaster.trainer.jobs.submission import (
    may_have_arrived,
    short_limit,
    submitted,
    with_habits,
    without_a_job_s,
)


@pytest.mark.parametrize(
    ("out", "job"),
    [
        ("17\n", ("17", None)),
        ("17;lab\n", ("17", "lab")),
        ("Submitted batch job 17\n", ("17", None)),
        ("Submitted batch job 17 on cluster lab\n", ("17", "lab")),
        ("Welcome, 2 jobs of yours wait\n17;lab\n", ("17", "lab")),
        ("17;lab\r\nbudget left: 120 h\n", ("17", "lab")),
        ("", None),
        ("\n", None),
        ("budget left: 120 h\n", None),
    ],
)
def test_number_of_a_job_is_found_in_whatever_a_site_says_around_it(
    out: str, job: tuple[str, str | None] | None
) -> None:
    assert submitted(out) == job


@pytest.mark.parametrize(
    ("said", "perhaps"),
    [
        ("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation", True),
        ("sbatch: error: Batch job submission failed: Zero Bytes were transmitted or received", True),
        ("sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)", False),
        ("sbatch: error: Batch job submission failed: Invalid partition name specified", False),
        ("sbatch: error: QOSMaxSubmitJobPerUserLimit", False),
    ],
)
def test_lost_answer_is_no_refusal(said: str, perhaps: bool) -> None:
    assert may_have_arrived(said) is perhaps


def test_what_a_person_keeps_in_their_shell_is_an_option_as_for_sbatch_itself() -> None:
    shell = {
        "SBATCH_PARTITION": "gpu",
        "SBATCH_TIMELIMIT": "8:00:00",
        "SBATCH_MEM_PER_CPU": "2G",
        "SBATCH_GPUS_PER_NODE": "2",
        "SBATCH_ARRAY_INX": "1-9",
        "SBATCH_QOS": "",
    }
    kept = with_habits((), shell)
    assert set(kept) == {"--partition=gpu", "--time=8:00:00", "--mem-per-cpu=2G", "--gpus-per-node=2"}
    given = ("-p", "short", "--mem=8G", "-t5", "--gpus-per-node=1")
    assert with_habits(given, shell) == given
    assert with_habits(("-p", "short"), {"SBATCH_ACCOUNT": "vision"}) == ("--account=vision", "-p", "short")


def test_job_gets_nothing_of_the_one_that_it_was_submitted_from() -> None:
    """Slurm sets the count of restarts only where it is not 0, so that one stays that was there before."""
    inside = {"SLURM_RESTART_COUNT": "2", "SLURM_JOB_ID": "7", "SBATCH_ARRAY_INX": "1-9", "SLURMD_NODENAME": "n1"}
    lasting = {"PATH": "/bin", "SLURM_CONF": "/etc/slurm.conf"}
    assert without_a_job_s({**inside, **lasting}) == lasting


SINFO = "main|n/a|7-00:00:00|main*\nfree|n/a|infinite|free\nshort|3:00|1:00:00|short\ndebug|n/a|15:00|debug\n"
"""As Slurm 22.05 says it."""


@pytest.mark.parametrize(
    ("options", "margin_s", "limit"),
    [
        (("-p", "short"), 300, "3:00"),
        (("--partition=debug",), 300, "15:00"),
        (("-pshort", "--time=30"), 300, None),
        (("-p", "free"), 300, None),
        ((), 300, None),
        ((), 400_000, "7-00:00:00"),
        (("-p", "unknown"), 300, None),
        (("-p", "short,debug"), 300, None),
    ],
)
def test_limit_of_a_partition_is_known_where_the_request_would_come_too_early(
    options: tuple[str, ...], margin_s: int, limit: str | None
) -> None:
    """With a margin beyond the limit Slurm asks a job to end as soon as it starts."""
    assert short_limit(SINFO, options, margin_s) == limit
    assert short_limit("", options, margin_s) is None
