"""The environment of trainer processes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from trainmaster import __file__ as face

_HIDDEN: Final = ("SLACK_BOT_TOKEN", "SLACK_APP_TOKEN")
"""Tokens are the bot's alone: a trainer's environment ends in crash dumps and experiment trackers."""

_OF_ANOTHER_JOB: Final = ("SLURM_", "SBATCH_")
"""A bot that itself runs in a job of a cluster: what it starts is not that job."""
_CLUSTER_ADDRESS: Final = ("SLURM_CONF", "SLURM_CONF_SERVER")


def trainer_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """The bot's own without its secrets, with ``extra``, and such that the trainer is found when the bot runs from a
    checkout. Installed packages are left alone: those of another Python must not be mixed in."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in _HIDDEN and (name in _CLUSTER_ADDRESS or not name.startswith(_OF_ANOTHER_JOB))
    }
    root = Path(face).resolve().parent.parent
    if root.name not in {"site-packages", "dist-packages"}:
        given = extra.get("PYTHONPATH", environment.get("PYTHONPATH", ""))
        environment["PYTHONPATH"] = os.pathsep.join([part for part in (given, str(root)) if part])
    return {**environment, **{name: value for name, value in extra.items() if name != "PYTHONPATH"}}
