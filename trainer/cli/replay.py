"""``trainmaster replay RUN_DIR INCIDENT``: run a bad batch again and see whether it is bad again."""

from __future__ import annotations

import contextlib
import json
import math
import shlex
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trainmaster.trainer.run import offline

offline.before_import()

import torch  # noqa: E402 - after the environment is set
from ultralytics.utils import IterableSimpleNamespace  # noqa: E402 - as above
from ultralytics.utils.torch_utils import intersect_dicts  # noqa: E402 - as above

from trainmaster.terminal import columns, folded, then, working  # noqa: E402 - as above
from trainmaster.trainer.arguments import Arguments, ArgumentsError, NoRunError, reject_unknown  # noqa: E402 - as above
from trainmaster.trainer.batches.batchnorm import BatchNormStatistics  # noqa: E402 - as above
from trainmaster.trainer.batches.gradients import all_finite  # noqa: E402 - as above
from trainmaster.trainer.batches.labels import bad_labels, num_classes_of, without_bad_labels  # noqa: E402 - as above
from trainmaster.trainer.checkpoints.catalog import last_clean  # noqa: E402 - as above
from trainmaster.trainer.checkpoints.retention import WITHIN_EPOCH  # noqa: E402 - as above
from trainmaster.trainer.checkpoints.state import load_state  # noqa: E402 - as above
from trainmaster.trainer.contract import (  # noqa: E402 - as above
    ExitCode,
    RunLayout,
    SkipReason,
    decode_number,
    encode_number,
    is_run_dir,
    read_json,
)
from trainmaster.trainer.data.sampling import set_random_state  # noqa: E402 - as above
from trainmaster.trainer.incidents.incident import first_bad_module  # noqa: E402 - as above
from trainmaster.trainer.incidents.incident_weights import RNG_NAME, SCENE_NAME  # noqa: E402 - as above
from trainmaster.trainer.state.full_state import set_updates  # noqa: E402 - as above
from trainmaster.visible import visible, visible_json  # noqa: E402 - as above


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What the batch does now. ``weights`` is the file whose weights it ran through."""

    incident: str
    reason: str
    weights: str
    of_the_moment: bool
    """Whether these are the weights that the batch met, to the bit."""
    why_not: str | None
    precision: str
    whole_batch: bool
    """Whether all images of the batch were kept."""
    images_finite: bool
    labels_finite: bool
    loss: float
    loss_then: float | None
    gradients_finite: bool
    statistics_finite: bool
    finite_in_single_precision: bool
    first_bad_module: str | None

    @property
    def same_loss(self) -> bool:
        """Whether the loss is the recorded one to the last bit of single precision; of two NaNs, yes."""
        if self.loss_then is None:
            return False
        return self.loss == self.loss_then or (math.isnan(self.loss) and math.isnan(self.loss_then))

    @property
    def bad_again(self) -> bool:
        """Whether the batch would be skipped again."""
        finite = math.isfinite(self.loss) and self.gradients_finite and self.statistics_finite
        spikes_again = self.reason == SkipReason.LOSS_SPIKE and self.same_loss
        return spikes_again or not (finite and self.labels_finite)


def replay(layout: RunLayout, incident: str) -> Replay:
    """Run the batch of ``incident`` again: same weights, same random state, same precision where this host can.

    When the weights of the moment were left out (there is a limit to their number and size), through the newest clean
    ones saved before: a batch that is bad again convicts itself, one that is not may have met other weights.

    Raises:
        ArgumentsError: there is no such incident, or nothing to run it through.
    """
    folder = layout.incidents / incident
    facts = read_json(folder / "incident.json")
    if facts is None or not (folder / "batch.pt").is_file():
        known = sorted(path.name for path in layout.incidents.glob("*")) if layout.incidents.is_dir() else []
        raise ArgumentsError(f"no incident {incident!r} in {layout.root}", f"there are: {', '.join(known) or 'none'}")
    batch = torch.load(folder / "batch.pt", map_location="cpu", weights_only=True)
    scene = layout.incidents / str(facts.get("scene")) / SCENE_NAME
    at_hand = bool(facts.get("scene")) and scene.is_file()
    path, state = (scene, load_state(scene)) if at_hand else _state_before(layout, int(facts["epoch"]))
    model = _model(state)
    num_classes = num_classes_of(model)
    labels_bad = bad_labels(batch, num_classes)
    used = without_bad_labels(_whole(batch), num_classes) if labels_bad else _whole(batch)
    statistics = BatchNormStatistics(model)
    if (folder / RNG_NAME).is_file():
        set_random_state(load_state(folder / RNG_NAME))
    precision = str(facts.get("precision") or "float32")
    with _precision(precision) as precision_used:
        loss = model.loss(used)[0].sum()
    loss.backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    statistics_finite = math.isfinite(statistics.flag())
    statistics.restore()
    num_kept, num_images = facts.get("images_in_batch_file"), facts.get("images_in_batch")
    return Replay(
        incident=incident,
        reason=str(facts["reason"]),
        weights=path.relative_to(layout.root).as_posix(),
        of_the_moment=at_hand,
        why_not=None if at_hand else str(facts.get("scene_left_out") or "they were not kept"),
        precision=precision_used,
        whole_batch=num_images is None or num_kept == num_images,
        images_finite=all_finite([batch["img"]]),
        labels_finite=not labels_bad,
        loss=float(loss.detach()),
        loss_then=decode_number(facts.get("loss")),
        gradients_finite=all_finite(gradients),
        statistics_finite=statistics_finite,
        finite_in_single_precision=_finite_in_single_precision(model, used, statistics),
        first_bad_module=first_bad_module(model, used),
    )


def main(arguments: Arguments) -> int:
    """Carry out a command line; the exit code."""
    reject_unknown(arguments.flags, ("json",), "flag")
    reject_unknown(arguments.settings, (), "key")
    if len(arguments.words) != 2:
        raise ArgumentsError("replay takes a run directory and an incident", "trainmaster replay RUN_DIR 0001")
    layout = RunLayout(Path(arguments.words[0]).resolve())
    if not is_run_dir(layout.root):
        raise NoRunError(layout.root)
    incident = arguments.words[1].zfill(4)
    with working(f"running incident {incident} again"):
        found = replay(layout, incident)
    if "json" in arguments.flags:
        numbers = {"loss": encode_number(found.loss), "loss_then": encode_number(found.loss_then)}
        told = {**asdict(found), **numbers, "same_loss": found.same_loss, "bad_again": found.bad_again}
        print(visible_json(json.dumps(told)))
    else:
        print(folded(visible(_in_words(found)), columns(), indent="    "))
    sys.stdout.flush()
    if "json" not in arguments.flags:
        place = shlex.quote(str(layout.root))
        then(f"trainmaster plot {place} --incident {incident} shows its images, the suspect marked")
    return ExitCode.FINISHED


@contextlib.contextmanager
def _precision(name: str) -> Iterator[str]:
    """As the batch was trained on where a CPU can, else single; which one it is."""
    if name == "float32":
        yield name
        return
    with torch.autocast("cpu", dtype=getattr(torch, name)):
        yield name


@torch.no_grad()
def _finite_in_single_precision(model: Any, batch: dict[str, Any], statistics: BatchNormStatistics) -> bool:
    loss, _ = model.loss(batch)
    finite = bool(torch.isfinite(loss).all()) and math.isfinite(statistics.flag())
    statistics.restore()
    return finite


def _state_before(layout: RunLayout, epoch: int) -> tuple[Path, dict[str, Any]]:
    entry = last_clean(layout, at_or_before_epoch=max(epoch - 1, 1)) or last_clean(layout)
    candidates = [layout.root / entry.file] if entry and entry.file.startswith("guard/states/") else []
    candidates += [path for name in WITHIN_EPOCH if (path := layout.states / name).is_file()]
    for path in candidates:
        if not path.name.endswith(".ultralytics.pt"):
            return path, load_state(path)
    raise ArgumentsError(f"{layout.root} holds no full state to run the batch through")


def _model(state: dict[str, Any]) -> Any:
    from trainmaster.trainer.guard import TASK_MODELS  # noqa: PLC0415 - the trainers load with it

    yaml = dict(state["model_yaml"])
    model = TASK_MODELS[state["task"]](yaml, verbose=False)
    known = intersect_dicts(state["model"], model.state_dict())
    model.load_state_dict(known, strict=False)
    model.args = IterableSimpleNamespace(**state["args"])
    if state.get("class_weights") is not None:
        model.class_weights = state["class_weights"]
    model.train()
    model.criterion = model.init_criterion()
    evaluating = set(state.get("evaluating", ()))
    for name, module in model.named_modules():
        if name in evaluating:
            module.training = False
    set_updates(model.criterion, int(state.get("criterion_updates") or 0))
    return model


def _whole(batch: dict[str, Any]) -> dict[str, Any]:
    """``batch`` without the labels of images that were left out to keep the file small."""
    index, images = batch.get("batch_idx"), batch["img"]
    if not isinstance(index, torch.Tensor) or not len(index) or int(index.max()) < len(images):
        return batch
    kept = index < len(images)
    rows = {key: value[kept] for key, value in batch.items() if _has_rows(value, len(index)) and key != "img"}
    return {**batch, **rows}


def _has_rows(value: Any, number: int) -> bool:
    return isinstance(value, torch.Tensor) and value.ndim > 0 and len(value) == number


def _in_words(found: Replay) -> str:
    weights = f"weights of {found.weights}"
    if found.of_the_moment:
        verdict = "bad again" if found.bad_again else "good this time: what spoiled it is neither batch nor weights"
        weights += ", those of the moment"
    else:
        verdict = (
            "bad again" if found.bad_again else "good this time: transient, or it needs the weights of that moment"
        )
        weights += f", not those of the moment: {found.why_not}"
    then = "" if found.loss_then is None else f" (then {found.loss_then:.9g})"
    part = "" if found.whole_batch else ", a part of the batch: the rest was too large to keep"
    gradients, statistics = _told(found.gradients_finite), _told(found.statistics_finite)
    lines = [
        f"incident {found.incident} ({found.reason}): {verdict}",
        f"  {weights}; {found.precision}{part}",
        f"  images {_told(found.images_finite)}, labels {_told(found.labels_finite)}",
        f"  loss {found.loss:.9g}{then}, gradients {gradients}, batch-norm statistics {statistics}",
    ]
    if found.precision != "float32":
        lines.append(f"  in single precision its loss is {_told(found.finite_in_single_precision)}")
    if found.first_bad_module:
        lines.append(f"  first module whose output is not finite: {found.first_bad_module}")
    return "\n".join(lines)


def _told(finite: bool) -> str:
    return "finite" if finite else "NOT finite"
