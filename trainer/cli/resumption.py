"""``trainmaster resume``: check what was asked, refuse or go on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

from ultralytics.utils import DEFAULT_CFG_DICT

from trainmaster.terminal import complain
from trainmaster.trainer.arguments import ArgumentsError, reject_unknown
from trainmaster.trainer.checkpoints.errors import CheckpointError
from trainmaster.trainer.cli.trainer_class import by_name
from trainmaster.trainer.contract import EventKind, ExitCode, RunLayout, RunRecordState, is_run_dir, read_json
from trainmaster.trainer.records.recorder import Recorder
from trainmaster.trainer.records.run_directory import RunLock
from trainmaster.trainer.settings.guard_settings import GUARD_KEYS
from trainmaster.trainer.settings.inputs import data_faults, parse_values, value_faults
from trainmaster.trainer.state.resume_plan import NEXT_LEVEL, ResumeRefusedError, make_plan

FIXED: Final = {
    **dict.fromkeys(("model", "task", "pretrained", "single_cls", "cfg"), "a run keeps its model"),
    **dict.fromkeys(("project", "name", "save_dir", "exist_ok"), "a run stays in its directory"),
    **dict.fromkeys(("mode", "resume"), "resume says that already"),
}
"""What cannot be asked of a run that goes on, and why. Taken silently, the wish would be lost."""


def resume(
    layout: RunLayout,
    *,
    from_epoch: int | None,
    settings: dict[str, str],
    run: Callable[[type, dict[str, Any]], int],
) -> int:
    """Go on with the run in ``layout``; the exit code.

    Raises:
        ArgumentsError: what was asked cannot be; nothing was changed.
    """
    given = parse_values(settings)
    reject_unknown(given, (*DEFAULT_CFG_DICT, *GUARD_KEYS, *FIXED), "key")
    if faults := [f"{key}= can't be changed on a resume: {why}" for key, why in FIXED.items() if key in given]:
        hint = f"a new run from this one's weights: trainmaster train model={layout.weights / 'best.pt'} ..."
        raise ArgumentsError("\n".join(faults), hint)
    faults = value_faults({key: value for key, value in given.items() if (key, value) != ("level", NEXT_LEVEL)})
    faults += data_faults(str(given["data"]), "") if "data" in given else []
    if faults:
        raise ArgumentsError("\n".join(faults))
    lock = RunLock(layout)
    try:
        plan, overrides = make_plan(layout, lock, from_epoch=from_epoch, given=given)
    except ResumeRefusedError as refusal:
        _put_on_record(layout, refusal)
        lock.release()
        complain(str(refusal))
        return ExitCode.REFUSED
    except CheckpointError as error:
        lock.release()
        complain(f"{error.message}.\nHint: {error.hint}")
        return ExitCode.REFUSED
    except BaseException:
        lock.release()
        raise
    known = (read_json(layout.run_json) or {}).get("trainer_class")
    return run(by_name(known, str(plan.state["task"])), overrides)


def _put_on_record(layout: RunLayout, refusal: ResumeRefusedError) -> None:
    if not is_run_dir(layout.root):
        return
    was_finished = (read_json(layout.run_json) or {}).get("state") == RunRecordState.FINISHED
    recorder = Recorder(layout, warn=lambda text: print(text, file=sys.stderr))
    recorder.event(
        EventKind.RUN_REFUSED,
        checkpoint=str(refusal.path) if refusal.path else None,
        verdict=refusal.verdict,
        reasons=refusal.reasons,
    )
    if not was_finished:  # what was refused then is more of it
        recorder.end(RunRecordState.REFUSED, ExitCode.REFUSED)
