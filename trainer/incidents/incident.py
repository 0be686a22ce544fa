"""What is kept of a bad batch: enough to see which images did it, and to run it again."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from trainmaster.trainer.batches.labels import LABEL_KEYS, MASK_KEYS, badly_labelled, masks_by_box, num_classes_of
from trainmaster.trainer.checkpoints.state import save_state
from trainmaster.trainer.contract import RunLayout, replace_json

MAX_INCIDENTS: Final = 50
"""Recorded a run; counting goes on. Ten are a pattern, fifty are a habit."""
MAX_BATCH_BYTES: Final = 64 * 2**20
"""Of the tensors kept of one batch: 16 images of 640 pixels in float32 are 75 MiB, of which 13 images stay."""
MAX_PIXEL: Final = 1e4
"""Of an image as the model gets it: from 0 to 1, or some units about 0 where it is normalized. Beyond this, it is no
picture, and its sums overflow."""
PER_BOX: Final = (*LABEL_KEYS, "batch_idx")
"""In a batch of boxes, a row each; without boxes, a row an image."""
MAX_IMAGE_FILES: Final = 32
MAX_IMAGE_BYTES: Final = 32 * 2**20


class Cause(StrEnum):
    """Where the trouble came from, as far as one look can tell."""

    DATA = "data"
    """An image or a label was not finite before the model saw it."""
    MODEL = "model"
    """The weights are not finite."""
    TRANSIENT = "transient"
    """Neither: overflow, an unlucky batch, hardware."""


class Incidents:
    """The folder ``incidents/`` of one run."""

    def __init__(self, layout: RunLayout) -> None:
        self._root = layout.incidents
        self.next_number = 1 + max((int(path.name) for path in self._folders()), default=0)
        """Of the folder that is made next."""

    @property
    def full(self) -> bool:
        """Whether no more are kept."""
        return self.next_number > MAX_INCIDENTS

    def record(
        self,
        facts: Mapping[str, Any],
        batch: Mapping[str, Any],
        images: Iterable[str],
        keep_scene: Callable[[str], Mapping[str, Any]] = lambda _: {},
    ) -> str | None:
        """A new folder with ``incident.json``, the batch and copies of its images; its name, None when there are many.

        ``keep_scene`` is given that name, keeps what a replay needs beside the batch, and says what it kept.

        Raises:
            OSError: no space, no permission; what could be written stays, each file whole.
        """
        if self.full:
            return None
        folder = self._root / f"{self.next_number:04d}"
        folder.mkdir(parents=True)
        self.next_number += 1
        try:
            replace_json(folder / "incident.json", {**facts, "copied": []})
        except OSError:
            with contextlib.suppress(OSError):
                folder.rmdir()
                self.next_number -= 1
            raise
        copied = _copy_images(folder, images)
        kept = _capped(batch)
        save_state(folder / "batch.pt", kept, durable=False)
        num_kept = _num_images(kept)
        facts = {**facts, "copied": copied, "images_in_batch_file": num_kept, "images_in_batch": _num_images(batch)}
        replace_json(folder / "incident.json", facts)
        replace_json(folder / "incident.json", {**facts, **keep_scene(folder.name)})
        return folder.name

    def _folders(self) -> list[Path]:
        with contextlib.suppress(OSError):
            return [path for path in self._root.iterdir() if path.name.isdigit()]
        return []


@torch.no_grad()
def diagnose(model: nn.Module, batch: Mapping[str, Any], *, labels_bad: bool) -> dict[str, Any]:
    """What cannot be trained on: images and labels (their images' places in the batch), weights; and the cause."""
    images = batch.get("img")
    bad_images: list[int] = []
    if isinstance(images, torch.Tensor) and images.is_floating_point() and images.numel():
        sound = images.detach().flatten(1).abs().amax(1) <= MAX_PIXEL  # so that NaN is not
        bad_images = torch.nonzero(~sound).flatten().tolist()
    labels = [
        bool(torch.isfinite(value).all())
        for key in (*LABEL_KEYS, *MASK_KEYS)
        if isinstance(value := batch.get(key), torch.Tensor) and value.is_floating_point()
    ]
    bad_weights = [
        name
        for name, value in model.named_parameters()
        if value.is_floating_point() and not torch.isfinite(value).all()
    ]
    labels_bad = labels_bad or not all(labels)
    cause = Cause.MODEL if bad_weights else Cause.DATA if bad_images or labels_bad else Cause.TRANSIENT
    return {
        "cause": cause,
        "bad_images": bad_images,
        "labels_finite": not labels_bad,
        "badly_labelled": badly_labelled(batch, num_classes_of(model)) if labels_bad else [],
        "bad_weights": len(bad_weights),
        "bad_weight_names": bad_weights[:5],
    }


def undiagnosed(*, labels_bad: bool) -> dict[str, Any]:
    """The record of :func:`diagnose` when there was no memory for it."""
    return {
        "cause": Cause.DATA if labels_bad else Cause.TRANSIENT,
        "bad_images": [],
        "labels_finite": not labels_bad,
        "badly_labelled": [],
        "bad_weights": 0,
        "bad_weight_names": [],
    }


def first_bad_module(model: nn.Module, batch: Mapping[str, Any]) -> str | None:
    """Name of the first module whose output is not finite when ``batch`` runs again; None when all are.

    In training mode, so the caller must put the batch-norm statistics back.
    """
    found: list[str] = []
    names = {id(module): name for name, module in model.named_modules()}

    def look(module: nn.Module, _inputs: Any, output: Any) -> None:
        if not found and not all(bool(torch.isfinite(tensor).all()) for tensor in _tensors(output)):
            found.append(f"{names[id(module)]} ({type(module).__name__})")

    leaves = [module for module in model.modules() if not any(module.children())]
    handles = [module.register_forward_hook(look) for module in leaves]
    try:
        with torch.no_grad(), contextlib.suppress(Exception):  # its code may be the user's own
            model(batch["img"])
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else None


def _tensors(value: Any) -> Iterable[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)


def _capped(batch: Mapping[str, Any]) -> dict[str, Any]:
    """Plain tensors and texts of ``batch``, on the CPU, with so many images as fit."""
    tensors = {key: value.detach() for key, value in batch.items() if isinstance(value, torch.Tensor)}
    total = sum(value.numel() * value.element_size() for value in tensors.values())
    num_images = len(tensors["img"]) if "img" in tensors else 0
    keep = num_images if total <= MAX_BATCH_BYTES else max(num_images * MAX_BATCH_BYTES // max(total, 1), 1)
    kept: dict[str, Any] = {}
    index, by_box = tensors.get("batch_idx"), masks_by_box(batch) is not None
    of_kept = None if index is None else index < keep
    for key, value in tensors.items():
        part = value
        if keep < num_images and (key in PER_BOX or (key == "masks" and by_box)):
            part = value[:keep] if of_kept is None or len(value) != len(of_kept) else value[of_kept.to(value.device)]
        elif keep < num_images and len(value) == num_images:
            part = value[:keep]
        kept[key] = part.cpu().clone()
    kept["im_file"] = [str(name) for name in batch.get("im_file", ())]
    return kept


def _num_images(batch: Mapping[str, Any]) -> int:
    images = batch.get("img")
    return len(images) if isinstance(images, torch.Tensor) else 0


def _copy_images(folder: Path, images: Iterable[str]) -> list[str]:
    copied: list[str] = []
    num_bytes = 0
    for name in list(dict.fromkeys(images))[:MAX_IMAGE_FILES]:
        source = Path(name)
        try:
            size = source.stat().st_size
            if num_bytes + size > MAX_IMAGE_BYTES:
                break
            (folder / "images").mkdir(exist_ok=True)
            target = folder / "images" / f"{len(copied):02d}_{source.name}"
            try:
                shutil.copy2(source, target)
            except OSError:
                target.unlink(missing_ok=True)  # a part of a picture shows nothing
                raise
        except OSError:
            continue
        num_bytes += size
        copied.append(name)
    return copied
