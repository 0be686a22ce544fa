"""The steps of the bot's image, run in plain folders: where no builder is, they are what a builder would do."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.dockerfile import read_stages

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(300)
def test_the_steps_of_the_bots_image_make_a_bot_without_torch(tmp_path: Path) -> None:
    """Every ``RUN`` of the building stage, with its two folders below ``tmp_path``."""
    source, prefix = tmp_path / "source", tmp_path / "opt"
    source.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    environment["PIP_COMPILE"] = "0"  # three starts follow, not a thousand; NO_COMPILE=1 is pip's way to ask for it
    for step in read_stages(ROOT / "container" / "bot.Dockerfile")[0]:
        if step.name == "COPY":
            for name in step.rest.split()[:-1]:
                here = ROOT / name
                skip = shutil.ignore_patterns("__pycache__")  # a builder copies links as links
                shutil.copytree(here, source / name, ignore=skip, symlinks=True) if here.is_dir() else shutil.copy(
                    here, source
                )
        elif step.name == "RUN":
            command = step.rest.replace("/opt/trainmaster", str(prefix))
            done = subprocess.run(
                ["sh", "-c", command], cwd=source, env=environment, capture_output=True, text=True, check=False
            )
            if done.returncode and "No matching distribution" in done.stderr + done.stdout:
                pytest.skip("the packages of the image cannot be fetched here")
            assert done.returncode == 0, done.stderr[-2000:]
    script = prefix / "bin" / "trainmaster"
    shutil.rmtree(source)
    plain = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    said = subprocess.run([script, "manifest"], cwd=tmp_path, env=plain, capture_output=True, text=True, check=True)
    assert "display_information" in said.stdout
    lacking = subprocess.run(
        [prefix / "bin" / "python", "-c", "import torch"], cwd=tmp_path, env=plain, capture_output=True, check=False
    )
    assert lacking.returncode != 0
    refused = subprocess.run([script, "run"], cwd=tmp_path, env=plain, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "SLACK_BOT_TOKEN is not set" in refused.stderr


def test_the_health_check_fails_where_nothing_answers() -> None:
    (check,) = (one.rest for one in read_stages(ROOT / "container" / "bot.Dockerfile")[-1] if one.name == "HEALTHCHECK")
    code = check.split('"-c", "')[1].removesuffix('"]')
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        asked = code.replace("9464", str(free.getsockname()[1]))
        done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "Connection refused" in done.stderr
