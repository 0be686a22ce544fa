"""What ``sbatch`` is given beside its words, and what its answer means."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from trainmaster.trainer.jobs.script import MAX_MARGIN_SHARE, split_options, time_limit_s

_NUMBER: Final = re.compile(r"^(?:Submitted batch job )?(\d+)(?:;([\w.-]+))?(?: on cluster ([\w.-]+))?$", re.MULTILINE)
_LATE: Final = (
    *("Socket timed out", "Connection timed out", "Zero Bytes were transmitted", "(receive failure)"),
    *("Transport endpoint is not connected", "Unexpected message received"),
)
"""Of Slurm's error texts: those after which the controller may have taken the job all the same. Source:
slurm/slurm_errno.h."""

_KEPT: Final = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS", "SLURM_JWT")
PARTITIONS: Final = ("sinfo", "--all", "-h", "-o", "%R|%L|%l|%P")
"""Name, default and longest time limit of each partition; the default one has a star."""
_SHORT: Final = {"A": "account", "p": "partition", "q": "qos", "t": "time", "C": "constraint", "G": "gpus"}
_HABITS: Final = {
    **{f"SBATCH_{name.upper()}": name for name in ("account", "partition", "qos", "constraint", "reservation")},
    **{f"SBATCH_GPUS{name}": f"gpus{name.lower().replace('_', '-')}" for name in ("", "_PER_NODE", "_PER_TASK")},
    "SBATCH_TIMELIMIT": "time",
    "SBATCH_MEM_PER_NODE": "mem",
    "SBATCH_CPUS_PER_GPU": "cpus-per-gpu",
    "SBATCH_MEM_PER_CPU": "mem-per-cpu",
    "SBATCH_MEM_PER_GPU": "mem-per-gpu",
    "SBATCH_EXPORT": "export",
}
"""What people keep in their shell instead of giving it each time -> the option that it stands for. Source: sbatch(1),
INPUT ENVIRONMENT VARIABLES. The bot has no such shell, so they are recorded as options."""


def submitted(out: str) -> tuple[str, str | None] | None:
    """Number and cluster of the job that ``sbatch`` tells; None where it tells none. A site's own ``sbatch`` may say
    more before and after it."""
    found = list(_NUMBER.finditer(out.replace("\r", "")))
    return (found[-1][1], found[-1][2] or found[-1][3]) if found else None


def may_have_arrived(said: str) -> bool:
    """Whether a job may be in the queue although ``sbatch`` failed and said that."""
    return any(sign in said for sign in _LATE)


def with_habits(options: Sequence[str], environ: Mapping[str, str]) -> tuple[str, ...]:
    """``options``, and before them what ``environ`` says of those that are not given; as ``sbatch`` itself would."""
    given = {_SHORT.get(name, name) for name, _ in split_options(options)}
    if any(name.startswith("mem") for name in given):
        given |= {"mem", "mem-per-cpu", "mem-per-gpu"}
    habits = [f"--{name}={environ[key]}" for key, name in _HABITS.items() if environ.get(key) and name not in given]
    return (*habits, *options)


def short_limit(said: str, options: Sequence[str], margin_s: int) -> str | None:
    """The time limit that a job gets by its partition, where that is so short that to ask ``margin_s`` before it would
    take much of it; None where the options name a limit. ``said`` is the answer to :data:`PARTITIONS`."""
    given = {_SHORT.get(name, name): value for name, value in split_options(options)}
    if given.get("time"):
        return None
    for line in said.splitlines():
        name, default, most, marked = (*line.split("|"), "", "", "", "")[:4]
        if name == given["partition"] if given.get("partition") else marked.endswith("*"):
            limit = most if time_limit_s(default) is None else default
            limit_s = time_limit_s(limit)
            return limit if limit_s and margin_s > MAX_MARGIN_SHARE * limit_s else None
    return None


def without_a_job_s(environ: Mapping[str, str]) -> dict[str, str]:
    """``environ`` without what belongs to the job that it was taken from (its count of restarts would be the new
    job's), and without habits, which are options by now."""
    foreign = ("SLURM_", "SLURMD_", "SBATCH_", "SALLOC_", "SRUN_", "PMI")
    return {name: value for name, value in environ.items() if name in _KEPT or not name.startswith(foreign)}
