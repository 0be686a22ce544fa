"""Validation images that cannot be read, once they could: gray and empty for that time, and told."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from ultralytics.data.dataset import ClassificationDataset, YOLODataset

from trainmaster.trainer.data.tracing import MAX_STAND_INS, UNREADABLE, UNREADABLE_KEY, trace, unreadable_line

GRAY: Final = 114
"""What Ultralytics pads with (``data/augment.py``): nothing to see for a model that was trained on its mosaics."""


class ForgivingYOLODataset(YOLODataset):
    """A :class:`YOLODataset` for validation that has a gray image without labels for one that cannot be read.

    Another sample in its place, as in training, would count twice, and have another shape where batches are
    rectangular.
    """

    _num_failed: int
    """In a row: so many are no bad file but a lost disk."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The sample.

        Raises:
            OSError, ValueError, cv2.error: it cannot be made, like many before it.
        """
        failed = ""
        try:
            sample = super().__getitem__(index)
            self._num_failed = 0
        except UNREADABLE as error:
            self._num_failed += 1
            if self._num_failed > MAX_STAND_INS:
                raise
            failed = unreadable_line(str(self.im_files[index]), error)
            sample = self._blank(index)
        return {**sample, UNREADABLE_KEY: failed}

    def _blank(self, index: int) -> dict[str, Any]:
        square: Any = self.imgsz
        height, width = self.batch_shapes[self.batch[index]] if self.rect else (square, square)
        images: list[Any] = self.ims
        sizes: tuple[list[Any], list[Any]] = self.im_hw0, self.im_hw
        shape = int(height), int(width)
        held = images[index]
        images[index] = np.full((*shape, self.channels), GRAY, dtype=np.uint8)
        for known in sizes:
            known[index] = shape
        try:
            label = self.get_image_and_label(index)
        finally:
            images[index] = held
        label["cls"], label["instances"] = label["cls"][:0], label["instances"][:0]
        blank: dict[str, Any] = self.transforms(label)
        return blank


def forgive(dataset: Any) -> None:
    """``dataset`` itself puts up with files that cannot be read, if it is of a kind that can."""
    if type(dataset) is YOLODataset:
        dataset.__class__ = ForgivingYOLODataset
        assert isinstance(dataset, ForgivingYOLODataset)
        dataset._num_failed = 0  # noqa: SLF001 - what a constructor would do
    elif type(dataset) is ClassificationDataset:
        trace(dataset, exact_seed=None)  # images of one size and a label each: another sample does
