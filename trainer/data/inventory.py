"""Which files a run trains on, as they lie on the disk, so that anybody can tell later whether they still do: without
torch, and without loading them. Standard library only."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from trainmaster.trainer.checkpoints.plain_file import opened_plain
from trainmaster.trainer.contract import RunLayout

NAME: Final = "data.jsonl.gz"
"""In ``guard/``, written at the start of each attempt."""
TAKE_S: Final = 10.0
"""For looking at all files once; a set that takes longer (a million images on a slow disk) is not compared later."""
CONTENT_S: Final = 3.0
"""Of these, for reading what labels say; a label that was not read and is written anew later can't be told apart."""
_MAX_LINE_BYTES: Final = 256 * 2**20
_MAX_LABEL_BYTES: Final = 16 * 2**20
_FORMAT: Final = "trainmaster-data"
_VERSION: Final = 1
_NUM_NAMED: Final = 3


class DataVerdict(StrEnum):
    """Whether the files are as they were when the attempt began."""

    SAME = "same"
    CHANGED = "changed"
    UNKNOWN = "unknown"
    UNRECORDED = "unrecorded"
    """The run has no record of them: an older trainer's, or too many files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFound:
    """What a comparison came to, in a sentence without its stop."""

    verdict: DataVerdict
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFiles:
    """What a training is of. Other files with one of ``suffixes`` beside the images are counted, as they may join."""

    images: Sequence[str]
    labels: Sequence[str] = ()
    """Where the label of an image would be, whether it has one or not."""
    settings: Sequence[str] = ()
    """The data set's YAML."""
    suffixes: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Differences:
    """By what is wrong with them: how many, and the first few by name."""

    found: dict[str, list[str]] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)

    def note(self, what: str, path: str, number: int = 1) -> None:
        names = self.found.setdefault(what, [])
        if len(names) < _NUM_NAMED:
            names.append(path)
        self.numbers[what] = self.numbers.get(what, 0) + number

    @property
    def text(self) -> str:
        return "; ".join(
            f"{number} {what.replace('|s', 's' if number != 1 else '').replace('|are', 'are' if number != 1 else 'is')}"
            f" ({', '.join(self.found[what])}{' …' if number > len(self.found[what]) else ''})"
            for what, number in self.numbers.items()
        )


def take_inventory(layout: RunLayout, files: DataFiles, *, clock: Callable[[], float] = time.monotonic) -> bool:
    """``guard/data.jsonl.gz`` says what the run trains on; False, and there is none, where that took too long or no
    image is known.

    Raises:
        OSError: a folder can't be read, or the record can't be written; there is none then.
    """
    began_s = clock()

    def hurry() -> None:
        if clock() - began_s > TAKE_S:
            raise _TooLongError

    target = layout.guard / NAME
    written = target.with_name(f".{NAME}.{os.getpid()}")
    target.unlink(missing_ok=True)  # of the attempt before: it may have gone on with other data on purpose
    if not files.images:
        return False
    try:
        with gzip.open(written, "wt", encoding="utf-8", errors="surrogateescape", compresslevel=1) as stream:
            head = {"format": _FORMAT, "v": _VERSION, "ts": time.time(), "images": len(files.images)}
            stream.write(json.dumps(head) + "\n")
            for row in _rows(files, hurry, lambda: clock() - began_s < CONTENT_S):
                stream.write(json.dumps(row, separators=(",", ":")) + "\n")
        written.replace(target)
    except _TooLongError:
        return False
    finally:
        written.unlink(missing_ok=True)
    return True


def compare(layout: RunLayout) -> DataFound:
    """Whether the files of the newest attempt's record are as they were then. It takes as long as the disk takes: who
    must not wait ends it. Of images name and size count, of labels and the YAML also what they say."""
    path = layout.guard / NAME
    differences, unsure = _Differences(), _Differences()
    try:
        lines = _lines(path)
        head = next(lines, {})
        if head.get("format") != _FORMAT or head.get("v") != _VERSION:
            return DataFound(verdict=DataVerdict.UNKNOWN, text=f"{path} is of another version")
        for row in lines:
            _compare_folder(row, differences, unsure)
    except FileNotFoundError:
        return DataFound(verdict=DataVerdict.UNRECORDED, text="the run has no record of its files to compare them with")
    except (OSError, EOFError, zlib.error, ValueError, LookupError, TypeError, RecursionError) as error:
        return DataFound(verdict=DataVerdict.UNKNOWN, text=f"{type(error).__name__}: {error}")
    if differences.numbers:
        return DataFound(verdict=DataVerdict.CHANGED, text=differences.text)
    if unsure.numbers:
        return DataFound(verdict=DataVerdict.UNKNOWN, text=unsure.text)
    return DataFound(verdict=DataVerdict.SAME, text=f"{head.get('images')} images and their labels are as they were")


