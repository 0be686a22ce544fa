"""Images left out of training, and those that have been in more than one bad batch."""

from __future__ import annotations

import glob
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from ultralytics.data.utils import IMG_FORMATS

from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.checkpoints.files import replacing
from trainmaster.trainer.contract import RunLayout, read_json, replace_json

OFFENDERS_NAME: Final = "offenders.json"
REPEATS: Final = 2
"""Bad batches from which on an image is listed as an offender. One does not convict: the same data did not spike again
from another checkpoint (PaLM)."""


def listed(path: Path) -> frozenset[str]:
    """Names in a quarantine file: one a line, or the ``offenders.json`` of a run.

    Raises:
        ArgumentsError: it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ArgumentsError(f"quarantine={path}: {error}") from None
    if path.suffix == ".json":
        try:
            return frozenset(json.loads(text)["offenders"])
        except (ValueError, KeyError, TypeError):
            raise ArgumentsError(f"quarantine={path} is no list of offenders") from None
    lines = (line.strip() for line in text.splitlines())
    return frozenset(line for line in lines if line and not line.startswith("#"))


def training_list(img_path: str | list[str], left_out: frozenset[str], target: Path) -> tuple[str, int]:
    """``target`` lists the images of ``img_path`` but for those ``left_out``; it, and how many were left out.

    A rank that reads it while another writes it has the whole list.

    Raises:
        ArgumentsError: nothing would be left.
    """
    files = _image_files(img_path if isinstance(img_path, list) else [img_path])
    kept = [file for file in files if not _is_listed(file, left_out)]
    if not kept:
        raise ArgumentsError(f"quarantine leaves none of {len(files)} training images")
    with replacing(target, durable=False) as stream:
        stream.write(("\n".join(kept) + "\n").encode())
    return str(target), len(files) - len(kept)


def keep_samples(samples: list[Any], left_out: frozenset[str]) -> list[Any]:
    """Samples of a classification data set, whose first item is their file."""
    return [sample for sample in samples if not _is_listed(str(sample[0]), left_out)]


def note_offence(layout: RunLayout, images: Iterable[str], incident: str | None) -> list[str]:
    """One more bad batch with ``images`` in it; those that have been in at least two.

    Raises:
        OSError: no space, no permission.
    """
    path = layout.guard / OFFENDERS_NAME
    before = (read_json(path) or {}).get("seen")  # a person may have edited the file
    seen = {name: where for name, where in before.items() if isinstance(where, list)} if type(before) is dict else {}
    for image in images:
        seen.setdefault(image, []).append(incident or "unrecorded")
    offenders = sorted((name for name, where in seen.items() if len(where) >= REPEATS), key=lambda n: -len(seen[n]))
    replace_json(path, {"offenders": offenders, "seen": seen})
    return offenders


def files_below(folder: Path) -> Iterator[str]:
    """Files in ``folder`` and in folders below it, linked ones too, as Ultralytics looks for images."""
    pattern = Path(glob.escape(str(folder)), "**", "*.*")
    return glob.iglob(str(pattern), recursive=True)  # noqa: PTH207 - Path.rglob follows no link to a folder


def _is_listed(file: str, left_out: frozenset[str]) -> bool:
    return file in left_out or Path(file).name in left_out or str(Path(file).resolve()) in left_out


def _image_files(places: list[str]) -> list[str]:
    """Image files in folders and list files, as Ultralytics finds them (data/base.py, ``get_img_files``)."""
    found: list[str] = []
    for place in map(Path, places):
        if place.is_dir():
            found += files_below(place)
        elif place.is_file():
            lines = place.read_text(encoding="utf-8-sig").strip().splitlines()
            found += [str(place.parent / line[2:]) if line.startswith("./") else line for line in lines]
    return sorted(name for name in found if name.rpartition(".")[-1].lower() in IMG_FORMATS)
