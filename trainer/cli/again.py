"""``again=auto``: the same command, given once more by a cluster or a service manager, goes on with its run."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from trainmaster.trainer.arguments import ArgumentsError, reject_unknown
from trainmaster.trainer.contract import RunLayout, RunRecordState, read_json
from trainmaster.trainer.jobs.environment import RUN_ID_VARIABLE, restarts
from trainmaster.trainer.jobs.ownership import Owner, anything_saved, owner_of

KEY: Final = "again"
AUTO: Final = "auto"
NO: Final = "no"
_TASKS: Final = ("detect", "segment", "classify", "pose", "obb")


def taken_out(settings: dict[str, str]) -> bool:
    """Whether the command may go on with its own run; ``again`` is no longer among ``settings``. A job that was queued
    again does so unasked: to start its run anew would put its epochs aside.

    Raises:
        ArgumentsError: it is neither auto nor no.
    """
    value = settings.pop(KEY, None)
    if value is not None:
        reject_unknown([value], (AUTO, NO), f"{KEY}=")
    return value == AUTO or (value is None and restarts(os.environ) > 0)


def own_run(given: dict[str, Any]) -> RunLayout | None:
    """The run that an earlier start of this command began; None when there is none. A directory that was made for this
    job alone holds its run, however torn the record, or where it is gone.

    Raises:
        ArgumentsError: the directory that was asked for by name holds another run, or nobody knows which.
    """
    named = os.environ.get(RUN_ID_VARIABLE)
    words = [word for word in sys.argv[1:] if not word.startswith(f"{KEY}=")]
    for directory in _candidates(given):
        layout = RunLayout(directory)
        owner = owner_of(layout, os.environ, words)
        torn = owner is Owner.UNREADABLE or (owner is Owner.NOBODY and anything_saved(layout))
        if owner is Owner.OURS or (torn and named and given.get("exist_ok")):
            return layout
        if owner is Owner.UNREADABLE and given.get("exist_ok"):
            raise ArgumentsError(
                f"whose run {directory} holds can't be told: its guard/run.json is torn",
                f"trainmaster resume {shlex.quote(str(directory))} goes on with it; another name= begins a new one",
            )
        if owner is Owner.ANOTHER and given.get("exist_ok"):
            run = (read_json(layout.run_json) or {}).get("run")
            raise ArgumentsError(
                f"{directory} holds another run ({run}) than this one ({named or 'unnamed'})",
                f"give this run another name, or go on with that one: trainmaster resume {shlex.quote(str(directory))}",
            )
    return None


def is_finished(layout: RunLayout) -> bool:
    """Whether nothing is left to do."""
    return (read_json(layout.run_json) or {}).get("state") == RunRecordState.FINISHED


def _candidates(given: dict[str, Any]) -> Iterator[Path]:
    """Where Ultralytics may have put the run: the name that was asked for, and those with a number behind it."""
    from ultralytics.cfg import get_save_dir  # noqa: PLC0415 - takes seconds

    seen: set[Path] = set()
    for task in [given["task"]] if given.get("task") else _TASKS:
        names = {"project": given.get("project"), "name": given.get("name"), "save_dir": given.get("save_dir")}
        base = Path(get_save_dir(SimpleNamespace(**names, task=task, mode="train", exist_ok=True)))
        if base in seen:
            continue
        seen.add(base)
        numbered = [] if given.get("exist_ok") else sorted(base.parent.glob(f"{_literal(base.name)}*"), reverse=True)
        yield from (path for path in dict.fromkeys([*numbered, base]) if path.is_dir())


def _literal(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)
