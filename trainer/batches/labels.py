"""Labels of a batch that no loss can be made of: not finite, or naming a class or an image that is not there.

Used as an index such a value crashes the loss: an IndexError on a CPU, a device-side assert that ends the process on a
GPU. So it is looked for on the host, before the loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch

LABEL_KEYS: Final = ("cls", "bboxes", "keypoints")
"""Labels small enough to be checked on the host before they are used as indices."""
MASK_KEYS: Final = ("masks", "sem_masks")
"""Labels too large for that; the loss tells when they are not finite."""
CLASS_MAP: Final = "semantic_mask"
"""The class of each pixel, of which a loss is made as of any other class; one class alone is told from anything."""
IGNORED_PIXEL: Final = 255
"""What Ultralytics' losses leave out of a class map (``utils/loss.py``, ``SemanticSegmentationLoss``)."""
IGNORED_CLASS: Final = -100
"""What ``torch.nn.functional.cross_entropy`` leaves out by default."""


@torch.no_grad()
def bad_labels(batch: Mapping[str, Any], num_classes: int | None = None) -> bool:
    """Whether labels that lie on the CPU hold a value that no loss can be made of; False for labels on a device."""
    for key in LABEL_KEYS:
        value = _on_host(batch.get(key))
        if value is not None and value.dtype.kind == "f" and not np.isfinite(value).all():
            return True
    index, images = _on_host(batch.get("batch_idx")), batch.get("img")
    if index is not None and isinstance(images, torch.Tensor) and _leaves(index, len(images)):
        return True
    if num_classes is None:
        return False
    classes, pixels = _on_host(batch.get("cls")), _on_host(batch.get(CLASS_MAP))
    if classes is not None and _leaves(classes, num_classes):
        return True
    return pixels is not None and num_classes > 1 and _pixels_leave(pixels, num_classes)


@torch.no_grad()
def without_bad_labels(batch: dict[str, Any], num_classes: int | None = None) -> dict[str, Any]:
    """``batch`` without the boxes that :func:`bad_labels` finds fault with; classes of whole images are ignored.

    Masks go with their boxes, where there is one a box, and pixels of no class are ignored.
    """
    if (stray := _stray_pixels(batch, num_classes)) is not None:
        batch = {**batch, CLASS_MAP: torch.where(stray, IGNORED_PIXEL, batch[CLASS_MAP])}
    index, classes = batch.get("batch_idx"), batch.get("cls")
    if not isinstance(index, torch.Tensor):
        if num_classes is None or not isinstance(classes, torch.Tensor):
            return batch
        return {**batch, "cls": torch.where(_within(classes, num_classes), classes, IGNORED_CLASS)}
    good = _good_boxes(batch, index, num_classes)
    keys = [key for key in (*LABEL_KEYS, "batch_idx") if isinstance(batch.get(key), torch.Tensor)]
    if masks_by_box(batch) is not None:
        keys.append("masks")
    elif len(index) == len(batch.get("masks", ())):  # a mask a box or a mask an image: without boxes, either will do
        good = torch.zeros_like(good)
    return {**batch, **{key: batch[key][good] for key in keys if len(batch[key]) == len(index)}}


def num_classes_of(model: Any) -> int | None:
    """How many classes ``model`` tells apart, as the trainer set it or as it was built; None when it doesn't say."""
    number = getattr(model, "nc", None)
    return number if number is not None else (getattr(model, "yaml", None) or {}).get("nc")


def masks_by_box(batch: Mapping[str, Any]) -> torch.Tensor | None:
    """The masks of ``batch`` where there is clearly one a box (``overlap_mask=False``), not one an image."""
    index, masks, images = batch.get("batch_idx"), batch.get("masks"), batch.get("img")
    if not isinstance(masks, torch.Tensor) or not isinstance(index, torch.Tensor) or len(masks) != len(index):
        return None
    return None if isinstance(images, torch.Tensor) and len(images) == len(masks) else masks


@torch.no_grad()
def badly_labelled(batch: Mapping[str, Any], num_classes: int | None = None) -> list[int]:
    """Places in the batch of the images with a label that no loss can be made of, or a mask that is not finite."""
    index, classes, images = batch.get("batch_idx"), batch.get("cls"), batch.get("img")
    num_images = len(images) if isinstance(images, torch.Tensor) else 0
    found: set[int] = set()
    if isinstance(index, torch.Tensor):
        of = index[~_good_boxes(batch, index, num_classes)]
        found |= {int(one) for one in of.tolist() if 0 <= one < num_images}
    elif isinstance(classes, torch.Tensor) and num_classes is not None and len(classes) == num_images:
        found |= set(torch.nonzero(~_within(classes, num_classes).reshape(num_images, -1).all(1)).flatten().tolist())
    if (stray := _stray_pixels(batch, num_classes)) is not None and len(stray) == num_images:
        found |= set(torch.nonzero(stray.flatten(1).any(1)).flatten().tolist())
    for key in MASK_KEYS:
        masks = batch.get(key)
        if isinstance(masks, torch.Tensor) and masks.is_floating_point() and len(masks) == num_images:
            found |= set(torch.nonzero(~torch.isfinite(masks.flatten(1)).all(1)).flatten().tolist())
    return sorted(found)


def _good_boxes(batch: Mapping[str, Any], index: torch.Tensor, num_classes: int | None) -> torch.Tensor:
    classes = batch.get("cls")
    good = torch.isfinite(index)
    if isinstance(images := batch.get("img"), torch.Tensor):
        good &= _within(index, len(images))
    for key in LABEL_KEYS:
        value = batch.get(key)
        if isinstance(value, torch.Tensor) and value.is_floating_point() and len(value) == len(index):
            good &= torch.isfinite(value.reshape(len(index), -1)).all(1).to(good.device)
    if num_classes is not None and isinstance(classes, torch.Tensor) and len(classes) == len(index):
        good &= _within(classes.reshape(len(index), -1), num_classes).all(1).to(good.device)
    masks = masks_by_box(batch)
    if masks is not None and masks.is_floating_point():
        good &= torch.isfinite(masks.flatten(1)).all(1).to(good.device)
    return good


def _stray_pixels(batch: Mapping[str, Any], num_classes: int | None) -> torch.Tensor | None:
    """Which pixels of the class map of ``batch`` are of no class, and not to be ignored; None where there is none."""
    pixels = batch.get(CLASS_MAP)
    if not isinstance(pixels, torch.Tensor) or num_classes is None or num_classes < 2:
        return None
    return ~_within(pixels, num_classes) & (pixels != IGNORED_PIXEL)


def _pixels_leave(pixels: np.ndarray, num_classes: int) -> bool:
    if pixels.dtype == np.uint8:  # as the loader gives them: 255 goes round to 0, a tenth of the time
        return int((pixels + np.uint8(1)).max()) > num_classes
    return bool((~((pixels >= 0) & (pixels < num_classes)) & (pixels != IGNORED_PIXEL)).any())


def _on_host(value: Any) -> np.ndarray | None:
    if not isinstance(value, torch.Tensor) or value.device.type != "cpu" or not value.numel():
        return None
    return value.numpy(force=True) if value.dtype is not torch.bfloat16 else value.float().numpy(force=True)


def _leaves(values: np.ndarray, number: int) -> bool:
    return not bool(values.min() >= 0 and values.max() < number)  # so that NaN does


def _within(values: torch.Tensor, number: int) -> torch.Tensor:
    return (values >= 0) & (values < number)
