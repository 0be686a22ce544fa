"""The batch script, and what sbatch is given."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.jobs.environment import OPTIONS_VARIABLE
from trainmaster.trainer.jobs.script import batch_script, check_options, sbatch_words, split_options, time_limit_s


def words(*options: str, margin_s: int = 300) -> tuple[str, ...]:
    return sbatch_words("abc", "key-1", options, margin_s=margin_s, log="/runs/50%.log")


def test_trainer_takes_the_place_of_the_script_with_its_words_unchanged(tmp_path: Path) -> None:
    argv = (
        "python3",
        "-c",
        "import os, sys; print(os.getcwd(), os.environ['WORD'], sys.argv[1:]); sys.exit(3)",
        "it's *",
    )
    script = batch_script(argv, cwd=str(tmp_path), key="k", run="abc", options=("-p", "g"), env={"WORD": "a 'b'"})
    assert script.splitlines()[-1].startswith("exec ")
    done = subprocess.run(["sh"], input=script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, f"{tmp_path} a 'b' [\"it's *\"]\n")


def test_script_ends_where_its_folder_is_gone() -> None:
    done = subprocess.run(
        ["sh"],
        input=batch_script(("true",), cwd="/nowhere", key="k", run="a", options=(), env={}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2


def test_job_is_found_by_name_and_comment_and_goes_on_by_itself() -> None:
    found = words("--partition=gpu", "-t", "2-0")
    assert {"--job-name=tm-abc", "--comment=trainmaster key-1", "--requeue", "--open-mode=append"} <= set(found)
    assert found[-1] == "--dependency=singleton"
    assert found[-4:-1] == ("--partition=gpu", "-t", "2-0")
    assert "--output=/runs/50%%.log" in found


def test_what_a_first_start_waited_for_no_later_job_of_the_run_waits_for_again() -> None:
    """A resume at noon of what was to begin at night would wait for the next night; what was held would be held."""
    once = ("--begin=22:00", "-H", "--hold", "-d", "afterok:5", "--deadline=2030-01-01", "--beg", "now+1hour")
    options = ("-p", "gpu", *once, "--time=2-0")
    assert set(once[:3]) <= set(words(*options))
    script = batch_script(("true",), cwd="/", key="k", run="abc", options=options, env={})
    told = next(line for line in script.splitlines() if OPTIONS_VARIABLE in line)
    assert told.endswith("""='["-p", "gpu", "--time=2-0"]'""")


def test_own_dependency_is_kept_beside_ours() -> None:
    assert words("-d", "afterok:5")[-1] == "--dependency=afterok:5,singleton"


@pytest.mark.parametrize(
    ("options", "margin_s"),
    [
        pytest.param((), 300, id="no limit"),
        pytest.param(("--time=2-0",), 300, id="days"),
        pytest.param(("-t", "4"), 60, id="four minutes: a quarter of it"),
        pytest.param(("-t2",), 30, id="glued"),
    ],
)
def test_request_to_end_comes_before_the_limit_and_never_at_the_start(options: tuple[str, ...], margin_s: int) -> None:
    assert f"--signal=B:TERM@{margin_s}" in words(*options)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 5400), ("1:30", 90), ("2:00:00", 7200), ("1-0", 86_400), ("1-12:30", 131_400), ("UNLIMITED", None)],
)
def test_time_limit_is_read_as_slurm_writes_it(text: str, seconds: float | None) -> None:
    assert time_limit_s(text) == seconds


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("-J", "mine"), "-J"),
        (("--comment=x",), "--comment"),
        (("--array=1-3",), "--array"),
        (("-N2",), "one node"),
        (("--nodes=2-4",), "one node"),
        (("--wrap", "true"), "--wrap"),
        (("-M", "other"), "-M"),
        (("-d", "afterok:5?afterok:6"), "singleton"),
        (("job.sh",), "no option"),
        (("--requeue", "job.sh"), "no option"),
    ],
)
def test_option_that_would_break_a_promise_is_refused_in_words(options: tuple[str, ...], word: str) -> None:
    with pytest.raises(ArgumentsError, match=word):
        check_options(options)


def test_everything_else_is_slurm_s_own() -> None:
    options = ("-p", "gpu", "--gres=gpu:a100:2", "--exclusive", "-N1", "--mail-type", "END", "--no-requeue")
    check_options(options)
    assert split_options(options)[:2] == [("p", "gpu"), ("gres", "gpu:a100:2")]


def test_shortened_option_is_what_sbatch_takes_it_for() -> None:
    for words in (["--arr=1-3"], ["--job=mine"], ["--test"], ["--wra=sleep"]):
        with pytest.raises(ArgumentsError, match="can't be given"):
            check_options(words)
    given = sbatch_words("abc", "op-1", ["--depend=afterok:7", "--part=gpu"], margin_s=300, log="x")
    assert given[-1] == "--dependency=afterok:7,singleton"
    assert "--partition=gpu" in given


def test_limit_of_nothing_is_no_limit() -> None:
    assert "--signal=B:TERM@300" in sbatch_words("abc", "op-1", ["--time=0"], margin_s=300, log="x")
