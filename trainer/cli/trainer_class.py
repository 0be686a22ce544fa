"""Which guarded class trains a model, told from the model's file before anything is created, and by name afterwards."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any, Final

from ultralytics.engine.trainer import BaseTrainer
from ultralytics.models.rtdetr.train import RTDETRTrainer
from ultralytics.nn.tasks import load_checkpoint, yaml_model_load
from ultralytics.utils import YAML
from ultralytics.utils.checks import check_yaml
from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES, GITHUB_ASSETS_STEMS

from trainmaster.trainer import guard
from trainmaster.trainer.arguments import ArgumentsError, did_you_mean, reject_unknown

RTDETR: Final = "RT-DETR"
KIND_OF_HEAD: Final = {
    "Detect": "detect",
    "v10Detect": "detect",
    "Segment": "segment",
    "Segment26": "segment",
    "Pose": "pose",
    "Pose26": "pose",
    "Classify": "classify",
    "OBB": "obb",
    "OBB26": "obb",
    "RTDETRDecoder": RTDETR,
}
"""By a model's last module (Ultralytics 8.4, ``cfg/models``)."""
OF_ANOTHER_TRAINER: Final = frozenset(
    {"WorldDetect", "YOLOEDetect", "YOLOESegment", "YOLOESegment26", "SemanticSegment", "Depth"}
)


def for_model(model: str, task: str | None) -> type:
    """The guarded class for ``model``, a YAML file or a checkpoint, and for ``task`` if a person said it.

    Raises:
        ArgumentsError: there is no such model, it is none, or it is of a kind that these classes don't train.
    """
    if task is not None:
        reject_unknown([task], guard.TRAINERS, "task")
    kind = _kind_of(model)
    if kind == RTDETR:
        return guard.guarded(RTDETRTrainer)
    if task is not None and kind is not None and task != kind:
        raise ArgumentsError(
            f"task={task}, but model={model} is of task {kind}", f"leave task out, or give a {task} model"
        )
    return guard.TRAINERS[task or kind or _by_name(model)]


def by_name(name: str | None, task: str) -> type:
    """The guarded class ``name`` of a run of ``task``, or the task's own where that cannot be imported.

    What a script defined in itself cannot be: importing the script would start it anew.

    Raises:
        ArgumentsError: it cannot be imported, and the task has none of its own.
    """
    found = _imported(name) if name else None
    if found is not None:
        return found
    if task not in guard.TRAINERS:
        raise ArgumentsError(
            f"the run is of task {task} and was trained by {name}, which cannot be imported from here",
            "put that class into a module, and resume where the module can be found",
        )
    return guard.TRAINERS[task]


OLD_NAMES: Final = ("trainer.guard",)
"""What the guard's own module was called in records of earlier editions. A user's own ``trainer`` package is not it."""


def _imported(name: str) -> type | None:
    module_name, _, attribute = name.partition(":")
    if module_name in {"__main__", guard.__name__, *OLD_NAMES}:
        return None
    if "" not in sys.path and (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)  # last: a class of the user's own is found, and nothing of theirs hides a module
    try:
        module = importlib.import_module(module_name)
    except Exception:  # noqa: BLE001 - a person's module may raise anything
        return None
    found: Any = getattr(module, attribute, None)
    if isinstance(found, type) and issubclass(found, guard.GuardMixin):
        return found
    unguarded: Any = getattr(module, attribute.removeprefix("Guarded"), None)
    if isinstance(unguarded, type) and issubclass(unguarded, BaseTrainer):
        return guard.guarded(unguarded)
    return None


def _kind_of(model: str) -> str | None:
    """The task of ``model``, or RT-DETR; None where its file can't tell yet."""
    path = Path(model)
    if path.suffix in {".yaml", ".yml"}:
        head = _head_of_yaml(model)
    elif path.suffix == ".pt" and path.is_file():
        try:
            loaded = load_checkpoint(model)[0]
        except Exception as error:  # whatever a torn or foreign file raises, the person gets it in words
            why = (str(error).splitlines() or [type(error).__name__])[0].encode("ascii", "ignore").decode()
            raise ArgumentsError(f"model={model} cannot be loaded: {why}", "a whole checkpoint (.pt)") from error
        head = type(loaded.model[-1]).__name__
        if head not in KIND_OF_HEAD and head not in OF_ANOTHER_TRAINER:
            return str(loaded.task)
    elif model in GITHUB_ASSETS_NAMES or model in GITHUB_ASSETS_STEMS:
        return None  # Ultralytics downloads it
    elif "://" in model:
        return None
    else:
        near = did_you_mean(model, GITHUB_ASSETS_NAMES)
        raise ArgumentsError(
            f"model={model}: no such file, and none that Ultralytics offers{near}",
            "model=yolo11n.yaml, or a checkpoint (.pt) to fine-tune",
        )
    if head in OF_ANOTHER_TRAINER:
        raise ArgumentsError(
            f"model={model} ends in {head}, which Ultralytics trains with a class of its own; "
            f"this command trains {', '.join(guard.TRAINERS)} and {RTDETR}",
            "in Python, trainmaster.guarded(its trainer class) puts that under guard",
        )
    return KIND_OF_HEAD.get(head)


def _head_of_yaml(model: str) -> str:
    """Name of the last module in a model's YAML file."""
    file = check_yaml(model, hard=False)
    try:
        content = YAML.load(file) if file else yaml_model_load(model)
    except FileNotFoundError:
        raise ArgumentsError(
            f"model={model}: no such file, and none that Ultralytics ships", "model=yolo11n.yaml, or the path of a file"
        ) from None
    except Exception as error:  # noqa: BLE001 - whatever the parser raises, the person gets it in words
        raise ArgumentsError(f"model={model} is no YAML: {str(error).splitlines()[0]}") from None
    lacking = [key for key in ("backbone", "head") if not (isinstance(content, dict) and content.get(key))]
    if lacking:
        raise ArgumentsError(
            f"model={model} is no model: it lacks {' and '.join(lacking)}",
            "model=yolo11n.yaml; a data set goes to data=",
        )
    try:
        return str(content["head"][-1][2])
    except (LookupError, TypeError):
        raise ArgumentsError(f"model={model}: the last line of its head names no module") from None


def _by_name(model: str) -> str:
    """The task that a model's name tells, as Ultralytics names its models."""
    stem = Path(model).stem
    names = {"-seg": "segment", "-pose": "pose", "-cls": "classify", "-obb": "obb"}
    return next((task for suffix, task in names.items() if suffix in stem), "detect")
