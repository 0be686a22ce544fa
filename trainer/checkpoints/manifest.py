"""``manifest.json`` of an archive: the plan of a move, written before the first file moves, and its journal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from trainmaster.trainer.checkpoints.files import SavedFile, write_atomically
from trainmaster.trainer.contract import RunLayout, encode_record, read_json

MANIFEST_NAME: Final = "manifest.json"
MANIFEST_VERSION: Final = 1


class ArchiveState(StrEnum):
    """How far an archive is. The two that end in "ing" are finished by calling again what began them."""

    ARCHIVING = "archiving"
    ARCHIVED = "archived"
    RETURNING = "returning"
    RETURNED = "returned"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedFile:
    """A file by its place in the run directory, which is its place in the archive too."""

    file: str
    saved: SavedFile
    epoch: int | None
    """Counts from 1; None where nothing tells."""

    def as_record(self) -> dict[str, Any]:
        """As the manifest holds it."""
        return {"file": self.file, "sha256": self.saved.sha256, "bytes": self.saved.bytes, "epoch": self.epoch}


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveRecord:
    """What was put aside, why, and where it lies."""

    folder: Path
    state: ArchiveState
    ts: float
    after_epoch: int
    """The epoch (from 1) that the run was taken back to; 0 for its start."""
    attempt: int | None
    moved: tuple[ArchivedFile, ...]
    results: ArchivedFile | None
    """``results.csv`` as it was, a copy; None when there was none."""
    kept_bytes: dict[str, int]
    """Records that stayed in place, with their sizes at that moment: what lies behind is of later attempts."""

    @property
    def bytes(self) -> int:
        """Of all that was moved."""
        return sum(one.saved.bytes for one in self.moved)


def write_manifest(record: ArchiveRecord) -> None:
    """The manifest in ``record.folder`` says ``record``, durably."""
    content: dict[str, Any] = {
        "v": MANIFEST_VERSION,
        "ts": record.ts,
        "state": record.state.value,
        "after_epoch": record.after_epoch,
        "attempt": record.attempt,
        "moved": [one.as_record() for one in record.moved],
        "results": record.results and record.results.as_record(),
        "kept_bytes": record.kept_bytes,
    }
    write_atomically(record.folder / MANIFEST_NAME, f"{encode_record(content)}\n".encode())


def read_manifest(folder: Path) -> ArchiveRecord | None:
    """What the manifest in ``folder`` says; None when there is none, or none that can be understood."""
    content = read_json(folder / MANIFEST_NAME)
    if content is None:
        return None
    try:
        return ArchiveRecord(
            folder=folder,
            state=ArchiveState(content["state"]),
            ts=float(content["ts"]),
            after_epoch=int(content["after_epoch"]),
            attempt=None if content["attempt"] is None else int(content["attempt"]),
            moved=tuple(_decoded(one) for one in content["moved"]),
            results=None if content["results"] is None else _decoded(content["results"]),
            kept_bytes={str(name): int(size) for name, size in content["kept_bytes"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def archives(layout: RunLayout) -> list[ArchiveRecord]:
    """All archives of the run, oldest first."""
    return sorted(_readable(layout), key=lambda record: (record.ts, record.folder.name))


def _readable(layout: RunLayout) -> Iterator[ArchiveRecord]:
    try:
        folders = sorted(layout.archive.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return
    for folder in folders:
        if folder.is_dir() and (record := read_manifest(folder)) is not None:
            yield record


def _decoded(one: dict[str, Any]) -> ArchivedFile:
    saved = SavedFile(sha256=str(one["sha256"]), bytes=int(one["bytes"]))
    file = str(one["file"])
    if file.startswith("/") or ".." in Path(file).parts:
        raise ValueError(f"{file} is no place in a run directory")
    return ArchivedFile(file=file, saved=saved, epoch=None if one["epoch"] is None else int(one["epoch"]))
