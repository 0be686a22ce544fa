"""The scene of an incident: weights, random state and precision at the moment a batch was judged bad.

A bad batch is skipped before any step, so the weights of the moment are still the live ones when it is recorded: they
are written from there, and healthy steps pay nothing for it.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from ultralytics.utils.torch_utils import unwrap_model

from trainmaster.trainer.batches import precision
from trainmaster.trainer.checkpoints.state import save_state
from trainmaster.trainer.contract import SCHEMA_VERSION
from trainmaster.trainer.engines.protocol import EngineTrainer
from trainmaster.trainer.state.full_state import model_state, plain

SCENE_NAME: Final = "scene.pt"
RNG_NAME: Final = "rng.pt"
MAX_SCENES: Final = 8
"""Weights kept a run: as many moments as anybody will replay."""
MAX_SCENE_BYTES: Final = 2**30
"""Of all of a run: four of yolo11x (228 MiB each), a hundred of yolo11n."""
FREE_FACTOR: Final = 10
"""Times a scene's size that must be free on the disk: checkpoints need the room more."""


def digests_of(rng: Mapping[str, Any]) -> dict[str, str]:
    """Per generator a short name of its state: the same name, the same draws."""
    return {name: hashlib.sha256(_bytes_of(state)).hexdigest()[:12] for name, state in rng.items()}


def _bytes_of(state: Any) -> bytes:
    if isinstance(state, torch.Tensor):
        return state.cpu().numpy().tobytes()
    if isinstance(state, list | tuple):
        return b"".join(map(_bytes_of, state))
    return repr(state).encode()


def scene_of(trainer: EngineTrainer) -> dict[str, Any]:
    """What a batch met. Tensors are the live ones, not copies: write it out before training goes on."""
    model = unwrap_model(trainer.model)
    criterion = getattr(model, "criterion", None)
    weights = getattr(model, "class_weights", None)
    return {
        "format": "trainmaster-scene",
        "v": SCHEMA_VERSION,
        "task": str(trainer.args.task),
        "model_yaml": plain(getattr(model, "yaml", {})),
        "args": plain(trainer.args),
        "precision": precision.name_of(trainer),
        "model": plain(model_state(trainer)),
        "evaluating": [name for name, module in model.named_modules() if not module.training],  # of frozen layers
        "class_weights": weights.detach() if isinstance(weights, torch.Tensor) else None,
        "criterion_updates": int(getattr(criterion, "updates", 0) or 0),
    }


class Scenes:
    """Keeps scenes in the folders of their incidents, so many and so large; one scene serves all of its step."""

    def __init__(self, incidents: Path) -> None:
        self._root = incidents
        sizes = [path.stat().st_size for path in incidents.glob(f"*/{SCENE_NAME}")]
        self._num_kept, self._num_bytes = len(sizes), sum(sizes)
        self._last: tuple[int, str] | None = None

    def keep(
        self, incident: str, trainer: EngineTrainer, rng: Mapping[str, Any], *, steps: int
    ) -> dict[str, str | None]:
        """For the record: ``scene``, the incident whose folder holds the weights, or why there are none.

        ``steps`` names the weights: they are the same until the optimizer steps again. The random state is kept always.

        Raises:
            OSError: no space, no permission.
        """
        save_state(self._root / incident / RNG_NAME, rng, durable=False)
        if self._last is not None and self._last[0] == steps:
            return {"scene": self._last[1], "scene_left_out": None}
        why = self._left_out(trainer)
        if why is not None:
            return {"scene": None, "scene_left_out": why}
        saved = save_state(self._root / incident / SCENE_NAME, scene_of(trainer), durable=False)
        self._num_kept += 1
        self._num_bytes += saved.bytes
        self._last = steps, incident
        return {"scene": incident, "scene_left_out": None}

    def _left_out(self, trainer: EngineTrainer) -> str | None:
        if self._num_kept >= MAX_SCENES:
            return f"{self._num_kept} scenes are kept already; the limit is {MAX_SCENES}"
        tensors = model_state(trainer).values()
        num_bytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        if self._num_bytes + num_bytes > MAX_SCENE_BYTES:
            return f"with {num_bytes:,} bytes more, scenes would pass {MAX_SCENE_BYTES:,} bytes"
        free = shutil.disk_usage(self._root).free
        if free < FREE_FACTOR * num_bytes:
            return f"{free:,} bytes are free on the disk, fewer than {FREE_FACTOR} times the {num_bytes:,} needed"
        return None