class _TooLongError(Exception):
    """There are more files than can be looked at in time."""


def _rows(files: DataFiles, hurry: Callable[[], None], has_time: Callable[[], bool]) -> Iterator[dict[str, Any]]:
    """One for each folder of a kind of file. ``has_time``: whether labels are read."""
    for kind, paths in (("settings", files.settings), ("images", files.images), ("labels", files.labels)):
        says = kind != "images"
        for folder, names in _by_folder(paths).items():
            seen, others = _scanned(folder, names, files.suffixes if kind == "images" else frozenset(), hurry)
            rows: list[list[Any]] = []
            for name in names:
                status = (seen or {}).get(name)
                if status is None:
                    rows.append([name, None])
                elif not says:
                    rows.append([name, status.st_size])
                else:
                    reads = kind == "settings" or has_time()
                    content = _content(os.path.join(folder, name), status.st_size) if reads else None  # noqa: PTH118
                    rows.append([name, status.st_size, status.st_mtime_ns, content])
            row: dict[str, Any] = {"folder": folder, "kind": kind, "files": rows}
            if kind == "images":
                row |= {"others": others, "suffixes": sorted(files.suffixes)}
            yield row


def _compare_folder(row: dict[str, Any], differences: _Differences, unsure: _Differences) -> None:
    folder, kind = str(row["folder"]), str(row["kind"])
    what = {"images": "image|s", "labels": "label file|s", "settings": "settings file|s"}[kind]
    rows = {str(one[0]): one for one in row["files"]}
    seen, others = _scanned(folder, rows, frozenset(row.get("suffixes", ())))
    if seen is None:
        if any(one[1] is not None for one in rows.values()):
            differences.note(f"folder|s of {what.replace('|', '')} |are gone", folder)
        return
    for name, one in rows.items():
        path, status = os.path.join(folder, name), seen.get(name)  # noqa: PTH118 - a million of them
        if one[1] is None:
            if status is not None:
                differences.note(f"{what} |are new", path)
        elif status is None:
            differences.note(f"{what} |are gone", path)
        elif status.st_size != one[1]:
            differences.note(f"{what} |are of another size", path)
        elif kind != "images" and status.st_mtime_ns != one[2]:
            content = _content(path, status.st_size) if one[3] is not None else None
            if content is None:
                unsure.note(f"{what} |are written anew, and what they said before is not known", path)
            elif content != one[3]:
                differences.note(f"{what} |are changed", path)
    more = others - int(row.get("others", 0))
    if more > 0:
        differences.note("image|s joined", folder, more)


def _by_folder(paths: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, dict[str, None]] = {}
    for path in paths:
        folder, _, name = os.path.abspath(path).rpartition(os.sep)  # noqa: PTH100 - a link stays a link
        found.setdefault(folder or os.sep, {})[name] = None
    return {folder: list(names) for folder, names in found.items()}


def _scanned(
    folder: str, names: Iterable[str], suffixes: frozenset[str], hurry: Callable[[], None] = lambda: None
) -> tuple[dict[str, os.stat_result] | None, int]:
    """Of those ``names`` that are there, their status; how many other files have one of ``suffixes``. None for a folder
    that is not there.

    Raises:
        OSError: it can't be read.
    """
    wanted = names if isinstance(names, dict) else dict.fromkeys(names)
    found: dict[str, os.stat_result] = {}
    others = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                hurry()
                if entry.name in wanted:
                    with suppress(FileNotFoundError):  # a link to what is gone
                        found[entry.name] = entry.stat()
                elif suffixes and entry.name.rpartition(".")[2].lower() in suffixes:
                    others += 1
    except (FileNotFoundError, NotADirectoryError):
        return None, 0
    return found, others


def _content(path: str, num_bytes: int) -> str | None:
    """A short digest of what the file holds; None of one too large to be a label, or that can't be read."""
    if num_bytes > _MAX_LABEL_BYTES:
        return None
    try:
        return hashlib.blake2b(Path(path).read_bytes(), digest_size=8).hexdigest()
    except OSError:
        return None


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with (
        opened_plain(path) as packed,
        gzip.open(packed, "rt", encoding="utf-8", errors="surrogateescape") as stream,
    ):
        while line := stream.readline(_MAX_LINE_BYTES):
            value = json.loads(line)
            if not isinstance(value, dict):
                raise TypeError(f"{path} holds a line that is no record")
            yield value
