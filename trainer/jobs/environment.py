"""Whose job this process is: what Slurm put into its environment."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Final

from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.contract import ClusterJob

RUN_ID_VARIABLE: Final = "TRAINMASTER_RUN_ID"
"""The id of the run that a job was submitted for: it starts no other."""
KEY_VARIABLE: Final = "TRAINMASTER_LAUNCH_KEY"
"""Which launch a trainer comes from, however often its job is queued again."""
OPTIONS_VARIABLE: Final = "TRAINMASTER_JOB_OPTIONS"
"""The options of ``sbatch`` as a list in JSON, so that the job can be submitted again with the same."""


_ON_A_NODE: Final = frozenset({"SLURMD_NODENAME", "SLURM_PROCID", "SLURM_STEP_ID", "SLURM_STEPID"})
"""What only a node's daemon sets, for a batch script and for each task of ``srun``."""


_NO_LIMIT_S: Final = 364 * 86_400
"""Slurm lets a job without a limit end in a year."""


def job_of(environ: Mapping[str, str]) -> ClusterJob | None:
    """``job`` of ``run.json``; None outside of Slurm, and in the shell that ``salloc`` gives on the host where it was
    called: what trains there is a process of that host, which no command of Slurm's reaches.

    Of an array's task ``id`` is its own number, by which the queue knows it, not the array's.
    """
    number = environ.get("SLURM_JOB_ID") or environ.get("SLURM_JOBID")
    if not number or ("SLURM_SUBMIT_HOST" in environ and not _ON_A_NODE.intersection(environ)):
        return None
    return ClusterJob(
        id=number,
        cluster=environ.get("SLURM_CLUSTER_NAME"),
        array_task=_whole(environ.get("SLURM_ARRAY_TASK_ID")),
        restart=restarts(environ),
        node=environ.get("SLURMD_NODENAME") or environ.get("SLURM_JOB_NODELIST"),
        partition=environ.get("SLURM_JOB_PARTITION"),
        end_ts=_whole(environ.get("SLURM_JOB_END_TIME")),
        options=_options(environ),
    )


def restarts(environ: Mapping[str, str]) -> int:
    """How often the job was queued again before this start; 0 outside of Slurm."""
    return _whole(environ.get("SLURM_RESTART_COUNT")) or 0


def launch_key(environ: Mapping[str, str]) -> str | None:
    """The launch that this process comes from."""
    return environ.get(KEY_VARIABLE) or None


def refuse_several_nodes(environ: Mapping[str, str]) -> None:
    """The job has one node, and its step starts one trainer.

    Raises:
        ArgumentsError: it has more: Ultralytics takes its number of ranks from ``device=`` and starts them itself, so
            on two nodes each would train a run of its own in one directory.
    """
    nodes = _whole(environ.get("SLURM_JOB_NUM_NODES") or environ.get("SLURM_NNODES"))
    if nodes is not None and nodes > 1:
        raise ArgumentsError(
            f"this job has {nodes} nodes (SLURM_NNODES), and a run trains on one: Ultralytics starts its ranks itself, "
            "from device=, and would count them wrong",
            "sbatch --nodes=1, with as many GPUs of that node as you like: device=0,1",
        )
    tasks = _whole(environ.get("SLURM_STEP_NUM_TASKS"))
    if tasks is not None and tasks > 1:
        raise ArgumentsError(
            f"srun starts this command {tasks} times (SLURM_STEP_NUM_TASKS), and a run has one trainer: Ultralytics "
            "starts its ranks itself, from device=",
            "srun --ntasks=1 --gpus-per-task=2 ... device=0,1; in a batch script no srun at all",
        )


def refuse_to_resume_as_rank(environ: Mapping[str, str]) -> None:
    """One process plans how a run goes on, and puts its directory right.

    Raises:
        ArgumentsError: ``torchrun`` or a cluster has started several, which would do so beside each other.
    """
    named = _whole(environ.get("WORLD_SIZE"))
    if environ.get("RANK") is not None and named is not None and named > 1:
        raise ArgumentsError(
            f"this process is rank {environ['RANK']} of {named} (RANK, WORLD_SIZE), and a run goes on from one process",
            "trainmaster resume RUN_DIR without torchrun: Ultralytics starts its ranks itself, from device=",
        )


def _options(environ: Mapping[str, str]) -> tuple[str, ...]:
    """As they were given to ``trainmaster sbatch``; else what the environment tells of a job submitted by hand."""
    told = environ.get(OPTIONS_VARIABLE)
    if told:
        try:
            words = json.loads(told)
        except ValueError:
            words = None
        if isinstance(words, list):
            return tuple(str(word) for word in words)
    by_hand = {
        "partition": environ.get("SLURM_JOB_PARTITION"),
        "account": environ.get("SLURM_JOB_ACCOUNT"),
        "qos": environ.get("SLURM_JOB_QOS"),
        "cpus-per-task": environ.get("SLURM_CPUS_PER_TASK"),
        "mem": environ.get("SLURM_MEM_PER_NODE"),
        "mem-per-cpu": environ.get("SLURM_MEM_PER_CPU"),
        "reservation": environ.get("SLURM_JOB_RESERVATION"),
        "time": _limit_min(environ),
        **_gpus(environ),
    }
    return tuple(f"--{name}={value}" for name, value in by_hand.items() if value)


def _gpus(environ: Mapping[str, str]) -> dict[str, str | None]:
    """As they were asked for, with their type (``a100:2``), where Slurm tells that."""
    if per_node := environ.get("SLURM_GPUS_PER_NODE"):
        return {"gpus-per-node": per_node}
    return {"gpus": environ.get("SLURM_GPUS") or environ.get("SLURM_GPUS_ON_NODE")}


def _limit_min(environ: Mapping[str, str]) -> str | None:
    """The time limit, which newer versions of Slurm tell (22.05 does not); None else, and of a job that has none."""
    start_ts, end_ts = (_whole(environ.get(f"SLURM_JOB_{name}_TIME")) for name in ("START", "END"))
    if start_ts is None or end_ts is None or not 0 < end_ts - start_ts < _NO_LIMIT_S:
        return None
    return f"{math.ceil((end_ts - start_ts) / 60)}"


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None
