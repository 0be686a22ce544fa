"""A verb that lacks something says what to install, before it creates anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.installed.conftest import Environment
from trainmaster.trainer.contract import MODULE_ARGV, ExitCode
from trainmaster.verbs import VERBS

NEEDY = {
    "train": ("train", "model=yolo11n.yaml", "data=data.yaml", "project=out"),
    "resume": ("resume", "out/run"),
    "replay": ("replay", "out/run", "0001"),
    "plot": ("plot", "out/run"),
    "copy": ("copy", "out/run", "to=/nowhere"),
    "selfcheck": ("selfcheck",),
    "demo": ("demo", "--headless"),
    "drill": ("drill",),
    "drill of a run": ("drill", "out/run", "fault=nan-image"),
}


def test_every_verb_that_needs_something_is_tried() -> None:
    assert {name for name, verb in VERBS.items() if verb.needs} <= {words[0] for words in NEEDY.values()}


@pytest.mark.parametrize("started", ["command", "module"])
@pytest.mark.parametrize("name", [name for name, words in NEEDY.items() if words[0] in VERBS])
def test_it_says_what_to_install_and_creates_nothing(
    light: Environment, tmp_path: Path, name: str, started: str
) -> None:
    words = NEEDY[name]
    how = (light.script,) if started == "command" else (light.python, *MODULE_ARGV)
    said = light.run(*how, *words, cwd=tmp_path)
    assert said.returncode == ExitCode.BAD_ARGUMENTS
    extra = "trainer" if name == "drill of a run" else VERBS[words[0]].extra
    assert f"pip install 'trainmaster[{extra}]'" in said.stderr
    assert "Traceback" not in said.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_opencv_that_cannot_be_loaded_is_named_with_what_helps(installed: Environment, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "cv2.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')\n")
    work = tmp_path / "work"
    work.mkdir()
    said = installed.run(installed.script, "train", "model=a.yaml", "data=b.yaml", cwd=work, PYTHONPATH=str(broken))
    assert said.returncode == ExitCode.BAD_ARGUMENTS
    assert "libGL.so.1" in said.stderr
    assert "opencv-python-headless" in said.stderr
    assert list(work.iterdir()) == []


def test_verbs_that_need_neither_work_without(light: Environment, tmp_path: Path) -> None:
    (tmp_path / "no.pt").write_bytes(b"no checkpoint")
    said = light.run(light.script, "verify", "no.pt", cwd=tmp_path)
    assert "not-installed" not in said.stderr
    assert "unknown" in said.stdout
