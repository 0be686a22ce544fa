"""Whose run a directory holds, as seen by a process that may be a later start of the same job. No pid is compared:
each node counts its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from trainmaster.trainer.contract import RunLayout, RunRecordState, read_json
from trainmaster.trainer.jobs.environment import RUN_ID_VARIABLE, job_of, launch_key, restarts

LOCK_PATIENCE_S: Final = 8.0
"""The data-loader workers of a killed trainer hold its lock until they notice, after 5 s (torch's
MP_STATUS_CHECK_INTERVAL)."""
RESTART_LOCK_PATIENCE_S: Final = 600.0
"""A job that was queued again may meet the trainer of its last start, whose node or daemon no longer answers: Slurm
gives that one up after SlurmdTimeout, 300 s by default. After this the new one gives its GPU back and says why."""


class Owner(StrEnum):
    """Whose a run directory is."""

    NOBODY = "nobody"
    """It holds no run."""
    OURS = "ours"
    """It holds the run that this process was started for."""
    ANOTHER = "another"
    UNREADABLE = "unreadable"
    """It holds one whose record is torn, as after the crash of a file server: never nobody's."""


def owner_of(layout: RunLayout, environ: Mapping[str, str], argv: Sequence[str] = ()) -> Owner:
    """By the run's id where a submission named it, else by the job, else by the launch, else by the very command.

    Raises:
        OSError: the record can't be read.
    """
    record = read_json(layout.run_json)
    if record is None:
        return Owner.UNREADABLE if layout.run_json.exists() else Owner.NOBODY
    return Owner.OURS if _is_ours(record, environ, argv) else Owner.ANOTHER


def _is_ours(record: Mapping[str, Any], environ: Mapping[str, str], argv: Sequence[str]) -> bool:
    named = environ.get(RUN_ID_VARIABLE)
    if named:
        return record.get("run") == named
    job = job_of(environ)
    if job is not None:
        known = record.get("job")
        return isinstance(known, dict) and (known.get("id"), known.get("cluster")) == (job.id, job.cluster)
    key = launch_key(environ)
    if key is not None and record.get("launch_key") == key:
        return True
    before = [word for word in record.get("argv") or () if not str(word).startswith("again=")]
    return bool(argv) and before[-len(argv) :] == list(argv)


def signed_in_before(layout: RunLayout, environ: Mapping[str, str]) -> bool:
    """Whether an earlier start of this very launch has begun to train."""
    key = launch_key(environ)
    record = read_json(layout.run_json) or {}
    return key is not None and record.get("launch_key") == key and record.get("state") != RunRecordState.SUBMITTED


def anything_saved(layout: RunLayout) -> bool:
    """Whether there is something to resume from."""
    return (layout.weights / "last.pt").is_file() or any(_files(layout.states))


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*.pt") if path.is_file()] if folder.is_dir() else []


def may_follow_another(environ: Mapping[str, str]) -> bool:
    """Whether this process may be the next start of a run whose last one its cluster has lost sight of."""
    return restarts(environ) > 0 or bool(environ.get(RUN_ID_VARIABLE))


def lock_patience_s(environ: Mapping[str, str]) -> float:
    """How long to wait for the trainer that still holds the run."""
    return RESTART_LOCK_PATIENCE_S if may_follow_another(environ) else LOCK_PATIENCE_S
