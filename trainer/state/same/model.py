"""A resume is of the same model: another Ultralytics may make another one of the same recipe."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import torch
import ultralytics
from ultralytics.nn import tasks

from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.checkpoints.own_state import ASIDE
from trainmaster.trainer.contract import RunLayout, read_json
from trainmaster.trainer.engines import installed

_CLASS_OF: Final[Mapping[str, str]] = {
    "detect": "DetectionModel",
    "segment": "SegmentationModel",
    "pose": "PoseModel",
    "obb": "OBBModel",
    "classify": "ClassificationModel",
}
_OWN: Final = re.compile(
    r"(trainmaster\.)?trainer\.guard:Guarded(Detection|Segmentation|Pose|OBB|Classification)Trainer"
)
"""Trainers that make Ultralytics' own model of a recipe; one of the user's may make any."""
SMALL_NUM_VALUES: Final = 15_000_000
"""A model of no more (yolo11n, yolo11s) is built in a third of a second; yolo11x takes two."""


def require_same_model(layout: RunLayout, state: Mapping[str, Any]) -> str | None:
    """The installed Ultralytics makes a model with the tensors of ``state``. Returns that its version is another one
    now, in words, None when it isn't.

    Ultralytics 8.4.190, for one, builds a YAML without ``scales:`` differently than 8.4.100 does, and one that was
    edited may build any. A large model is built (in seconds) only where something is known to be other, or nothing is.

    Raises:
        ArgumentsError: the model is another one; says how, and which version to install.
    """
    was, now = state.get("ultralytics"), ultralytics.__version__
    note = f"Ultralytics is {now} now and was {was} when this state was saved" if was and was != now else None
    kind = getattr(tasks, _CLASS_OF.get(str(state["task"]), ""), None)
    trained_by = str((read_json(layout.run_json) or {}).get("trainer_class") or "")
    if kind is None or not _OWN.fullmatch(trained_by):
        return note
    found = installed.look()
    is_small = sum(one.numel() for one in state["model"].values()) <= SMALL_NUM_VALUES
    if was == now and found.num_files and not found.changed and not is_small:
        return note
    if difference := _difference(kind, state):
        version = was or "VERSION, the one that trained it"
        hint = f"pip install ultralytics=={version}"
        edited = ""
        if was == now:
            hint = f"pip install --force-reinstall --no-deps ultralytics=={version}"
            edited = f" ({found.changed[0]} was edited)" if found.changed else " (its files were other ones then)"
        raise ArgumentsError(
            f"the model of {layout.name} can't be resumed under Ultralytics {now}{edited}: {difference}",
            f"{hint}; or a new run from its weights",
        )
    return note


def _difference(kind: Any, state: Mapping[str, Any]) -> str:
    saved = {name: tuple(one.shape) for name, one in state["model"].items() if not name.startswith(ASIDE)}
    with torch.random.fork_rng(devices=[]):
        try:
            model = kind(cfg=dict(state["model_yaml"]), verbose=False)
        except Exception as error:  # noqa: BLE001 - whatever a foreign model says of a recipe that is not its own
            return f"it can't build its recipe ({type(error).__name__}: {error})"
    made = {name: tuple(one.shape) for name, one in model.state_dict().items()}
    other = [name for name in saved if name in made and saved[name] != made[name]]
    if other:
        name = other[0]
        return (
            f"{len(other)} of {len(saved)} tensors have another shape, such as {name}: {made[name]}, was {saved[name]}"
        )
    lacking, extra = saved.keys() - made.keys(), made.keys() - saved.keys()
    if lacking or extra:
        one = min(lacking or extra)
        return f"of its {len(saved)} tensors {len(lacking)} are gone and {len(extra)} are new, such as {one}"
    return ""
