"""``guard/checkpoints.jsonl``: one attestation a saved file, made while its content was in memory. Loads no torch."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from trainmaster.trainer.checkpoints.files import SavedFile
from trainmaster.trainer.checkpoints.limits import MAX_LEDGER_BYTES
from trainmaster.trainer.checkpoints.plain_file import opened_plain, written_at
from trainmaster.trainer.contract import (
    CHECKPOINT_KEYS,
    RunLayout,
    Verdict,
    append_line,
    decode_number,
    encode_number,
    encode_record,
)

CHECKS: Final = 5
"""What an examination looks at, as a number that grows with it: 2 since variances below zero and the numbers that half
precision cannot hold count, 3 since statistics beyond their layer, weights of signs alone and what leapt do, 4 since
all that the written file shows does, 5 since the weights inside an attention or a recurrent layer do. Each row is
written with it, as ``checks``; rows from before it have none. A file that was attested clean by fewer is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attestation:
    """One row, as far as it could be read. ``epoch`` counts from 1 and is None where the row does not tell."""

    file: str
    """Relative to the run directory, with forward slashes."""
    sha256: str
    bytes: int
    verdict: Verdict
    reasons: tuple[str, ...]
    epoch: int | None
    ts: float
    attempt: int | None
    fitness: float | None
    kind: str
    level: str | None
    checks: int = 0
    """The :data:`CHECKS` of the trainer that attested."""

    @property
    def saved(self) -> SavedFile:
        """The bytes that were attested."""
        return SavedFile(sha256=self.sha256, bytes=self.bytes)

    @property
    def is_of_today(self) -> bool:
        """Whether the verdict can be taken at its word: a "clean" that knew fewer checks cannot."""
        return self.verdict is not Verdict.CLEAN or self.checks >= CHECKS


def record(layout: RunLayout, row: Mapping[str, Any], *, checks: int = CHECKS) -> None:
    """``row`` (exactly :data:`contract.CHECKPOINT_KEYS`) is the last line of the ledger, durably and whole, with
    the :data:`CHECKS` of today, or with those of whoever judged it.

    Raises:
        ValueError: a key too many or too few.
        OSError: no space, no permission; the ledger holds what it held.
    """
    if set(row) != set(CHECKPOINT_KEYS):
        missing, extra = sorted(set(CHECKPOINT_KEYS) - set(row)), sorted(set(row) - set(CHECKPOINT_KEYS))
        raise ValueError(f"an attestation lacks {missing} and has unknown {extra}")
    content = {**row, "fitness": encode_number(row["fitness"]), "reasons": list(row["reasons"]), "checks": checks}
    line = encode_record(content)
    append_line(layout.checkpoints, line, durable=True)


def attestations(layout: RunLayout) -> list[Attestation]:
    """All rows, oldest first; torn lines and lines of another making are passed over.

    Raises:
        OSError: the ledger is there and cannot be read, or is none.
    """
    try:
        with opened_plain(layout.checkpoints) as stream:
            if written_at(stream)[0] > MAX_LEDGER_BYTES:
                raise OSError(errno.EFBIG, "is larger than any ledger of checkpoints", str(layout.checkpoints))
            return attestations_in(stream.read())
    except (FileNotFoundError, NotADirectoryError):
        return []


def attestations_in(content: bytes) -> list[Attestation]:
    """As :func:`attestations`, of a ledger that was read already."""
    return list(_parse(content.splitlines()))


def latest_by_file(rows: Iterable[Attestation]) -> dict[str, Attestation]:
    """The row that holds for each file: the last one written about it."""
    return {row.file: row for row in rows}


def _parse(lines: Iterable[bytes]) -> Iterator[Attestation]:
    for line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):  # torn, not UTF-8, or of brackets alone
            continue
        if isinstance(row, dict) and (attestation := attestation_of(row)) is not None:
            yield attestation


def attestation_of(row: Mapping[str, Any]) -> Attestation | None:
    """``row`` of a ledger; None when it says too little."""
    file, sha256, num_bytes = row.get("file"), row.get("sha256"), row.get("bytes")
    if not (isinstance(file, str) and isinstance(sha256, str) and isinstance(num_bytes, int)):
        return None
    try:
        verdict = Verdict(str(row.get("verdict")))
    except ValueError:
        verdict = Verdict.UNKNOWN
    reasons = row.get("reasons")
    return Attestation(
        file=file,
        sha256=sha256,
        bytes=num_bytes,
        verdict=verdict,
        reasons=tuple(map(str, reasons)) if isinstance(reasons, list) else (),
        epoch=_whole(row.get("epoch")),
        ts=decode_number(row.get("ts")) or 0.0,
        attempt=_whole(row.get("attempt")),
        fitness=decode_number(row.get("fitness")),
        kind=str(row.get("kind", "")),
        level=level if isinstance(level := row.get("level"), str) else None,
        checks=_whole(row.get("checks")) or 0,
    )


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
