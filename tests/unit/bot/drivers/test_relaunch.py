"""How a run that something else started goes on from its ``last.pt``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainmaster.bot.core.run.facts import ProcessIdentity
from trainmaster.bot.drivers.local.driver import LocalDriver
from trainmaster.bot.drivers.relaunch import relaunch_from, yolo_resume
from trainmaster.bot.errors import CommandError


@pytest.mark.parametrize(
    ("cmdline", "resumed"),
    [
        pytest.param(
            "python /v/bin/yolo detect train data=a.yaml model=yolo11n.pt epochs=100 lr0=0.01 device=0",
            "python /v/bin/yolo detect train resume=True model={last} device=0",
            id="task and mode as words",
        ),
        pytest.param(
            "/v/bin/yolo train data=a.yaml", "/v/bin/yolo train resume=True model={last}", id="no interpreter shown"
        ),
        pytest.param(
            "yolo task=segment mode=train batch=8",
            "yolo task=segment mode=train resume=True model={last} batch=8",
            id="k=v",
        ),
        pytest.param("yolo train resume model=x/last.pt", "yolo train resume=True model={last}", id="resumed before"),
        pytest.param("yolo detect val model=x.pt", "", id="no training"),
        pytest.param("python train.py --epochs 100", "", id="a script"),
        pytest.param("", "", id="hidden"),
    ],
)
def test_command_of_the_yolo_program_becomes_one_that_goes_on(cmdline: str, resumed: str) -> None:
    assert " ".join(yolo_resume(cmdline.split())) == resumed


@pytest.fixture
def process(tmp_path: Path) -> ProcessIdentity:
    found = LocalDriver(tmp_path / "launches").identify(os.getpid())
    assert found is not None
    return found


def test_command_of_a_person_gets_the_path_of_the_checkpoint(tmp_path: Path, process: ProcessIdentity) -> None:
    how = relaunch_from(tmp_path, process, "python 'my train.py' --from {last}", tmp_path, ("CUDA_VISIBLE_DEVICES=1",))
    assert how is not None
    assert how.argv == ("python", "my train.py", "--from", str(tmp_path / "weights" / "last.pt"))
    assert ("CUDA_VISIBLE_DEVICES", "1") in how.env


def test_process_tells_its_folder_and_what_decides_where_it_runs_but_no_secret(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "CUDA_VISIBLE_DEVICES": "3", "WANDB_API_KEY": "s3cret"}
    code = "import sys; print('ready', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path, env=environment
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        other = LocalDriver(tmp_path / "launches").identify(child.pid)
        how = relaunch_from(tmp_path, other, "python train.py {last}", None, ())
        child.communicate()
    assert how is not None
    assert how.cwd == str(tmp_path)
    assert ("CUDA_VISIBLE_DEVICES", "3") in how.env
    assert "s3cret" not in str(how)


def test_process_that_shows_no_yolo_leaves_it_unknown(tmp_path: Path, process: ProcessIdentity) -> None:
    assert relaunch_from(tmp_path, process, None, None, ()) is None


@pytest.mark.parametrize(
    ("launch", "cwd", "env", "slug"),
    [
        pytest.param("python train.py", None, (), "adopt-launch", id="would train from the start"),
        pytest.param("python 'train.py {last}", None, (), "adopt-launch", id="open quote"),
        pytest.param("python t.py {last}", Path("/nowhere"), (), "adopt-cwd", id="no such folder"),
        pytest.param("python t.py {last}", None, ("A B",), "adopt-env", id="no assignment"),
    ],
)
def test_command_that_cannot_be_is_refused(
    tmp_path: Path, process: ProcessIdentity, launch: str, cwd: Path | None, env: tuple[str, ...], slug: str
) -> None:
    with pytest.raises(CommandError) as caught:
        relaunch_from(tmp_path, process, launch, cwd, env)
    assert caught.value.slug == slug


def test_command_without_a_process_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="needs --pid"):
        relaunch_from(tmp_path, None, "python t.py {last}", tmp_path, ())
