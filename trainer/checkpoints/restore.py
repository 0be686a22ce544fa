"""Take a run back to the end of an epoch whose checkpoint is clean. Loads no torch."""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass
from pathlib import Path

from trainmaster.trainer.checkpoints.archive import alone, archive_after, best_remaining, require_space
from trainmaster.trainer.checkpoints.catalog import CatalogEntry, catalog, restorable_copy
from trainmaster.trainer.checkpoints.errors import CheckpointRefusedError
from trainmaster.trainer.checkpoints.files import DigestError, SavedFile, copy_verified, digest_of, holds
from trainmaster.trainer.checkpoints.forensics import Judgement, judge
from trainmaster.trainer.checkpoints.ledger import attestations, latest_by_file, record
from trainmaster.trainer.checkpoints.manifest import ArchiveRecord
from trainmaster.trainer.contract import SCHEMA_VERSION, RunLayout, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """The run as it is now: at the end of ``epoch`` (from 1), with ``last.pt`` and ``best.pt`` from these files."""

    epoch: int
    last: SavedFile
    source: str
    best_epoch: int | None
    best_source: str | None
    archive: ArchiveRecord


def restore(layout: RunLayout, epoch: int) -> Restored:
    """``last.pt`` is the checkpoint of ``epoch``, ``best.pt`` the best of what is left, ``results.csv`` ends there.

    What came after is archived first, so nothing is overwritten that does not lie elsewhere too. Asked again, it
    changes nothing.

    Raises:
        CheckpointRefusedError: the checkpoint is missing, not clean or of another epoch; names the nearest clean one.
        CheckpointError: a trainer is at work, or there is no space.
        OSError, DigestError: a copy failed; asking again goes on.
    """
    with alone(layout):
        source, judgement = _trusted(layout, epoch)
        require_space(layout.root, 2 * judgement.bytes)  # before anything moves; archiving takes no more than its own
        archived = archive_after(layout, epoch, owns_lock=True)
        _put(layout, source, layout.weights / "last.pt", judgement)
        best = _best(layout, epoch)
    return Restored(
        epoch=epoch,
        last=judgement.saved,
        source=source.relative_to(layout.root).as_posix(),
        best_epoch=best.epoch if best else None,
        best_source=best.file if best else None,
        archive=archived,
    )


def _best(layout: RunLayout, epoch: int) -> CatalogEntry | None:
    """The best of what is left, which ``best.pt`` is now; None where nothing rated is left, and ``best.pt`` stays."""
    best = best_remaining(catalog(layout), epoch)
    if best is None or (layout.weights / "best.pt").is_file():  # archiving left it where it is the best
        return best
    source = layout.root / best.file
    judgement = judge(source, attestations=attestations(layout))
    if judgement.verdict is not Verdict.CLEAN:
        raise CheckpointRefusedError(
            f"{best.file} should become best.pt and is {judgement.verdict}: {'; '.join(judgement.reasons)}",
            "last.pt is restored; move that file away and ask again",
        )
    _put(layout, source, layout.weights / "best.pt", judgement)
    return best


def mend_best(layout: RunLayout, epoch: int) -> CatalogEntry | None:
    """``best.pt`` is not later than ``epoch`` and not damaged; the copy it was made from, if it had to be.

    A kill can leave it torn (Ultralytics strips it in place), missing, or of an epoch that is trained again. It is put
    right only from a clean copy, and what lay there goes to the archive: somebody may have put it there on purpose.

    Raises:
        OSError, DigestError: it could not be moved or copied; asking again goes on.
    """
    path = layout.weights / "best.pt"
    if path.is_file():
        judgement = judge(path, attestations=attestations(layout))
        is_later = judgement.epoch is not None and judgement.epoch > epoch
        if judgement.verdict is not Verdict.CONTAMINATED and not is_later:
            return None
    best = best_remaining(catalog(layout), epoch)
    if best is None:
        return None
    source = layout.root / best.file
    judgement = judge(source, attestations=attestations(layout))
    if judgement.verdict is not Verdict.CLEAN:
        return None
    if path.is_file():
        aside = layout.archive / time.strftime("replaced-best-%Y%m%d-%H%M%S", time.gmtime())
        aside.mkdir(parents=True, exist_ok=True)
        path.replace(aside / path.name)
    _put(layout, source, path, judgement)
    return best


