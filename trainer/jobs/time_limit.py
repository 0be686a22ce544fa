"""How long a job may run, asked of Slurm itself where its environment does not tell: that of 22.05 never does."""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from trainmaster.trainer.contract import ClusterJob
from trainmaster.trainer.jobs.environment import OPTIONS_VARIABLE
from trainmaster.trainer.jobs.script import time_limit_s

_TIMEOUT_S: Final = 5.0
"""A controller that answers takes 20 ms; one that is down must not keep the training."""
_FIELDS: Final = "JobID:|,TimeLimit:|,EndTime:|"


def with_limit(job: ClusterJob | None, environ: Mapping[str, str]) -> ClusterJob | None:
    """``job`` with ``end_ts`` and, where a person submitted it by hand, with its time limit among the options, so that
    it is submitted again with the same; as it was where Slurm does not answer, or knows no limit."""
    if job is None or job.end_ts is not None:
        return job
    for line in _told(job.id, environ).splitlines():
        number, limit, end = (*(word.strip() for word in line.split("|")), "", "", "")[:3]
        if number != job.id:  # of an array's last task, squeue tells the whole array
            continue
        limit_s = time_limit_s(limit)
        by_hand = OPTIONS_VARIABLE not in environ and not any(word.startswith("--time=") for word in job.options)
        options = (*job.options, f"--time={math.ceil(limit_s / 60)}") if limit_s and by_hand else job.options
        return replace(job, end_ts=float(end) if limit_s and end.isdecimal() else None, options=options)
    return job


def _told(number: str, environ: Mapping[str, str]) -> str:
    program = shutil.which("squeue", path=environ.get("PATH"))
    if program is None:
        return ""
    kept = {name: value for name, value in environ.items() if not name.startswith(("SQUEUE_", "SLURM_CLUSTERS"))}
    try:
        return subprocess.run(
            [program, "-h", "-j", number, "-O", _FIELDS],
            env={**kept, "LC_ALL": "C", "SLURM_TIME_FORMAT": "%s"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
