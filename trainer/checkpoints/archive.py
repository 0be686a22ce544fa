"""Put aside everything of a run that came after an epoch, and bring it back. Deletes nothing. Loads no torch.

The manifest with all digests is on disk before the first file moves, and a file moves by rename. So a kill at any
moment leaves every file in one of two known places, and asking again finishes what was begun.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shlex
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from trainmaster.trainer.checkpoints.catalog import CatalogEntry, catalog
from trainmaster.trainer.checkpoints.errors import CheckpointError, CheckpointRefusedError, NoSuchRunError
from trainmaster.trainer.checkpoints.files import (
    DigestError,
    SavedFile,
    copy_verified,
    digest_of,
    holds,
    sweep_partials,
)
from trainmaster.trainer.checkpoints.history import cut_history, cut_results
from trainmaster.trainer.checkpoints.manifest import (
    ArchivedFile,
    ArchiveRecord,
    ArchiveState,
    archives,
    read_manifest,
    write_manifest,
)
from trainmaster.trainer.contract import EPOCH_FILE, RunLayout, Verdict, fsync_dir

SPARE_BYTES: Final = 1024 * 1024
"""Room for manifests and results beside what is copied."""


def archive_after(
    layout: RunLayout, epoch: int, *, attempt: int | None = None, owns_lock: bool = False
) -> ArchiveRecord:
    """Nothing of the run is later than ``epoch`` (from 1; 0 for its start); all that was lies in one archive folder.

    What moves: full states and their copies of later epochs, every state that belongs to no epoch's end, Ultralytics'
    ``epochN.pt`` of later epochs, ``last.pt`` unless it is the clean and resumable checkpoint of ``epoch``, and
    ``best.pt`` unless it is clean, not later, and the best of what stays. ``results.csv`` is copied, then cut. Events,
    log and ledger stay, since they are history; their sizes are noted. Asked again, it finishes what was cut short, and
    otherwise changes nothing. ``owns_lock``: the caller is the trainer that holds the run's lock.

    Raises:
        CheckpointError: a trainer is at work, there is no space, or the run has not come to the end of ``epoch``.
            Nothing was changed.
        OSError: a move failed; what had moved was put back.
    """
    _require_run(layout)
    with alone(layout, owns_lock=owns_lock):
        sweep_partials(layout.root, layout.weights, layout.states)
        for record in archives(layout):
            if record.state is ArchiveState.ARCHIVING:
                _finish(layout, record)
            elif record.state is ArchiveState.RETURNING:
                raise CheckpointRefusedError(
                    f"bringing back {record.folder.name} was cut short",
                    f"finish it first: trainmaster unarchive {_typed(layout)} {record.folder.name}",
                )
        entries = catalog(layout)
        doomed = _later_than(layout, entries, epoch)
        results = _file(layout, layout.results_csv, None) if layout.results_csv.is_file() else None
        if not doomed and not _has_later_rows(layout, epoch):
            done = [one for one in archives(layout) if one.after_epoch == epoch and one.state is ArchiveState.ARCHIVED]
            if done:
                return done[-1]
        _require_reached(layout, entries, epoch)
        _require_space(layout, doomed, results)
        record = ArchiveRecord(
            folder=_new_folder(layout, epoch),
            state=ArchiveState.ARCHIVING,
            ts=time.time(),
            after_epoch=epoch,
            attempt=attempt,
            moved=tuple(doomed),
            results=results,
            kept_bytes={
                path.relative_to(layout.root).as_posix(): path.stat().st_size
                for path in (layout.events, layout.series, layout.train_log, layout.checkpoints)
                if path.is_file()
            },
        )
        try:
            write_manifest(record)
            return _carry_out(layout, record)
        except (OSError, DigestError):
            _put_back(layout, record)
            raise


def finish_archiving(layout: RunLayout) -> list[ArchiveRecord]:
    """What was being put aside when somebody was killed is put aside, as far as nothing was written over it since; the
    archives. Only for who holds the run's lock.

    Raises:
        OSError: a move failed; asking again goes on.
    """
    begun = [record for record in archives(layout) if record.state is ArchiveState.ARCHIVING]
    for record in begun:
        _finish(layout, record)
    return begun


def unarchive(layout: RunLayout, folder: str | Path) -> ArchiveRecord:
    """The run is as it was before ``folder`` (a name under the run's archive) was made.

    Raises:
        NoSuchRunError: there is no such archive.
        CheckpointRefusedError: the run has gone on since, or a file in the archive is not what was put there.
            Nothing changed.
        OSError: a move failed; asking again goes on.
    """
    _require_run(layout)
    place = layout.archive / Path(folder).name
    record = read_manifest(place)
    if record is None:
        known = ", ".join(one.folder.name for one in archives(layout)) or "none"
        raise NoSuchRunError(f"{layout.name} has no archive {place.name!r}", f"its archives: {known}")
    if record.state is ArchiveState.RETURNED:
        return record
    with alone(layout):
        _require_returnable(layout, record)
        record = replace(record, state=ArchiveState.RETURNING)
        write_manifest(record)
        return _put_back(layout, record)


def _later_than(layout: RunLayout, entries: Sequence[CatalogEntry], epoch: int) -> list[ArchivedFile]:
    best = best_remaining(entries, epoch)
    return [
        _file(layout, layout.root / entry.file, entry.epoch)
        for entry in entries
        if _is_later(entry, epoch, best.fitness if best else None)
    ]


def best_remaining(entries: Iterable[CatalogEntry], epoch: int) -> CatalogEntry | None:
    """The clean Ultralytics checkpoint of an epoch up to ``epoch`` with the best fitness, of equals the latest, as
    Ultralytics chooses ``best.pt``; only files that are kept by epoch count."""
    rated = [
        entry
        for entry in entries
        if (match := EPOCH_FILE.fullmatch(entry.file)) is not None
        and (match[2] is not None or match[3] is not None)
        and entry.verdict is Verdict.CLEAN
        and entry.epoch is not None
        and entry.epoch <= epoch
    ]
    return max(
        rated,
        key=lambda entry: (-1.0 if entry.fitness is None else entry.fitness, entry.epoch or 0, entry.file),
        default=None,
    )


def _is_later(entry: CatalogEntry, epoch: int, best_fitness: float | None) -> bool:
    if match := EPOCH_FILE.fullmatch(entry.file):
        return (int(match[3]) + 1 if match[3] is not None else int(match[1])) > epoch  # Ultralytics' own is from 0
    if entry.file == "weights/last.pt":
        return entry.epoch != epoch or entry.verdict is not Verdict.CLEAN or not entry.resumable
    if entry.file == "weights/best.pt":
        is_best = best_fitness is None or (entry.fitness is not None and entry.fitness >= best_fitness)
        return entry.epoch is None or entry.epoch > epoch or entry.verdict is not Verdict.CLEAN or not is_best
    return entry.file.startswith("guard/states/")


def _require_reached(layout: RunLayout, entries: Iterable[CatalogEntry], epoch: int) -> None:
    """What belongs to no epoch's end is not taken for later than an epoch that never was."""
    ends = (entry.epoch for entry in entries if entry.file.startswith("weights/") or EPOCH_FILE.fullmatch(entry.file))
    newest = max((end for end in ends if end is not None), default=None)
    if newest is not None and epoch > newest:
        raise CheckpointRefusedError(
            f"{layout.name} has no checkpoint of epoch {epoch} or later: its newest is of epoch {newest}",
            f"trainmaster catalog {_typed(layout)} lists them",
        )


def _typed(layout: RunLayout) -> str:
    """The run directory, as it is typed in a shell."""
    return shlex.quote(str(layout.root))


def _has_later_rows(layout: RunLayout, epoch: int) -> bool:
    if not layout.results_csv.is_file():
        return False
    content = layout.results_csv.read_bytes()
    return cut_history(content, epoch) != content


def _file(layout: RunLayout, path: Path, epoch: int | None) -> ArchivedFile:
    return ArchivedFile(file=path.relative_to(layout.root).as_posix(), saved=digest_of(path), epoch=epoch)


def _carry_out(layout: RunLayout, record: ArchiveRecord) -> ArchiveRecord:
    if record.results is not None:
        kept = record.folder / record.results.file
        if not kept.is_file():
            copy_verified(layout.root / record.results.file, kept, expected=record.results.saved)
        cut_results(layout.results_csv, record.after_epoch)
    for one in record.moved:
        _move(layout.root / one.file, record.folder / one.file, one.saved)
    return _recorded(layout, replace(record, state=ArchiveState.ARCHIVED))


def _finish(layout: RunLayout, record: ArchiveRecord) -> None:
    """An archive that was cut short is complete; what was written over its files since then is left for the next."""
    sweep_partials(*(folder for folder in (record.folder, *record.folder.rglob("*")) if folder.is_dir()))
    planned = [*record.moved, *([record.results] if record.results else [])]
    begun = [one for one in planned if (record.folder / one.file).is_file()]
    as_planned = [one for one in planned if one in begun or holds(layout.root / one.file, one.saved)]
    if not begun and as_planned != planned:
        _recorded(layout, replace(record, state=ArchiveState.RETURNED))
        return
    _carry_out(layout, replace(record, moved=tuple(one for one in record.moved if one in as_planned)))


def _put_back(layout: RunLayout, record: ArchiveRecord) -> ArchiveRecord:
    sweep_partials(layout.root, layout.weights, layout.states)
    for one in record.moved:
        if (record.folder / one.file).is_file():
            _move(record.folder / one.file, layout.root / one.file, one.saved, overwrite=True)
    if record.results is not None and (kept := record.folder / record.results.file).is_file():
        copy_verified(kept, layout.results_csv, expected=record.results.saved)
    return _recorded(layout, replace(record, state=ArchiveState.RETURNED))


def _move(source: Path, target: Path, saved: SavedFile, *, overwrite: bool = False) -> None:
    """``target`` is the file that ``source`` was. Across file systems the copy is verified before the source goes."""
    if not source.exists() and target.is_file():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and not overwrite:
        # Across file systems, killed after the copy and before the source was gone.
        if not (holds(target, saved) and holds(source, saved)):
            raise FileExistsError(errno.EEXIST, "another file of this name is in the archive", str(target))
        source.unlink()
        return
    try:
        source.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        copy_verified(source, target, expected=saved)
        source.unlink()


def _recorded(layout: RunLayout, record: ArchiveRecord) -> ArchiveRecord:
    """``record`` is what the manifest says, after all moves are on disk."""
    for folder in {layout.root, *(place.parent for one in record.moved for place in _places(layout, record, one))}:
        if folder.is_dir():
            fsync_dir(folder)
    write_manifest(record)
    return record


def _places(layout: RunLayout, record: ArchiveRecord, one: ArchivedFile) -> tuple[Path, Path]:
    return layout.root / one.file, record.folder / one.file


def _require_run(layout: RunLayout) -> None:
    if not (layout.guard.is_dir() or layout.weights.is_dir()):
        raise NoSuchRunError(f"{layout.root} is no run directory", "it should hold a folder guard/ or weights/")


def _require_space(layout: RunLayout, doomed: Iterable[ArchivedFile], results: ArchivedFile | None) -> None:
    layout.archive.mkdir(parents=True, exist_ok=True)
    device = layout.archive.stat().st_dev
    crossing = sum(one.saved.bytes for one in doomed if (layout.root / one.file).stat().st_dev != device)
    needed = SPARE_BYTES + crossing + 2 * (results.saved.bytes if results else 0)
    require_space(layout.archive, needed)


def require_space(folder: Path, needed_bytes: int) -> None:
    """``folder`` has room for ``needed_bytes``.

    Raises:
        CheckpointError: it has not.
    """
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise CheckpointError(
            f"{folder} has {free / 1e6:.1f} MB free and {needed_bytes / 1e6:.1f} MB are needed",
            "make room and ask again; nothing was changed",
        )


def _require_returnable(layout: RunLayout, record: ArchiveRecord) -> None:
    returning = record.state is ArchiveState.RETURNING
    own = {one.file for one in record.moved}
    kept = {entry.sha256 for entry in catalog(layout) if _is_copy(entry.file) and entry.file not in own}
    for one in record.moved:
        target, source = _places(layout, record, one)
        if not source.is_file() and returning and holds(target, one.saved):
            continue
        if not holds(source, one.saved):
            raise CheckpointRefusedError(f"{source} is not the file that was archived", "nothing was changed")
        if target.exists() and digest_of(target).sha256 not in kept | {one.saved.sha256}:
            raise CheckpointRefusedError(
                f"{one.file} was written anew since: the run has gone on",
                f"put that aside first: trainmaster archive {_typed(layout)} after={record.after_epoch}",
            )
    if record.results is not None and layout.results_csv.is_file():
        before = (record.folder / record.results.file).read_bytes()
        if layout.results_csv.read_bytes() not in {before, cut_history(before, record.after_epoch)}:
            raise CheckpointRefusedError(
                "results.csv has rows of a later attempt",
                f"put them aside first: trainmaster archive {_typed(layout)} after={record.after_epoch}",
            )


def _is_copy(file: str) -> bool:
    return EPOCH_FILE.fullmatch(file) is not None


def _new_folder(layout: RunLayout, epoch: int) -> Path:
    layout.archive.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        folder = layout.archive / (f"after-epoch-{epoch:04d}" + (f"-{number}" if number > 1 else ""))
        try:
            folder.mkdir()
        except FileExistsError:
            if any(not path.name.startswith(".") for path in folder.iterdir()):
                number += 1
                continue
            sweep_partials(folder)  # a process was killed before its manifest was whole
        fsync_dir(layout.archive)
        return folder


@contextmanager
def alone(layout: RunLayout, *, owns_lock: bool = False) -> Iterator[None]:
    """No trainer and no other archiver is at work on the run while this lasts."""
    if owns_lock or not layout.guard.is_dir():
        yield
        return
    descriptor = os.open(layout.lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CheckpointRefusedError(
                f"a trainer is at work on {layout.name}", "stop it first; its files can't be moved under it"
            ) from None
        except OSError as error:
            raise CheckpointRefusedError(
                f"whether a trainer is at work on {layout.name} can't be told: its disk has no locks "
                f"({error.strerror or error})",
                "mount it such that flock holds",
            ) from error
        yield
    finally:
        os.close(descriptor)
