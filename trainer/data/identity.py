"""Whether a data set is the one that a run was trained on: its files in their order, their sizes, its labels, its class
names."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from trainmaster.trainer.checkpoints.naming import some
from trainmaster.trainer.data.inventory import TAKE_S
from trainmaster.trainer.data.samples import Samples

NUM_NAMES_SHOWN: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class DataIdentity:
    """Short names of what a data set holds: the same name, the same content. Nothing of the machine it lies on."""

    count: int
    files: str
    """Of the images' places below the folder that holds them all, in the order in which a sampler numbers them; in
    that of their names where no sampler does."""
    labels: str
    """Of classes, boxes, outlines, keypoints and phrases, in the same order."""
    sizes: str | None
    """Of the bytes that images, and masks beside them, have on the disk; None where looking took too long."""

    @classmethod
    def of(cls, dataset: Any, *, sampled: bool = True, clock: Callable[[], float] = time.monotonic) -> DataIdentity:
        """What ``dataset``, one of Ultralytics', holds. Looks at files for ``TAKE_S`` seconds and reads none.

        Of a validation set, which is not ``sampled``, the order says nothing: it is that of the images' shapes, and a
        sort may leave those of one shape in another order on another machine.
        """
        samples = Samples.of(dataset)
        files, held, beside = (samples.images, samples.labels, samples.beside) if samples.all_named else ([], [], [])
        if not sampled and len(held) == len(files):
            order = sorted(range(len(files)), key=files.__getitem__)
            files, held = [files[index] for index in order], [held[index] for index in order]
        return cls(
            count=len(files),
            files=_digest(_below(files)),
            labels=_digest(_parts_of(held)),
            sizes=_digest_of_sizes([*files, *(beside if sampled else sorted(beside))], clock),
        )

    def as_record(self) -> dict[str, Any]:
        """For a saved state."""
        return {"count": self.count, "files": self.files, "labels": self.labels, "sizes": self.sizes}

    def difference(self, record: Mapping[str, Any]) -> str | None:
        """What of it is not as ``record`` (of an earlier :meth:`as_record`) has it, in words; None when all is."""
        if (before := record.get("count")) not in {None, self.count}:
            if before and self.count:
                return f"there are {self.count} images and were {before}"
            return f"nobody knows which images there {'were' if self.count else 'are'}"
        if record.get("files") not in {None, self.files}:
            return "the images have other names, or another order"
        if record.get("labels") not in {None, self.labels}:
            return "the labels are other ones"
        if None not in {record.get("sizes"), self.sizes} and record["sizes"] != self.sizes:
            return "images of the same names have other sizes on the disk"
        return None


def names_difference(before: Any, now: Any) -> str | None:
    """Which classes have another name, or another number, than they had; None when none has, or it can't be told."""
    old, new = class_names(before), class_names(now)
    if not old or not new or old == new:
        return None
    numbers = [number for number in sorted(old.keys() | new.keys()) if old.get(number) != new.get(number)]
    shown = [f"class {number} was {_shown(old, number)} and is {_shown(new, number)}" for number in numbers]
    return some(shown, NUM_NAMES_SHOWN, between="; ")


def class_names(names: Any) -> dict[int, str]:
    """``names`` as a list of classes, or by their number; empty where it is neither."""
    if isinstance(names, Mapping):
        pairs: Iterable[tuple[Any, Any]] = names.items()
    elif isinstance(names, list | tuple):
        pairs = enumerate(names)
    else:
        return {}
    try:
        return {int(number): str(name) for number, name in pairs}
    except (TypeError, ValueError):
        return {}


def folder_names(root: Path) -> dict[int, str]:
    """The classes of a folder of images a class, as Ultralytics numbers them (``check_cls_dataset``)."""
    train = root / "train"
    return dict(enumerate(sorted(path.name for path in train.iterdir() if path.is_dir()))) if train.is_dir() else {}


def _shown(names: Mapping[int, str], number: int) -> str:
    return repr(names[number]) if number in names else "none"


def _below(files: Sequence[str]) -> Iterable[bytes]:
    folders = {os.path.dirname(file) for file in files}  # noqa: PTH120 - a million paths, of which none is looked at
    try:
        start = len(os.path.commonpath(folders)) if folders else 0
    except ValueError:  # some absolute, some not
        start = 0
    return (file[start:].replace(os.sep, "/").encode("utf-8", "surrogateescape") for file in files)


def _parts_of(labels: Iterable[Any]) -> Iterable[bytes]:
    for label in labels:
        if isinstance(label, bytes):
            yield label
        if not isinstance(label, Mapping):
            continue
        for key in ("cls", "bboxes", "segments", "keypoints", "texts"):
            value = label.get(key)
            for part in value if isinstance(value, list) else [value]:
                if part is not None:
                    array = np.ascontiguousarray(part)
                    yield f"{key}{array.shape}{array.dtype}".encode()
                    yield array.tobytes()
        yield b"."


def _digest_of_sizes(files: Sequence[str], clock: Callable[[], float]) -> str | None:
    end_s = clock() + TAKE_S
    sizes = np.full(len(files), -1, dtype="<i8")
    for index, file in enumerate(files):
        if clock() > end_s:
            return None
        with suppress(OSError, ValueError):
            sizes[index] = os.stat(file).st_size  # noqa: PTH116 - a million of them
    return _digest([sizes.tobytes()])


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()[:32]
