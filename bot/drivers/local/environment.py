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

_CHECKOUT: Final = Path(face).resolve().parent.parent
_ALONE: Final = _CHECKOUT / "trainmaster" / "alone"
"""In a checkout: a folder that holds a link to our package and nothing else. The checkout's root on the path would put
``bot``, ``trainer``, ``commands`` and ``tests`` before modules that a user calls so."""


def trainer_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """The bot's own without its secrets, with ``extra``, and such that the trainer is found when the bot runs from a
    checkout. Installed packages are left alone: those of another Python must not be mixed in.

    Of the bot's own ``PYTHONPATH`` only absolute entries stay: an empty or relative one means whatever folder a process
    starts in, and a run's folder may hold a ``json.py``. What ``extra`` gives stays as it is."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in _HIDDEN and (name in _CLUSTER_ADDRESS or not name.startswith(_OF_ANOTHER_JOB))
    }
    inherited = environment.pop("PYTHONPATH", "").split(os.pathsep)
    path = [extra["PYTHONPATH"]] if "PYTHONPATH" in extra else [part for part in inherited if Path(part).is_absolute()]
    if _CHECKOUT.name not in {"site-packages", "dist-packages"}:
        path.append(str(_ALONE))
    if any(path):
        environment["PYTHONPATH"] = os.pathsep.join(part for part in path if part)
    return {**environment, **{name: value for name, value in extra.items() if name != "PYTHONPATH"}}
