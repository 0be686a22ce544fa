"""Pixels of no class, of which a class map may not hold any: they crash a loss as any other class that is none."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from trainmaster.trainer.batches.labels import CLASS_MAP, bad_labels, badly_labelled, without_bad_labels

NAN = float("nan")


def class_map(*pixels: float, dtype: torch.dtype = torch.uint8) -> dict[str, Any]:
    """Of two images, the first good."""
    second = torch.tensor([pixels], dtype=torch.float32).to(dtype)
    return {"img": torch.zeros(2, 3, 1, len(pixels)), CLASS_MAP: torch.stack([torch.zeros_like(second), second])}


@pytest.mark.parametrize(
    ("batch", "num_classes", "left"),
    [
        (class_map(0, 2), 3, None),
        (class_map(0, 255), 3, None),
        (class_map(255, 254), 255, None),
        (class_map(0, 3), 3, [0, 255]),
        (class_map(254, 255), 3, [255, 255]),
        (class_map(2, 3, dtype=torch.int32), 3, [2, 255]),
        (class_map(-1, 255, dtype=torch.int32), 3, [255, 255]),
        (class_map(NAN, 1, dtype=torch.float32), 3, [255, 1]),
        (class_map(0, 7), 1, None),
        (class_map(0, 7), None, None),
    ],
    ids=[
        *("good", "ignored", "many classes", "one too many", "the largest but one", "whole numbers", "below", "nan"),
        *("one class", "unknown"),
    ],
)
def test_a_pixel_of_no_class_is_a_bad_label_and_is_ignored(
    batch: dict[str, Any], num_classes: int | None, left: list[int] | None
) -> None:
    assert bad_labels(batch, num_classes) is (left is not None)
    assert badly_labelled(batch, num_classes) == ([] if left is None else [1])
    found = without_bad_labels(batch, num_classes)[CLASS_MAP]
    assert found[1].flatten().tolist() == (left or batch[CLASS_MAP][1].flatten().tolist())
