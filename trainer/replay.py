"""``python -m trainer replay RUN_DIR INCIDENT``: run a bad batch again and see whether it is bad again."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trainer import offline

offline.before_import()

import torch  # noqa: E402 - after the environment is set
from ultralytics.utils import IterableSimpleNamespace  # noqa: E402 - as above
from ultralytics.utils.torch_utils import intersect_dicts  # noqa: E402 - as above

from trainer.arguments import Arguments, ArgumentsError, reject_unknown  # noqa: E402 - as above
from trainer.checkpoints.catalog import last_clean  # noqa: E402 - as above
from trainer.checkpoints.state import load_state  # noqa: E402 - as above
from trainer.contract import ExitCode, RunLayout, encode_number, is_run_dir, read_json  # noqa: E402
from trainer.gradients import all_finite  # noqa: E402 - as above
from trainer.incident import first_bad_module  # noqa: E402 - as above
from trainer.labels import bad_labels, without_bad_labels  # noqa: E402 - as above


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What the batch does now. ``state`` is the file whose weights it ran through, None for fresh ones."""

    incident: str
    reason: str
    state: str | None
    images_finite: bool
    labels_finite: bool
    loss: float
    gradients_finite: bool
    first_bad_module: str | None

    @property
    def bad_again(self) -> bool:
        """Whether the batch would be skipped again."""
        return not (self.labels_finite and self.gradients_finite and self.loss == self.loss and abs(self.loss) != _INF)


_INF = float("inf")


def replay(layout: RunLayout, incident: str) -> Replay:
    """Run the batch of ``incident`` again in single precision, through the newest clean weights saved before it.

    Those are not quite the weights of that moment, which are kept nowhere: a batch that is bad again convicts itself,
    one that is not may still have met weights that it can't be shown with any more.

    Raises:
        ArgumentsError: there is no such incident, or nothing to run it through.
    """
    folder = layout.incidents / incident
    facts = read_json(folder / "incident.json")
    if facts is None or not (folder / "batch.pt").is_file():
        known = sorted(path.name for path in layout.incidents.glob("*")) if layout.incidents.is_dir() else []
        raise ArgumentsError(f"no incident {incident!r} in {layout.root}", f"there are: {', '.join(known) or 'none'}")
    batch = torch.load(folder / "batch.pt", map_location="cpu", weights_only=True)
    path, state = _state_before(layout, int(facts["epoch"]))
    model = _model(state)
    labels_bad = bad_labels(batch)
    used = without_bad_labels(_whole(batch))
    loss, _ = model.loss(used)
    total = loss.sum()
    total.backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    return Replay(
        incident=incident,
        reason=str(facts["reason"]),
        state=path.relative_to(layout.root).as_posix(),
        images_finite=all_finite([batch["img"]]),
        labels_finite=not labels_bad,
        loss=float(total.detach()),
        gradients_finite=all_finite(gradients),
        first_bad_module=first_bad_module(model, used),
    )


def main(arguments: Arguments) -> int:
    """Carry out a command line; the exit code."""
    reject_unknown(arguments.flags, ("json",), "flag")
    reject_unknown(arguments.settings, (), "key")
    if len(arguments.words) != 2:
        raise ArgumentsError("replay takes a run directory and an incident", "python -m trainer replay RUN_DIR 0001")
    layout = RunLayout(Path(arguments.words[0]).resolve())
    if not is_run_dir(layout.root):
        raise ArgumentsError(f"{layout.root} is no run directory: it has no guard/run.json")
    found = replay(layout, arguments.words[1].zfill(4))
    if "json" in arguments.flags:
        record = {**asdict(found), "loss": encode_number(found.loss), "bad_again": found.bad_again}
        print(json.dumps(record))
    else:
        print(_in_words(found))
    sys.stdout.flush()
    return ExitCode.FINISHED


def _state_before(layout: RunLayout, epoch: int) -> tuple[Path, dict[str, Any]]:
    entry = last_clean(layout, at_or_before_epoch=max(epoch - 1, 1)) or last_clean(layout)
    candidates = [layout.root / entry.file] if entry and entry.file.startswith("guard/states/") else []
    candidates += [path for path in (layout.states / "stop.pt", layout.states / "snapshot.pt") if path.is_file()]
    for path in candidates:
        if not path.name.endswith(".ultralytics.pt"):
            return path, load_state(path)
    raise ArgumentsError(f"{layout.root} holds no full state to run the batch through")


def _model(state: dict[str, Any]) -> torch.nn.Module:
    from trainer.guard import TASK_MODELS  # noqa: PLC0415 - the trainers load with it

    yaml = dict(state["model_yaml"])
    model = TASK_MODELS[state["task"]](yaml, verbose=False)
    known = intersect_dicts(state["model"], model.state_dict())
    model.load_state_dict(known, strict=False)
    model.args = IterableSimpleNamespace(**state["args"])
    return model.train()


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
    verdict = "bad again" if found.bad_again else "good this time: transient, or it needs the weights of that moment"
    images = "finite" if found.images_finite else "NOT finite"
    labels = "finite" if found.labels_finite else "NOT finite"
    gradients = "finite" if found.gradients_finite else "NOT finite"
    lines = [
        f"incident {found.incident} ({found.reason}): {verdict}",
        f"  weights of {found.state}, single precision",
        f"  images {images}, labels {labels}, loss {found.loss:.5g}, gradients {gradients}",
    ]
    if found.first_bad_module:
        lines.append(f"  first module whose output is not finite: {found.first_bad_module}")
    return "\n".join(lines)
