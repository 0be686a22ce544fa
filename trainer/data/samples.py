"""What a data set says of its samples: which images, with which labels, joined of or selected from which others."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Final, Self

import numpy as np

_BESIDE_IMAGES: Final = ("mask_files", "depth_files")
"""What a data set of Ultralytics' names of labels that are images themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """What a data set names, each in the order of its images."""

    images: list[str]
    labels: list[Any]
    """What Ultralytics read of the labels of an image, or the class of an image as bytes."""
    label_files: list[str]
    beside: list[str]
    """The places of labels that are images themselves."""
    all_named: bool
    """Whether all samples are images that have a place. What the others hold nobody knows."""

    @classmethod
    def of(cls, dataset: Any) -> Self:
        """Those of ``dataset``, or of the data sets that it is made of."""
        parts = [cls.of(one) for one in _inner_of(dataset)]
        if not parts:
            return cls._named_by(dataset)
        joined = cls(
            images=_chained(one.images for one in parts),
            labels=_chained(one.labels for one in parts),
            label_files=_chained(one.label_files for one in parts),
            beside=_chained(one.beside for one in parts),
            all_named=all(one.all_named for one in parts),
        )
        picked = getattr(dataset, "indices", None)  # of a torch.utils.data.Subset
        return joined if picked is None or not joined.all_named else joined._picked(list(picked))

    @classmethod
    def _named_by(cls, dataset: Any) -> Self:
        images, labels = _listed(dataset, "im_files"), _listed(dataset, "labels")
        if not images:  # ClassificationDataset: (path, class, ...) a sample; of a data set of one's own, anything
            samples = _listed(dataset, "samples")
            pairs = [one if isinstance(one, list | tuple) and one else (one,) for one in samples]
            images, labels = [one[0] for one in pairs], ["".join(map(str, one[1:2])).encode() for one in pairs]
        places = _places(images)
        return cls(
            images=places,
            labels=labels,
            label_files=_places(_listed(dataset, "label_files")),
            beside=_chained(_places(_listed(dataset, name)) for name in _BESIDE_IMAGES),
            all_named=bool(images) and len(places) == len(images),
        )

    def _picked(self, indices: Sequence[int]) -> Self:
        """Only those of ``indices``. What is not one an image, is of all of them."""
        count = len(self.images)

        def of(values: list[Any]) -> list[Any]:
            return [values[index] for index in indices] if len(values) == count else values

        return replace(
            self,
            images=of(self.images),
            labels=of(self.labels),
            label_files=of(self.label_files),
            beside=of(self.beside),
        )


def _inner_of(dataset: Any) -> list[Any]:
    """The data sets that ``dataset`` is made of: those of a concatenation, or the one that it selects from or wraps;
    empty where it names images itself."""
    if hasattr(dataset, "im_files") or hasattr(dataset, "samples"):
        return []
    whole = getattr(dataset, "dataset", None)
    return _listed(dataset, "datasets") or ([] if whole is None else [whole])


def _listed(dataset: Any, name: str) -> list[Any]:
    values = getattr(dataset, name, None)
    return list(values) if isinstance(values, list | tuple | np.ndarray) else []


def _places(values: Iterable[Any]) -> list[str]:
    """Those of ``values`` that name a file."""
    return [str(value) for value in values if isinstance(value, str | os.PathLike)]


def _chained(lists: Iterable[list[Any]]) -> list[Any]:
    return list(chain.from_iterable(lists))
