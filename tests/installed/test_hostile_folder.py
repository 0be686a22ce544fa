"""No file of a user's hides one of ours, for the command and for every command that the bot starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.installed.conftest import HOSTILE, Environment, Trap
from tests.support.pictures import noise
from tests.support.run_dirs import WrittenRun
from tests.support.tiny_model import write_tiny_model
from trainmaster.bot.core.run.facts import RunRecord
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.drivers.local.environment import trainer_environment
from trainmaster.bot.drivers.trainer_cli import TrainerCli
from trainmaster.trainer.contract import MODULE_ARGV, ExitCode
from trainmaster.verbs import VERBS

LIGHT_VERBS = [name for name, verb in VERBS.items() if not verb.needs]


def test_the_trap_would_spring(installed: Environment, trap: Trap) -> None:
    """Python's own way to start a module looks in the current folder first."""
    installed.run(installed.python, "-m", "trainmaster", "--help", cwd=trap.folder)
    assert trap.executed


@pytest.mark.parametrize("name", ["--help", "--version", *VERBS])
def test_the_command_executes_nothing_of_the_current_folder(installed: Environment, trap: Trap, name: str) -> None:
    words = [name] if name.startswith("-") else [name, "--help"]
    said = installed.run(installed.script, *words, cwd=trap.folder)
    assert said.returncode == 0, said.stderr
    assert trap.executed == []


@pytest.mark.parametrize("name", LIGHT_VERBS)
def test_a_verb_at_work_executes_nothing_of_the_current_folder(light: Environment, trap: Trap, name: str) -> None:
    words = [name] if VERBS[name].side == "bot" else [name, str(trap.folder)]
    said = light.run(light.script, *words, cwd=trap.folder)
    assert "Traceback" not in said.stderr
    assert trap.executed == []


@pytest.mark.parametrize("name", LIGHT_VERBS)
def test_a_command_as_the_bot_starts_it_executes_nothing(light: Environment, trap: Trap, name: str) -> None:
    light.run(light.python, *MODULE_ARGV, name, str(trap.folder), cwd=trap.folder)
    assert trap.executed == []


@pytest.mark.training
def test_a_training_and_its_resume_execute_nothing_of_the_folder_they_start_in(
    installed: Environment, trap: Trap, tmp_path: Path
) -> None:
    data = noise(tmp_path / "data")
    words = (f"model={write_tiny_model(tmp_path)}", f"data={data}", "epochs=2", "imgsz=32", "batch=4", "workers=1")
    quiet = ("device=cpu", "plots=False", "amp=False", f"project={tmp_path / 'runs'}", "name=run")
    shared = {"YOLO_CONFIG_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    train = (installed.python, *MODULE_ARGV, "train", *words, *quiet, "time=0.0001")
    said = installed.run(*train, cwd=trap.folder, **shared)
    assert said.returncode == ExitCode.FINISHED, said.stderr
    again = (installed.python, *MODULE_ARGV, "resume", str(tmp_path / "runs" / "run"), "from=1")
    installed.run(*again, cwd=trap.folder, **shared)
    assert trap.executed == []


async def test_the_bot_in_a_checkout_examines_a_run_of_another_python(light: Environment, trap: Trap) -> None:
    """That Python has no Trainmaster of its own; it gets the bot's, and the run's folder stays out of it."""
    run = WrittenRun(trap.folder)
    record = RunRecord.parse({"run": run.run, "python": str(light.python), "cwd": str(trap.folder)})
    view = RunView(directory=run.layout.root, name="digits", ts=0.0, first_seen_ts=0.0, record=record)
    assert await TrainerCli().catalog(view) == ()
    assert await TrainerCli().archives(view) == ()
    assert trap.executed == []


@pytest.mark.parametrize("given", ["", ":", ".", ":/nowhere", "/nowhere::"])
def test_an_empty_entry_of_the_path_does_not_let_the_folder_in(
    trap: Trap, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv("PYTHONPATH", given)
    environment = trainer_environment({})
    assert "" not in environment["PYTHONPATH"].split(os.pathsep)
    assert "." not in environment["PYTHONPATH"].split(os.pathsep)


def test_modules_called_as_our_folders_are_are_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a checkout, too, where folders of these names stand at the root."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    for name in ("trainer", "bot", "commands", "tests"):
        (tmp_path / f"{name}.py").write_text("MINE = True\n", encoding="utf-8")
    code = (
        "import sys; sys.path.append(sys.argv[1]); import trainer, bot, commands, tests, trainmaster.trainer.contract; "
        "print(trainer.MINE, bot.MINE, commands.MINE, tests.MINE)"
    )
    said = Environment(python=Path(sys.executable), site=tmp_path).run(
        *(sys.executable, "-P", "-S", "-c", code, str(tmp_path)), cwd=tmp_path
    )
    assert "No module named 'trainmaster'" in said.stderr  # -S: not even an editable install of it
    done = subprocess.run(
        [sys.executable, "-P", "-S", "-c", code, str(tmp_path)],
        env=trainer_environment({}),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "True True True True", done.stderr


def test_a_users_script_has_the_guard_whatever_lies_beside_it(installed: Environment, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    trap = Trap(folder=tmp_path / "theirs")
    trap.lay("trainer", "bot", "commands", "tests")
    script = trap.folder / "my_training.py"
    script.write_text(
        "from trainmaster import GuardedDetectionTrainer, guarded\n"
        "from ultralytics.models.yolo.detect import DetectionTrainer\n"
        "print(GuardedDetectionTrainer.__module__, issubclass(guarded(DetectionTrainer), DetectionTrainer))\n",
        encoding="utf-8",
    )
    said = installed.run(installed.python, script, cwd=trap.folder, YOLO_CONFIG_DIR=str(tmp_path))
    assert said.stdout.splitlines()[-1] == "trainmaster.trainer.guard True", said.stderr
    assert trap.executed == []


def test_a_trainer_class_in_the_users_own_trainer_module_is_found(tmp_path: Path, installed: Environment) -> None:
    (tmp_path / "trainer.py").write_text(
        "from trainmaster import GuardedDetectionTrainer\n\n\nclass Mine(GuardedDetectionTrainer):\n    pass\n",
        encoding="utf-8",
    )
    code = (
        "from trainmaster.trainer.cli.trainer_class import by_name; print(by_name('trainer:Mine', 'detect').__name__)"
    )
    said = installed.run(installed.python, "-P", "-c", code, cwd=tmp_path, YOLO_CONFIG_DIR=str(tmp_path))
    assert said.stdout.splitlines()[-1:] == ["Mine"], said.stderr


def test_the_package_that_pypi_calls_trainer_is_no_part_of_it(installed: Environment, tmp_path: Path) -> None:
    theirs = installed.site / "trainer"
    theirs.mkdir()
    try:
        (theirs / "__init__.py").write_text("raise RuntimeError('not ours')\n", encoding="utf-8")
        run = WrittenRun(tmp_path)
        said = installed.run(*(installed.python, *MODULE_ARGV, "catalog", str(run.layout.root), "--json"), cwd=tmp_path)
        assert (said.returncode, json.loads(said.stdout)["checkpoints"]) == (0, [])
        ours = installed.run(installed.script, "train", "--help", cwd=tmp_path)
        assert ours.returncode == 0
    finally:
        (theirs / "__init__.py").unlink()
        theirs.rmdir()


def test_hostile_names_cover_our_folders_and_the_standard_library() -> None:
    assert {"trainer", "bot", "commands", "json", "types", "typing", "torch"} <= set(HOSTILE)
