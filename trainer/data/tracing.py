"""Samples that know which files they were made of and, when a run is to be exact, depend on nothing but their place.

Ultralytics names one file a sample; of a mosaic that is the first of four, and mixup's partner is lost. And a sample's
augmentation depends on the random state of whichever worker makes it, and on the images that worker has seen lately.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Callable, Iterator
from typing import Any, Final

import cv2
import numpy as np
import torch
from ultralytics.data.dataset import ClassificationDataset, YOLODataset

SOURCES_KEY: Final = "source_files"
"""In a batch: per sample, every image file that it was made of."""
UNREADABLE_KEY: Final = "unreadable_files"
"""In a batch: per sample, the files that could not be read while it was made, ``file TAB error`` a line."""
MAX_STAND_INS: Final = 8
"""Samples tried in place of one that cannot be made. So many in a row are no bad file but a lost disk."""
UNREADABLE: Final = (OSError, ValueError, cv2.error)
"""What reading or transforming a spoiled image raises: missing, no image, of a shape or type that none has."""


class TracedYOLODataset(YOLODataset):
    """A :class:`YOLODataset` whose samples know their sources. ``exact_seed`` None leaves every draw as it was."""

    exact_seed: int | None
    sources: list[str]
    _indices: list[int]

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The sample, with its sources; in an exact run ``index`` also carries the epoch."""
        with _drawing(self, index) as own_index:
            return _first_that_can_be_made(self._made, own_index, len(self), self._spoiled)

    def _made(self, index: int) -> dict[str, Any]:
        self.sources, self._indices = [], []
        sample = super().__getitem__(index)
        sample[SOURCES_KEY] = list(dict.fromkeys(self.sources))
        return sample

    def _spoiled(self, index: int, error: Exception) -> list[str]:
        if isinstance(error, OSError) or not self.sources:  # raised where the last one was read
            return self.sources[-1:] or [str(self.im_files[index])]
        odd = [str(self.im_files[one]) for one in dict.fromkeys(self._indices) if not self._is_an_image(one)]
        return odd or list(dict.fromkeys(self.sources))

    def _is_an_image(self, index: int) -> bool:
        with contextlib.suppress(*UNREADABLE):
            return bool(self.load_image(index)[0].dtype == np.uint8)
        return False

    def get_image_and_label(self, index: int) -> dict[str, Any]:
        """As in the base class; called for the sample itself and for each of its partners."""
        self.sources.append(str(self.im_files[index]))
        self._indices.append(index)
        return super().get_image_and_label(index)


class TracedClassificationDataset(ClassificationDataset):
    """A :class:`ClassificationDataset` whose samples know their file."""

    exact_seed: int | None
    sources: list[str]

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The sample, with its file; in an exact run ``index`` also carries the epoch."""
        with _drawing(self, index) as own_index:
            return _first_that_can_be_made(self._made, own_index, len(self), self._spoiled)

    def _made(self, index: int) -> dict[str, Any]:
        return {**super().__getitem__(index), "im_file": str(self.samples[index][0])}

    def _spoiled(self, index: int, _: Exception) -> list[str]:
        return [str(self.samples[index][0])]


def _first_that_can_be_made(
    make: Callable[[int], dict[str, Any]], index: int, number: int, spoiled: Callable[[int, Exception], list[str]]
) -> dict[str, Any]:
    """Sample ``index``, or the next one that can be made; it tells which files could not be read.

    Raises:
        OSError, ValueError, cv2.error: none of many can.
    """
    failed: list[str] = []
    for shift in range(MAX_STAND_INS + 1):
        place = (index + shift) % number
        try:
            return {**make(place), UNREADABLE_KEY: "\n".join(failed)}
        except UNREADABLE as error:
            if shift == MAX_STAND_INS:
                raise
            failed += [unreadable_line(file, error) for file in spoiled(place, error)]
    raise AssertionError("the loop returns or raises")


def unreadable_line(file: str, error: Exception) -> str:
    """As it stands in a batch under :data:`UNREADABLE_KEY`."""
    return f"{file}\t{' '.join(f'{type(error).__name__}: {error}'.split())}"


@contextlib.contextmanager
def _drawing(dataset: Any, index: int) -> Iterator[int]:
    """The sample's own index; within, its draws are its own when the run is exact."""
    if dataset.exact_seed is None:
        yield index
        return
    epoch, own_index = divmod(index, len(dataset))
    with seeded(dataset.exact_seed, epoch, own_index):
        yield own_index


_KNOWN: Final = {YOLODataset: TracedYOLODataset, ClassificationDataset: TracedClassificationDataset}


def trace(dataset: Any, *, exact_seed: int | None) -> bool:
    """``dataset`` itself becomes a traced one, if it is of a kind that can; whether it is."""
    traced = _KNOWN.get(type(dataset))
    if traced is None:
        return False
    # A copy would scan all labels again. Single inheritance keeps the layout that this needs, and both classes have a
    # name in this module, so a worker that is not forked can unpickle them.
    dataset.__class__ = traced
    assert isinstance(dataset, TracedYOLODataset | TracedClassificationDataset)
    dataset.exact_seed = exact_seed
    dataset.sources = []
    if exact_seed is not None:
        for part in _parts(getattr(dataset, "transforms", None)):
            if hasattr(part, "buffer_enabled"):  # a mosaic: partners from the whole set, not from what was seen lately
                part.buffer_enabled = False
    return True


@contextlib.contextmanager
def seeded(*key: int) -> Iterator[None]:
    """Within, every generator that augmentation draws from starts from ``key``; afterwards they are as they were."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    seed(*key)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])


def seed(*key: int) -> None:
    """Every generator that augmentation draws from starts from ``key``."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    number = int.from_bytes(digest, "little")
    random.seed(number)
    np.random.seed(number % 2**32)
    torch.manual_seed(number)


def sources_of(batch: dict[str, Any]) -> list[str]:
    """Every image file that ``batch`` was made of, once each."""
    files = [str(name) for name in batch.get("im_file", ())]
    for sources in batch.get(SOURCES_KEY, ()):
        files += sources
    return list(dict.fromkeys(files))


def sources_of_samples(batch: dict[str, Any], samples: list[int]) -> list[str]:
    """Every image file that those samples of ``batch`` were made of."""
    per_sample = list(batch.get(SOURCES_KEY, ()))
    names = [str(name) for name in batch.get("im_file", ())]
    files: list[str] = []
    for sample in samples:
        files += names[sample : sample + 1]
        files += per_sample[sample] if sample < len(per_sample) else []
    return list(dict.fromkeys(files))


def _parts(transform: Any) -> Iterator[Any]:
    if transform is None:
        return
    yield transform
    inner = getattr(transform, "transforms", None)
    for part in inner if isinstance(inner, list | tuple) else ():
        yield from _parts(part)
    yield from _parts(getattr(transform, "pre_transform", None))
