"""``trainmaster sbatch`` with a stand-in for Slurm's command."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.cli.main import main as trainer_main
from trainmaster.trainer.cli.sbatch import UnclearSubmissionError, longest_save_s, main
from trainmaster.trainer.contract import RunLayout, encode_record, read_json, replace_json
from trainmaster.trainer.jobs import launch_environment

TRAIN = ("train", "model=tiny.yaml", "data=digits.yaml", "epochs=3", "lr0=0.01")


@pytest.fixture
def sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Writes its words and its script here, and answers 17, or what ``refusal`` holds."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "sbatch"
    program.write_text(
        f"#!/bin/sh\nif [ -e {folder}/refusal ]; then cat {folder}/refusal >&2; exit 1; fi\n"
        f"if [ -e {folder}/silent ]; then exit 0; fi\nenv > {folder}/env\n"
        f'printf "%s\\n" "$@" > {folder}/words\ncat > {folder}/script\necho 17\n'
    )
    program.chmod(0o755)
    (folder / "squeue").write_text("#!/bin/sh\necho 'lab|'\n")
    (folder / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    return folder


def test_run_s_directory_names_its_job_before_it_begins(sbatch: Path, tmp_path: Path) -> None:
    assert main(["--partition=gpu", "--", *TRAIN, "name=first"]) == 0
    layout = RunLayout(tmp_path / "runs" / "first")
    record = read_json(layout.run_json) or {}
    assert (record["state"], record["attempt"], record["epochs"]) == ("submitted", 0, 3)
    assert record["job"]["id"] == "17"
    assert record["log"] == str(layout.root.parent / "first.slurm.log")
    assert record["job"]["cluster"] == "lab"
    assert record["job"]["options"] == ["--partition=gpu"]
    script = (sbatch / "script").read_text()
    assert script == (layout.guard / "job.sh").read_text()
    assert f"export TRAINMASTER_RUN_ID={record['run']}" in script
    assert f"project={layout.root.parent} name=first exist_ok=True again=auto" in script
    assert "--partition=gpu" in (sbatch / "words").read_text()
    assert f"--job-name=tm-{record['run']}" in (sbatch / "words").read_text()


def test_a_job_runs_in_a_folder_whose_name_is_no_text(
    sbatch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / os.fsdecode(b"half\xf0\x9f")
    here.mkdir()
    monkeypatch.chdir(here)
    assert main(["--partition=gpu", "--", *TRAIN, "name=first"]) == 0
    assert b"cd '" + os.fsencode(here) + b"'" in (sbatch / "script").read_bytes()
    assert (here / "runs" / "first" / "guard" / "job.sh").read_bytes() == (sbatch / "script").read_bytes()


def test_nothing_is_left_of_a_run_whose_directory_takes_no_file(
    sbatch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(launch_environment, "remember", full)
    with pytest.raises(ArgumentsError, match="No space left"):
        main(["--partition=gpu", "--", *TRAIN, "name=first"])
    assert list((tmp_path / "runs").iterdir()) == []


def test_name_that_is_taken_gets_a_number_and_the_other_run_stays(sbatch: Path, tmp_path: Path) -> None:
    main(["--", *TRAIN])
    before = (tmp_path / "runs" / "train" / "guard" / "run.json").read_text()
    main(["--", *TRAIN])
    assert (tmp_path / "runs" / "train-2" / "guard" / "run.json").exists()
    assert (tmp_path / "runs" / "train" / "guard" / "run.json").read_text() == before


def test_refusal_is_told_as_slurm_said_it_and_leaves_nothing(sbatch: Path, tmp_path: Path) -> None:
    (sbatch / "refusal").write_text("sbatch: error: invalid partition specified: gpux\n")
    with pytest.raises(ArgumentsError, match="invalid partition specified: gpux"):
        main(["-p", "gpux", "--", *TRAIN])
    assert not (tmp_path / "runs" / "train").exists()


@pytest.mark.parametrize(
    ("way", "text"),
    [
        ("refusal", "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"),
        ("silent", ""),
    ],
)
def test_directory_stays_when_the_job_may_be_in_the_queue(sbatch: Path, tmp_path: Path, way: str, text: str) -> None:
    (sbatch / way).write_text(text)
    with pytest.raises(UnclearSubmissionError, match="not known whether the job was submitted") as caught:
        main(["-p", "gpu", "--", *TRAIN])
    layout = RunLayout(tmp_path / "runs" / "train")
    record = read_json(layout.run_json) or {}
    assert record["state"] == "submitted"
    assert f"tm-{record['run']}" in (caught.value.hint or "")
    (sbatch / way).unlink()
    assert main(["-p", "gpu", "--", "resume", str(layout.root)]) == 0
    assert (read_json(layout.run_json) or {})["job"]["id"] == "17"


def test_person_s_habits_are_recorded_and_nothing_of_another_job_is_passed_on(
    sbatch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SBATCH_PARTITION", "gpu")
    monkeypatch.setenv("SBATCH_ARRAY_INX", "1-9")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    main(["--gpus=1", "--", *TRAIN])
    record = read_json(RunLayout(tmp_path / "runs" / "train").run_json) or {}
    assert record["job"]["options"] == ["--partition=gpu", "--gpus=1"]
    assert "SLURM_" not in (sbatch / "env").read_text()
    assert "SBATCH_" not in (sbatch / "env").read_text()


def test_request_to_save_comes_late_in_the_limit_of_a_short_partition(sbatch: Path, tmp_path: Path) -> None:
    (sbatch / "sinfo").write_text("#!/bin/sh\necho 'short|10:00|1:00:00|short*'\n")
    (sbatch / "sinfo").chmod(0o755)
    main(["--gpus=1", "--", *TRAIN])
    assert "--signal=B:TERM@150" in (sbatch / "words").read_text()
    record = read_json(RunLayout(tmp_path / "runs" / "train").run_json) or {}
    assert record["job"]["options"] == ["--gpus=1", "--time=10:00"]


def test_resume_takes_the_options_of_before_and_asks_in_time(sbatch: Path, tmp_path: Path) -> None:
    layout = RunLayout(tmp_path / "runs" / "old")
    layout.guard.mkdir(parents=True)
    job = {"id": "9", "cluster": "lab", "options": ["-p", "gpu"]}
    replace_json(layout.run_json, {"run": "abc", "attempt": 2, "state": "stopped", "job": job, "launch_key": "old"})
    phases = [{"kind": "phase", "ts": 100.0, "phase": "saving"}, {"kind": "phase", "ts": 140.0, "phase": "training"}]
    layout.events.write_text("\n".join(map(encode_record, phases)) + "\n")
    assert longest_save_s(layout) == 40
    assert main(["--", "resume", str(layout.root), "from=3"]) == 0
    given = (sbatch / "words").read_text()
    assert "-p\ngpu\n" in given
    assert "--signal=B:TERM@210" in given
    record = read_json(layout.run_json) or {}
    assert (record["state"], record["attempt"], record["job"]["id"]) == ("stopped", 2, "17")
    assert record["launch_key"] is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--partition=gpu", *TRAIN], "-- must stand"),
        (["--"], "no command"),
        (["--", "verify", "x.pt"], "unknown command for sbatch"),
        (["--", "train", "model=tiny.yaml"], "data="),
        (["--", *TRAIN, "exist_ok=True"], "exist_ok="),
        (["-N", "2", "--", *TRAIN], "one node"),
        (["--", "resume", "nowhere"], "no run directory"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(
    sbatch: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    with pytest.raises(ArgumentsError, match=message):
        main(words)
    assert not (tmp_path / "runs").exists()


def test_host_without_slurm_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert trainer_main(["sbatch", "--", *TRAIN]) == 2
    assert not (tmp_path / "runs" / "train").exists()


@pytest.mark.parametrize("torn", ["", "null", "[1]", '{"run": "abc"'])
def test_a_run_whose_record_is_torn_is_not_submitted(sbatch: Path, tmp_path: Path, torn: str) -> None:
    layout = RunLayout(tmp_path / "runs" / "old")
    layout.guard.mkdir(parents=True)
    layout.run_json.write_text(torn)
    with pytest.raises(ArgumentsError, match="torn"):
        main(["--", "resume", str(layout.root)])
    assert [path.name for path in layout.guard.iterdir()] == ["run.json"]
