"""A trainer is started again with what its own launch had."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from trainmaster.bot.core.run.launch_spec import LaunchSpec
from trainmaster.bot.drivers.local.driver import LocalDriver
from trainmaster.bot.drivers.local.environment import trainer_environment
from trainmaster.bot.drivers.local.launch_environment import LaunchEnvironments
from trainmaster.trainer.contract import RUN_VARIABLE

WAITS = "print('up', flush=True); import time; time.sleep(60)"


def test_restart_has_what_the_launch_had_and_nothing_of_the_bot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "runs" / "night"
    own = {"PATH": os.environ["PATH"], "WANDB_API_KEY": "theirs", "CUDA_VISIBLE_DEVICES": "3"}
    first = subprocess.Popen([sys.executable, "-c", WAITS], env=own, stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    assert first.stdout.readline() == "up\n"
    driver = LocalDriver(tmp_path / "launches")
    driver.environments.remember(run, first.pid)
    first.kill()
    first.communicate()
    monkeypatch.setenv("WATCHDOG_URL", "https://secret.example/ping")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    spec = LaunchSpec(
        key="k1",
        argv=(sys.executable, "-c", WAITS),
        cwd=tmp_path,
        log=tmp_path / "train.log",
        env={RUN_VARIABLE: str(run)},
        run="night",
    )
    process = driver.launch(spec)
    try:
        deadline = time.monotonic() + 30
        while spec.log.read_text(encoding="utf-8") != "up\n" and time.monotonic() < deadline:
            time.sleep(0.02)  # until it has become what it was started as, it has no environment
        seen = psutil.Process(process.pid).environ()
        assert {name: seen.get(name) for name in own} == own
        assert "WATCHDOG_URL" not in seen
        assert seen[RUN_VARIABLE] == str(run)
    finally:
        psutil.Process(process.pid).kill()
        while not driver.inspect(process).over:
            time.sleep(0.02)


def test_kept_environment_is_for_its_user_only_and_for_its_run_only(tmp_path: Path) -> None:
    kept = LaunchEnvironments(tmp_path / "environments")
    kept.remember(tmp_path / "a", os.getpid())
    (file,) = (tmp_path / "environments").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert (kept.recall(tmp_path / "a") or {}).get("PATH") == psutil.Process().environ()["PATH"]
    assert kept.recall(tmp_path / "b") is None


@pytest.mark.parametrize(
    "name", ["WATCHDOG_URL", "SLACK_BOT_TOKEN", "PAGE_URLS", "AWS_SECRET_ACCESS_KEY", "ONCALL_USERS", "SLURM_JOB_ID"]
)
def test_nothing_of_the_bots_own_goes_along(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "the bot's")
    assert name not in trainer_environment({})
    assert trainer_environment({name: "the run's"})[name] == "the run's"


def test_a_trainer_has_the_bots_place_for_copies_and_keeps_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COPY_TO", "/mnt/of-the-bot")
    assert trainer_environment({})["COPY_TO"] == "/mnt/of-the-bot"
    assert trainer_environment({}, {"PATH": "/bin"})["COPY_TO"] == "/mnt/of-the-bot"
    assert trainer_environment({}, {"COPY_TO": "/mnt/its-own"})["COPY_TO"] == "/mnt/its-own"
