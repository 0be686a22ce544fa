"""Every checkpoint of a run, with what is known of it. Loads no torch."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from trainmaster.trainer.checkpoints.forensics import FileKind, judge
from trainmaster.trainer.checkpoints.ledger import Attestation, attestations, latest_by_file
from trainmaster.trainer.checkpoints.retention import ULTRALYTICS_COPY, state_epoch, ultralytics_copy
from trainmaster.trainer.contract import RunLayout, Verdict

CLOCK_SLACK_S: Final = 2.0
"""A file may look this much newer than its attestation: the two clocks, and file systems that count whole seconds. A
larger difference only costs time: the file is then read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogEntry:
    """One file. ``epoch`` counts from 1 and is None where nothing tells; ``file`` is relative to the run directory."""

    epoch: int | None
    ts: float
    """When it was attested; without an attestation, when it was last written."""
    fitness: float | None
    bytes: int
    verdict: Verdict
    reasons: tuple[str, ...]
    resumable: bool
    kind: FileKind
    file: str
    sha256: str
    attested: bool


def catalog(layout: RunLayout, *, full: bool = False) -> list[CatalogEntry]:
    """What lies in ``weights/`` and ``guard/states/``, by epoch, unknown epochs last.

    A state that is as large as attested and no newer than its attestation is taken at its word, unless it was attested
    clean by a trainer that looked at less than today's; everything else, and with ``full`` everything, is read.

    Raises:
        OSError: the run directory or its ledger can't be read.
    """
    rows = attestations(layout)
    latest = latest_by_file(rows)
    entries = []
    for path in _files(layout):
        try:
            entries.append(_entry(layout, path, rows, latest, full=full))
        except FileNotFoundError:  # retention took it in the meantime
            continue
        except OSError as error:  # one that can't be read leaves the others to be chosen from
            entries.append(_unreadable(layout, path, error))
    return sorted(entries, key=lambda entry: (entry.epoch is None, entry.epoch or 0, entry.ts, entry.file))


def last_clean(layout: RunLayout, *, at_or_before_epoch: int | None = None) -> CatalogEntry | None:
    """The newest epoch's checkpoint that is clean and can be resumed from, as :func:`newest_clean` chooses.

    Raises:
        OSError: as :func:`catalog`.
    """
    return newest_clean(catalog(layout), at_or_before_epoch=at_or_before_epoch)


def newest_clean(entries: Iterable[CatalogEntry], *, at_or_before_epoch: int | None = None) -> CatalogEntry | None:
    """Of several files of the newest clean epoch, the full state. A stop's state is none: it ends no epoch. Nor is a
    file that somebody put there under a name of his own: no resume takes it."""
    found = [
        entry
        for entry in entries
        if entry.verdict is Verdict.CLEAN
        and entry.resumable
        and entry.epoch is not None
        and (at_or_before_epoch is None or entry.epoch <= at_or_before_epoch)
        and _is_taken(entry, entry.epoch)
    ]
    return max(found, key=lambda entry: (entry.epoch or 0, entry.kind is FileKind.STATE), default=None)


def _is_taken(entry: CatalogEntry, epoch: int) -> bool:
    """Whether a resume from ``epoch`` or a way back to it looks for a file of this name."""
    folder, _, name = entry.file.rpartition("/")
    if folder == "weights":
        return name in {"last.pt", "best.pt", f"epoch{epoch - 1}.pt"}  # Ultralytics counts from 0
    return state_epoch(name) == epoch or name == ULTRALYTICS_COPY.format(epoch)


def _files(layout: RunLayout) -> list[Path]:
    found = [path for folder in (layout.weights, layout.states) for path in sorted(folder.glob("[!.]*.pt"))]
    return [path for path in found if path.is_file()]


def _entry(
    layout: RunLayout, path: Path, rows: list[Attestation], latest: dict[str, Attestation], *, full: bool
) -> CatalogEntry:
    name = path.relative_to(layout.root).as_posix()
    status = path.stat()
    row = latest.get(name)
    as_attested = (
        row is not None
        and row.is_of_today
        and row.bytes == status.st_size
        and status.st_mtime <= row.ts + CLOCK_SLACK_S
        # By a clock that was ahead, any file is older than its row.
        and (row.verdict is not Verdict.CLEAN or row.ts <= time.time() + CLOCK_SLACK_S)
        and not full
    )
    if row is not None and as_attested and _never_stripped(layout, path, row, rows):
        return CatalogEntry(
            epoch=row.epoch,
            ts=row.ts,
            fitness=row.fitness,
            bytes=row.bytes,
            verdict=row.verdict,
            reasons=row.reasons or (f"attested {row.verdict} when it was saved",),
            resumable=row.verdict is not Verdict.CONTAMINATED,
            kind=FileKind.STATE if row.kind == FileKind.STATE else FileKind.ULTRALYTICS,
            file=name,
            sha256=row.sha256,
            attested=True,
        )
    judgement = judge(path, attestations=rows)
    return CatalogEntry(
        epoch=judgement.epoch,
        ts=row.ts if row is not None and judgement.attested else status.st_mtime,
        fitness=judgement.fitness,
        bytes=judgement.bytes,
        verdict=judgement.verdict,
        reasons=judgement.reasons,
        resumable=judgement.resumable,
        kind=judgement.kind,
        file=name,
        sha256=judgement.sha256,
        attested=judgement.attested,
    )


def _unreadable(layout: RunLayout, path: Path, error: OSError) -> CatalogEntry:
    return CatalogEntry(
        epoch=None,
        ts=0.0,
        fitness=None,
        bytes=0,
        verdict=Verdict.UNKNOWN,
        reasons=(f"can't be read: {error.strerror or error}",),
        resumable=False,
        kind=FileKind.OTHER,
        file=path.relative_to(layout.root).as_posix(),
        sha256="",
        attested=False,
    )


def _never_stripped(layout: RunLayout, path: Path, row: Attestation, rows: list[Attestation]) -> bool:
    """An attestation does not say whether the optimizer is in the file: in our own copies it is, and in what equals
    one of them."""
    if path.parent == layout.states:
        return True
    kept = {other.sha256 for other in rows if other.file.startswith("guard/states/")}
    return row.sha256 in kept


def restorable_copy(layout: RunLayout, epoch: int) -> Path | None:
    """The Ultralytics checkpoint of ``epoch`` (from 1) to restore from: our copy, else Ultralytics' own by number. A
    run without a guard often has nothing but ``best.pt`` and ``last.pt``: these are read to see which epoch's they are.
    """
    own = layout.weights / f"epoch{epoch - 1}.pt"  # save_period counts from 0
    numbered = next((path for path in (ultralytics_copy(layout, epoch), own) if path.is_file()), None)
    if numbered is not None or layout.run_json.exists():
        return numbered
    overwritten = (layout.weights / "best.pt", layout.weights / "last.pt")
    return next((path for path in overwritten if path.is_file() and judge(path).epoch == epoch), None)
