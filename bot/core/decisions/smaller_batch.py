"""What half the batch would be after a shortage of the GPU's memory, and what it does to a step. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from trainmaster.bot.core.run.facts import RunRecord

_DEFAULT_BATCH: Final = 16
_DEFAULT_NBS: Final = 64
"""Ultralytics' own (cfg/default.yaml): the images that a step is made of, by accumulating batches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallerBatch:
    """``size`` instead of ``before``; ``text`` is what that changes, in two sentences."""

    size: int
    before: int
    text: str


def smaller_batch(record: RunRecord | None) -> SmallerBatch | None:
    """Half the batch of the newest attempt, or a little less: a multiple of its devices, each of which gets as many
    images. None where its batch is not known, and where each device has but one image."""
    before = batch_of(record)
    if record is None or before is None:
        return None
    num_devices = max(1, len(record.devices))
    size = before // 2 // num_devices * num_devices
    if size < 1:
        return None
    nbs = record.set_to("nbs") or ""
    nominal = int(nbs) if nbs.isascii() and nbs.isdigit() else _DEFAULT_NBS
    step = _step_text(size, _accumulated(size, nominal), before * _accumulated(before, nominal))
    exact = "The epoch that was cut through starts over, and bit for bit it is another run."
    return SmallerBatch(size=size, before=before, text=f"With batch {size} instead of {before}, {step}. {exact}")


def batch_of(record: RunRecord | None) -> int | None:
    """The batch size that the newest attempt was started with; None where nothing tells."""
    told = record.set_to("batch") if record is not None else None
    if told is None:
        return _DEFAULT_BATCH if record is not None and "train" in record.argv else None
    return int(told) if told.isascii() and told.isdigit() else None  # -1 and fractions: Ultralytics chooses it


def _accumulated(batch: int, nominal: int) -> int:
    """As Ultralytics reckons it (engine/trainer.py)."""
    return max(round(nominal / batch), 1)


def _step_text(size: int, accumulated: int, images_before: int) -> str:
    images = size * accumulated
    if accumulated == 1:
        return f"a step is of {images} images instead of {images_before}"
    same = f"as many images as before, {images}" if images == images_before else f"{images} images, not {images_before}"
    return f"a step accumulates {accumulated} batches and is of {same}"
