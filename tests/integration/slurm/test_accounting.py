"""With slurmdbd: how a job ended is known after the controller has forgotten it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.integration.slurm.conftest import laboratory
from tests.support.slurm import cluster, needs_slurm, until

_PROGRAMS = ("slurmdbd", "mariadbd", "mariadb-install-db")
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"

pytestmark = [
    *(pytest.mark.slurm, pytest.mark.cluster, pytest.mark.training, needs_slurm, pytest.mark.timeout(300)),
    pytest.mark.skipif(
        any(shutil.which(one, path=_PATH) is None for one in _PROGRAMS),
        reason="no slurmdbd: apt-get install --no-install-recommends slurmdbd slurm-wlm-mysql-plugin "
        "mariadb-server-core mariadb-client-core",
    ),
]


async def test_end_that_the_controller_has_forgotten_is_told_from_the_accounting(
    tmp_path: Path, material: Path
) -> None:
    with cluster(NODES="2", ACCT="dbd", MIN_JOB_AGE="2") as made:
        async with laboratory(tmp_path, material, made) as lab:
            number = lab.number
            await lab.bot.stop()
            made.ask("scancel", "--signal=KILL", "--batch", number)
            until(lambda: not made.job(number), what="the controller to forget", timeout_s=90, every_s=1)
            await lab.bot.start()
            await lab.reads("the training process died", "Slurm says: its job failed", "signal 9")
