"""What a job was started with is kept for the next one: what belongs to the run, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from trainmaster.bot.settings.declared import names
from trainmaster.bot.settings.model import ServiceSettings, Settings, SlackSettings
from trainmaster.trainer.contract import RunLayout, read_json, replace_json
from trainmaster.trainer.jobs.launch_environment import lasting, place, recall, remember, without_the_bot_s

OWN = {"PATH": "/opt/env/bin:/bin", "WANDB_API_KEY": "w4nd", "LD_LIBRARY_PATH": "/opt/lib", "http_proxy": "http://p"}
OF_THE_START = {
    "SLURM_JOB_ID": "4711",
    "SLURM_JOB_GPUS": "3",
    "CUDA_VISIBLE_DEVICES": "3",
    "SLURMD_NODENAME": "n1",
    "SBATCH_PARTITION": "main",
    "TRAINMASTER_LAUNCH_KEY": "op-1",
    "TRAINMASTER_RUN_ID": "abc",
    "TMPDIR": "/scratch/4711",
    "PWD": "/home/ann",
}


@pytest.fixture
def layout(tmp_path: Path) -> RunLayout:
    """A run directory with nothing in it."""
    made = RunLayout(tmp_path)
    made.guard.mkdir()
    return made


def test_what_belongs_to_one_start_stays_out_and_all_else_is_kept(layout: RunLayout) -> None:
    remember(layout, {**OWN, **OF_THE_START})
    assert recall(layout) == OWN


@pytest.mark.parametrize(
    ("environ", "kept"),
    [
        pytest.param({"CUDA_VISIBLE_DEVICES": "1"}, True, id="chosen by a person"),
        pytest.param({"CUDA_VISIBLE_DEVICES": "1", "SLURM_GPUS_ON_NODE": "1"}, False, id="given by Slurm"),
        pytest.param({"TMPDIR": "/fast", "SLURM_JOB_ID": "4711"}, True, id="a folder that outlives the job"),
    ],
)
def test_device_and_folder_are_kept_unless_they_were_the_job_s(environ: dict[str, str], kept: bool) -> None:
    assert (next(iter(environ)) in lasting(environ)) is kept


def test_tokens_and_addresses_of_the_bot_never_reach_a_job() -> None:
    harmless = {"LOG_LEVEL", "DIGEST_AT", "ALERTS_HANDLED_BY", "CHANNEL_HINTS", "PIN_CARDS"}
    secret = {name.upper() for owner in (SlackSettings, ServiceSettings) for name in names(owner)} - harmless
    secret |= {"PAGE_URLS", "SLACK_SIGNING_SECRET"}
    secret |= {name.upper() for name, info in Settings.model_fields.items() if "token" in name or not info.repr}
    secret -= {"COPY_TO"}  # the trainer's own as well: without it a job copies nothing
    environ = {**OWN, **dict.fromkeys(secret, "hush"), "ANY_NAME": "xoxb-1-2"}
    assert without_the_bot_s(environ) == OWN
    assert lasting(environ) == OWN


def test_nobody_but_the_run_s_own_user_may_read_it(layout: RunLayout) -> None:
    remember(layout, OWN)
    assert place(layout).stat().st_mode & 0o777 == 0o600


def test_file_that_others_could_read_or_plant_is_not_taken(layout: RunLayout, tmp_path: Path) -> None:
    assert recall(layout) is None
    remember(layout, OWN)
    place(layout).chmod(0o644)
    assert recall(layout) is None
    place(layout).rename(tmp_path / "elsewhere.json")
    (tmp_path / "elsewhere.json").chmod(0o600)
    place(layout).symlink_to(tmp_path / "elsewhere.json")
    assert recall(layout) is None


def test_planted_names_of_the_cluster_are_left_out_when_it_is_read(layout: RunLayout) -> None:
    replace_json(place(layout), {"environment": {**OWN, "SLURM_CONF": "/tmp/x", "N": 1}}, mode=0o600)
    assert recall(layout) == OWN


def test_what_cannot_be_read_is_not_known(layout: RunLayout) -> None:
    place(layout).write_text("{")
    place(layout).chmod(0o600)
    assert recall(layout) is None


def test_start_is_seen_as_it_was_whatever_a_library_changed_since() -> None:
    code = (
        "import os; os.environ['LATER'] = '1'; "
        "from trainmaster.trainer.jobs.launch_environment import started_with as seen; "
        "print(seen().get('GIVEN'), seen().get('LATER'))"
    )
    root = Path(__file__).resolve().parents[4]
    out = subprocess.run(
        [sys.executable, "-c", code],
        env={"GIVEN": "a=b", "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert out.strip() == "a=b None"


def test_record_is_none_of_the_run_s_other_files(layout: RunLayout) -> None:
    remember(layout, OWN)
    assert [path.name for path in layout.guard.iterdir()] == [".environment.json"]
    assert (read_json(place(layout)) or {})["environment"] == OWN
