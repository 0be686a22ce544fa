"""``resume=`` among a trainer's overrides, as a script gives it: the plan that the command would make of it."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ultralytics.cfg import TASK2DATA

from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.checkpoints.forensics import judge
from trainmaster.trainer.checkpoints.ledger import attestations
from trainmaster.trainer.contract import RunLayout
from trainmaster.trainer.jobs.environment import refuse_to_resume_as_rank
from trainmaster.trainer.records.run_directory import RunLock
from trainmaster.trainer.state.resume_plan import PLAN_KEY, ResumePlan, ResumeRefusedError, make_plan
from trainmaster.trainer.stop import Refused

_PASSED_ALONG: Final = frozenset({"model", "task", "mode", "resume", "pretrained", "save_dir", "cfg", "exist_ok"})
"""By ``YOLO.train``, whether or not anybody asked for it."""
_STAYS: Final = ("project", "name")
"""A run stays in its directory; Ultralytics, too, says that it ignores these."""
_OF_AN_EPOCH: Final = re.compile(r"(best|epoch\d+)\.pt")


def plan_for_api(given: Mapping[str, Any]) -> tuple[ResumePlan, dict[str, Any]]:
    """As :func:`make_plan` for ``resume=True`` or ``resume=RUN/weights/last.pt`` among a trainer's overrides, with
    ``best.pt`` or ``epoch3.pt`` from the end of that file's epoch.

    Ultralytics' own resume would ignore the settings and take the half-precision file.

    Raises:
        Refused: as a SystemExit with exit code 5.
        ArgumentsError: that is no run's checkpoint, a setting cannot be, or this is one of several ranks.
    """
    refuse_to_resume_as_rank(os.environ)
    path = Path(str(given["model"] if given["resume"] is True else given["resume"])).resolve()
    layout = RunLayout(path if path.is_dir() else path.parent.parent)
    from_epoch = None if path.is_dir() else _epoch_of(layout, path)
    if not (layout.weights / "last.pt").is_file() and not layout.states.is_dir():
        raise _no_checkpoint(path)
    own = {key: value for key, value in given.items() if key not in _PASSED_ALONG and value is not None}
    stays = {key: own.pop(key) for key in _STAYS if key in own}
    if own.get("data") in TASK2DATA.values():
        del own["data"]  # what YOLO.train gives where nobody does
    lock = RunLock(layout)
    try:
        plan, overrides = make_plan(layout, lock, from_epoch=from_epoch, given=own)
    except ResumeRefusedError as refusal:
        lock.release()
        raise Refused(str(refusal)) from None
    except BaseException:
        lock.release()
        raise
    if lost := [f"{key}={value}" for key, value in stays.items() if value != plan.state["args"].get(key)]:
        note = f"{', '.join(lost)} is not taken: the run stays in {layout.root}"
        plan = overrides[PLAN_KEY] = dataclasses.replace(plan, notes=(*plan.notes, note))
    return plan, overrides


def _epoch_of(layout: RunLayout, path: Path) -> int | None:
    """The epoch (from 1) at whose end the run is to go on; None where the newest state is asked for."""
    if path.parent == layout.weights and path.name == "last.pt":
        return None
    if path.parent != layout.weights or not _OF_AN_EPOCH.fullmatch(path.name) or not path.is_file():
        raise _no_checkpoint(path)
    epoch = judge(path, attestations=attestations(layout)).epoch
    if epoch is None:
        raise ArgumentsError(
            f"resume={path} is stripped: Ultralytics has taken its epoch and its optimizer at the end of the run",
            f"trainmaster catalog {shlex.quote(str(layout.root))}",
        )
    return epoch


def _no_checkpoint(path: Path) -> ArgumentsError:
    return ArgumentsError(f"resume={path} is no checkpoint of a run", "resume=RUN_DIR/weights/last.pt")