def nearest_clean(layout: RunLayout, epoch: int) -> CatalogEntry | None:
    """The clean checkpoint to offer in place of ``epoch``: the last before it, else the first after it."""
    entries = [
        entry
        for entry in catalog(layout)
        if entry.verdict is Verdict.CLEAN and entry.resumable and entry.epoch is not None and entry.epoch != epoch
        if restorable_copy(layout, entry.epoch) == layout.root / entry.file
    ]
    return min(entries, key=lambda entry: ((entry.epoch or 0) > epoch, abs((entry.epoch or 0) - epoch)), default=None)


def _trusted(layout: RunLayout, epoch: int) -> tuple[Path, Judgement]:
    source = restorable_copy(layout, epoch)
    if source is None:
        raise CheckpointRefusedError(f"{layout.name} has no checkpoint of epoch {epoch}", _offer(layout, epoch))
    rows = attestations(layout)
    state = layout.state_file(epoch)
    if state.is_file():
        _require_clean(layout, judge(state, attestations=rows), epoch)
    judgement = judge(source, attestations=rows)
    _require_clean(layout, judgement, epoch)
    return source, judgement


def _require_clean(layout: RunLayout, judgement: Judgement, epoch: int) -> None:
    name = judgement.file.name
    if judgement.verdict is not Verdict.CLEAN or not judgement.resumable:
        why = "; ".join(judgement.reasons)
        raise CheckpointRefusedError(f"{name} is {_fault(judgement)}: {why}", _offer(layout, epoch))
    if judgement.epoch != epoch:
        raise CheckpointRefusedError(f"{name} is of epoch {judgement.epoch}, not {epoch}", _offer(layout, epoch))


def _fault(judgement: Judgement) -> str:
    return "not resumable" if judgement.verdict is Verdict.CLEAN else str(judgement.verdict)


def _offer(layout: RunLayout, epoch: int) -> str:
    nearest = nearest_clean(layout, epoch)
    if nearest is None:
        return "no other epoch of this run has a clean checkpoint to restore"
    place = shlex.quote(str(layout.root))
    return f"the nearest clean one is epoch {nearest.epoch}: trainmaster restore {place} epoch={nearest.epoch}"


def _put(layout: RunLayout, source: Path, target: Path, judgement: Judgement) -> None:
    saved = judgement.saved
    latest = latest_by_file(attestations(layout)).get(target.relative_to(layout.root).as_posix())
    if layout.guard.is_dir() and (latest is None or latest.saved != saved):
        # Before the copy: a file that is there without its row would be taken for somebody else's.
        record(layout, _row(layout, target, judgement, source))
    if not holds(target, saved):
        target.parent.mkdir(parents=True, exist_ok=True)
        copy_verified(source, target, expected=saved)
        found = digest_of(target)
        if found != saved:
            raise DigestError(target, found=found, expected=saved)


def _row(layout: RunLayout, target: Path, judgement: Judgement, source: Path) -> dict[str, object]:
    of_source = [row for row in attestations(layout) if row.sha256 == judgement.sha256]
    return {
        "v": SCHEMA_VERSION,
        "ts": time.time(),
        "attempt": of_source[-1].attempt if of_source else None,
        "epoch": judgement.epoch,
        "file": target.relative_to(layout.root).as_posix(),
        "sha256": judgement.sha256,
        "bytes": judgement.bytes,
        "verdict": judgement.verdict.value,
        "reasons": [f"restored from {source.relative_to(layout.root).as_posix()}"],
        "fitness": judgement.fitness,
        "kind": "ultralytics",
        "level": of_source[-1].level if of_source else None,
    }
