"""Judgements, catalogs and archives as text for people and as JSON for programs. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from trainmaster.terminal import folded
from trainmaster.trainer.contract import Verdict, encode_number

if TYPE_CHECKING:  # each command loads what it needs, and no more
    from trainmaster.trainer.checkpoints.catalog import CatalogEntry
    from trainmaster.trainer.checkpoints.forensics import Judgement
    from trainmaster.trainer.checkpoints.manifest import ArchiveRecord
    from trainmaster.trainer.checkpoints.restore import Restored

_SIGNS: Final = {Verdict.CLEAN: "+", Verdict.CONTAMINATED: "!", Verdict.UNKNOWN: "?"}


def judgement_record(judgement: Judgement) -> dict[str, Any]:
    """Everything known of the file."""
    return {
        "file": str(judgement.file),
        "verdict": judgement.verdict.value,
        "reasons": list(judgement.reasons),
        "epoch": judgement.epoch,
        "resumable": judgement.resumable,
        "stripped": judgement.stripped,
        "attested": judgement.attested,
        "sha256": judgement.sha256,
        "bytes": judgement.bytes,
        "fitness": encode_number(judgement.fitness),
        "kind": judgement.kind.value,
        "ultralytics_version": judgement.ultralytics_version,
        "tensors": judgement.num_tensors,
    }


def judgement_text(judgement: Judgement) -> str:
    """The verdict first, then why, then what the file is."""
    facts = [
        f"epoch {judgement.epoch}" if judgement.epoch is not None else "epoch unknown",
        f"fitness {_fitness(judgement.fitness)}" if judgement.fitness is not None else "",
        _megabytes(judgement.bytes),
        "stripped" if judgement.stripped else ("resumable" if judgement.resumable else "not resumable"),
        f"Ultralytics {judgement.ultralytics_version}" if judgement.ultralytics_version else "",
    ]
    return "\n".join(
        [
            f"{judgement.file}: {judgement.verdict}",
            *(f"  {_SIGNS[judgement.verdict]} {reason}" for reason in judgement.reasons),
            f"  {', '.join(fact for fact in facts if fact)}",
            f"  sha256 {judgement.sha256}",
        ]
    )


def entry_record(entry: CatalogEntry) -> dict[str, Any]:
    """One row of the catalog."""
    return {**asdict(entry), "fitness": encode_number(entry.fitness)}


def catalog_text(
    name: str, entries: Sequence[CatalogEntry], last_clean: CatalogEntry | None, width: int | None = None
) -> str:
    """A table, then the checkpoint to go back to. Where the table is wider than ``width``, an entry is a few lines."""
    if not entries:
        return f"{name}: no checkpoints yet"
    rows = [
        (
            "?" if entry.epoch is None else str(entry.epoch),
            _moment(entry.ts),
            "-" if entry.fitness is None else _fitness(entry.fitness),
            _megabytes(entry.bytes),
            entry.verdict.value,
            "yes" if entry.resumable else "no",
            entry.file,
            "; ".join(entry.reasons),
        )
        for entry in entries
    ]
    header = ("epoch", "saved (UTC)", "fitness", "size", "verdict", "resumable", "file", "why")
    end = (
        f"last clean: epoch {last_clean.epoch}, {last_clean.file}"
        if last_clean is not None
        else "last clean: no epoch has ended with one yet that can be resumed from"
    )
    lines = _table(header, rows, right=frozenset({0, 2, 3}))
    if width is not None and max(map(len, lines)) > width:
        lines = [line for row in rows for line in _entry_lines(row, width)]
    return "\n".join([name, *lines, folded(end, width, indent="  ")])


def _entry_lines(row: Sequence[str], width: int) -> list[str]:
    epoch, saved, fitness, size, verdict, resumable, file, why = row
    facts = f"{verdict}, {'resumable' if resumable == 'yes' else 'not resumable'}, {size}"
    texts = [f"epoch {epoch}: {facts}", f"  {file}", f"  {saved} UTC, fitness {fitness}", f"  {why}"]
    return [line for text in texts for line in folded(text, width, indent="    ").split("\n")]


def archive_record(record: ArchiveRecord) -> dict[str, Any]:
    """One archive, for a program to read."""
    return {
        "folder": str(record.folder),
        "name": record.folder.name,
        "state": record.state.value,
        "ts": record.ts,
        "after_epoch": record.after_epoch,
        "attempt": record.attempt,
        "moved": [one.as_record() for one in record.moved],
        "results": record.results and record.results.as_record(),
        "bytes": record.bytes,
    }


def archive_text(record: ArchiveRecord) -> str:
    """What lies in one archive."""
    size = f"{_files(len(record.moved))}, {_megabytes(record.bytes)}"
    lines = [f"{record.folder}: {record.state}, what came after epoch {record.after_epoch} ({size})"]
    for one in record.moved:
        epoch = "?" if one.epoch is None else one.epoch
        lines.append(f"  {one.file}  epoch {epoch}, {_megabytes(one.saved.bytes)}, sha256 {one.saved.sha256[:12]}...")
    return "\n".join(lines)


def restored_record(restored: Restored) -> dict[str, Any]:
    """What a restoration did."""
    return {
        "epoch": restored.epoch,
        "source": restored.source,
        "sha256": restored.last.sha256,
        "bytes": restored.last.bytes,
        "best_epoch": restored.best_epoch,
        "best_source": restored.best_source,
        "archive": archive_record(restored.archive),
    }


def restored_text(restored: Restored) -> str:
    """What a restoration did."""
    best = "best.pt: unchanged" if restored.best_epoch is None else f"best.pt: epoch {restored.best_epoch}"
    return "\n".join(
        [
            f"restored to the end of epoch {restored.epoch}",
            f"  last.pt: {restored.source}, sha256 {restored.last.sha256[:12]}..., verified",
            f"  {best}",
            f"  put aside: {_files(len(restored.archive.moved))} in {restored.archive.folder}",
        ]
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], *, right: frozenset[int]) -> list[str]:
    lines = [tuple(header), *map(tuple, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return [
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def _fitness(value: float) -> str:
    return f"{value:.5f}"


def _files(number: int) -> str:
    return "1 file" if number == 1 else f"{number:,} files"


def _megabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:.1f} MB"


def _moment(ts: float) -> str:
    return datetime.fromtimestamp(ts, tz=UTC).strftime("%Y-%m-%d %H:%M")
