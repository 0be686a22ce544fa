"""What a job was started with, kept so that it is submitted with the same again.

The bot stands outside of the nodes and can't read ``/proc/PID/environ`` there, so the trainer writes it down, and
before it ``trainmaster sbatch``: in a file that the run's own user alone may read, as the kernel's own. What Slurm or
the node gave for that one start stays out, and what belongs to the bot (a person may have read its ``.env`` into their
shell). docs/decisions/0014-a-trainers-environment.md says why.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from trainmaster.trainer.contract import RUN_VARIABLE, RunLayout, read_json, replace_json
from trainmaster.trainer.jobs.environment import KEY_VARIABLE, OPTIONS_VARIABLE, RUN_ID_VARIABLE

_MAX_BYTES: Final = 1_000_000
"""The kernel's own limit is 2 MiB for arguments and environment together; nobody means so much."""

_OF_ONE_START: Final = frozenset(
    {
        *(KEY_VARIABLE, RUN_ID_VARIABLE, OPTIONS_VARIABLE, RUN_VARIABLE),
        *("HOSTNAME", "HOST", "PWD", "OLDPWD", "SHLVL", "_", "ENVIRONMENT", "GPU_DEVICE_ORDINAL"),
    }
)
_OF_THE_CLUSTER: Final = ("SLURM_", "SLURMD_", "SBATCH_", "SQUEUE_", "SACCT_", "SCANCEL_", "SALLOC_", "SRUN_", "PMI")
_DEVICES: Final = frozenset({"CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ZE_AFFINITY_MASK"})
_GIVES_DEVICES: Final = ("SLURM_JOB_GPUS", "SLURM_STEP_GPUS", "SLURM_GPUS_ON_NODE")
"""Where one of them is set, the devices are those that Slurm gave that start."""
_OF_THE_BOT: Final = frozenset(
    {
        *("WATCHDOG_URL", "PAGE_URLS", "METRICS_ADDRESS", "ALERT_CHANNEL", "INFO_CHANNEL"),
        *("ONCALL_USERS", "ONCALL_USERGROUP", "ESCALATE_TO", "RUN_OWNERS"),
    }
)


def lasting(environ: Mapping[str, str]) -> dict[str, str]:
    """What of ``environ`` belongs to the run: not to one start of its job, nor to the bot."""
    job = environ.get("SLURM_JOB_ID") or environ.get("SLURM_JOBID")
    by_slurm = _DEVICES if any(name in environ for name in _GIVES_DEVICES) else frozenset()
    kept = {
        name: value
        for name, value in without_the_bot_s(environ).items()
        if name not in _OF_ONE_START and name not in by_slurm and not name.startswith(_OF_THE_CLUSTER)
    }
    if job and job in kept.get("TMPDIR", ""):  # a folder that ends with the job
        del kept["TMPDIR"]
    return kept


def without_the_bot_s(environ: Mapping[str, str]) -> dict[str, str]:
    """``environ`` without the bot's tokens and addresses."""
    return {
        name: value
        for name, value in environ.items()
        if name not in _OF_THE_BOT and not name.startswith("SLACK_") and not value.startswith(("xoxb-", "xapp-"))
    }


def started_with() -> dict[str, str]:
    """What this very process was started with: libraries change its environment while they are imported."""
    try:
        text = Path("/proc/self/environ").read_bytes()
    except OSError:
        return dict(os.environ)
    pairs = (os.fsdecode(entry).partition("=") for entry in text.split(b"\0") if entry)
    return {name: value for name, equals, value in pairs if equals and name}


def place(layout: RunLayout) -> Path:
    """The file of that run that only its own user may read."""
    return layout.guard / ".environment.json"


def remember(layout: RunLayout, environ: Mapping[str, str]) -> None:
    """What lasts of ``environ`` is kept with the run.

    Raises:
        OSError: it could not be written; what was kept before stands.
    """
    kept = lasting(environ)
    if sum(map(len, kept.values())) <= _MAX_BYTES:
        replace_json(place(layout), {"v": 1, "environment": kept}, mode=0o600)


def recall(layout: RunLayout) -> dict[str, str] | None:
    """What the run's newest job was started with; None where that is not known, or where anybody but this process's own
    user may have written or read it."""
    try:
        status = place(layout).lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
            return None
        record = read_json(place(layout)) or {}
    except OSError:
        return None
    kept = record.get("environment")
    if not isinstance(kept, dict):
        return None
    return lasting({str(name): value for name, value in kept.items() if isinstance(value, str)})
