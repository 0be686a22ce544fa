"""Judge a checkpoint file of any run, guarded or not, without running code from it. Loads no torch."""

from __future__ import annotations

import gc
import hashlib
import importlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from mmap import mmap
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Any, Final

from trainmaster.trainer.checkpoints.beside_weights import unreadable_beside
from trainmaster.trainer.checkpoints.container import (
    DamageError,
    ForeignZipError,
    Format,
    content_of,
    format_of,
    open_container,
)
from trainmaster.trainer.checkpoints.files import SavedFile
from trainmaster.trainer.checkpoints.ledger import Attestation
from trainmaster.trainer.checkpoints.limits import MAX_FILE_BYTES, LimitError
from trainmaster.trainer.checkpoints.named_code import CodeFound, code_in
from trainmaster.trainer.checkpoints.naming import some
from trainmaster.trainer.checkpoints.optimizer_state import emptied_state, is_optimizer
from trainmaster.trainer.checkpoints.own_state import doubtful_counts, missing_weights
from trainmaster.trainer.checkpoints.pickle_walk import MAX_PICKLE_BYTES, walk
from trainmaster.trainer.checkpoints.pickled import Made, Name, Use, WalkError
from trainmaster.trainer.checkpoints.plain_file import opened_plain, written_at
from trainmaster.trainer.checkpoints.poison_signs import signs_of_doubt, signs_of_poison, signs_of_ruin
from trainmaster.trainer.checkpoints.single_numbers import doubtful_numbers, plain_numbers, unfamiliar_numbers
from trainmaster.trainer.checkpoints.tensors import NUMPY_FROM_BYTES, Seen, TensorReader
from trainmaster.trainer.checkpoints.values import looker
from trainmaster.trainer.contract import Verdict

MAX_REASON_CHARS: Final = 400
"""A file chooses the names of what it holds; a reason that shows some stays a line."""

STATE_FORMAT: Final = "trainmaster-state"
"""The value of ``format`` at the top of a full-precision state of ours."""


class FileKind(StrEnum):
    """What a file is, as far as it could be read."""

    ULTRALYTICS = "ultralytics"
    STATE = "state"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What is known of a file. ``reasons`` say why, also of a clean one. ``epoch`` counts from 1."""

    file: Path
    verdict: Verdict
    reasons: tuple[str, ...]
    sha256: str
    bytes: int
    kind: FileKind = FileKind.OTHER
    epoch: int | None = None
    resumable: bool = False
    """Training can go on from it: whole, not poisoned, with the optimizer's state."""
    stripped: bool = False
    attested: bool = False
    """Its digest is one that was attested."""
    doubt_stands: bool = False
    """The verdict is unknown for the numbers that the file holds: no attestation makes it clean."""
    fitness: float | None = None
    ultralytics_version: str | None = None
    num_tensors: int = 0

    @property
    def saved(self) -> SavedFile:
        """The bytes that were judged."""
        return SavedFile(sha256=self.sha256, bytes=self.bytes)


def judge(path: Path, *, attestations: Iterable[Attestation] = ()) -> Judgement:
    """Judge ``path`` by the attestations (oldest first) and by its content.

    A file whose bytes were attested keeps that verdict unless its own numbers tell against it. A file of an attested
    name with other bytes is contaminated. Without an attestation, content decides, and where it cannot tell the verdict
    is unknown.

    Raises:
        OSError: no such file, no regular one, no permission.
    """
    with opened_plain(path) as stream:
        before = written_at(stream)
        if before[0] > MAX_FILE_BYTES:
            reason = f"not judged: a file of {before[0]} bytes, beyond any checkpoint's"
            blank = Judgement(file=path, verdict=Verdict.UNKNOWN, reasons=(reason,), sha256="", bytes=before[0])
            return _with_attestation(blank, list(attestations))
        content = content_of(stream)
        with _hashed_meanwhile(content) as digest:
            judgement = judge_content(path, content)
        has_changed = written_at(stream) != before
    found = replace(judgement, sha256=digest[0])
    if has_changed:  # what was hashed need not be what was judged
        reason = "somebody wrote to it while it was read: ask again"
        return replace(found, verdict=Verdict.UNKNOWN, reasons=(reason,), resumable=False, doubt_stands=True)
    return _with_attestation(found, list(attestations))


def judge_content(path: Path, content: bytes | mmap) -> Judgement:
    """Judge ``content``, all of ``path``, by itself alone; its digest is left out."""
    with _without_garbage_collection():
        found = _by_content(path, content)
    return replace(found, reasons=tuple(map(_line, found.reasons)))


def _line(text: str, max_chars: int = MAX_REASON_CHARS) -> str:
    """``text``, some of it perhaps chosen by whoever made the file, with nothing in it that moves a terminal."""
    shown = text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[:max_chars])
    return shown if len(shown) <= max_chars else f"{shown[:max_chars]}..."


@contextmanager
def _hashed_meanwhile(content: bytes | mmap) -> Iterator[list[str]]:
    """Within, the digest is being made; afterwards the list holds it."""
    digest: list[str] = []
    worker = Thread(target=lambda: digest.append(hashlib.sha256(content).hexdigest()))
    worker.start()
    try:
        yield digest
    finally:
        worker.join()


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """The walk makes tens of thousands of records and no garbage."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _by_content(path: Path, content: bytes | mmap) -> Judgement:
    blank = Judgement(file=path, verdict=Verdict.UNKNOWN, reasons=(), sha256="", bytes=len(content))
    match format_of(content):
        case Format.ZIP:
            try:
                return _zip(blank, content)
            except ForeignZipError as error:
                return replace(blank, reasons=(str(error),))
            except LimitError as error:
                return replace(blank, reasons=(f"not judged: {error}",))
            except (DamageError, WalkError) as error:
                return replace(blank, verdict=Verdict.CONTAMINATED, reasons=(str(error),))
        case Format.TORN_ZIP:
            return replace(blank, verdict=Verdict.CONTAMINATED, reasons=("truncated: the end of the file is missing",))
        case Format.EMPTY:
            return replace(blank, verdict=Verdict.CONTAMINATED, reasons=("truncated: the file is empty",))
        case Format.ZEROS:
            reason = "nothing but zeros at its start: a write that never reached the disk"
            return replace(blank, verdict=Verdict.CONTAMINATED, reasons=(reason,))
        case Format.LEGACY | Format.PICKLE:
            return _bare_pickles(blank, content)
        case Format.TAR:
            return replace(blank, reasons=("a tar archive, torch's format before 0.4: not judged",))
        case Format.OTHER:
            return replace(blank, reasons=("no PyTorch checkpoint",))


def _bare_pickles(blank: Judgement, content: bytes | mmap) -> Judgement:
    """Torch's format before 1.6: five pickles, then raw numbers. Loading runs the pickles, so they are looked at."""
    uses: dict[Name, Use] = {}
    start = 0
    for _ in range(5):
        try:
            walked = walk(content[start : start + MAX_PICKLE_BYTES])
        except (WalkError, LimitError):
            break
        uses.update(walked.uses)
        start += walked.num_bytes
    code = code_in(uses)
    if code.would_run:
        return replace(blank, verdict=Verdict.CONTAMINATED, reasons=(_would_run(code),))
    return replace(blank, reasons=("torch's format before 1.6, whose numbers are not judged",))


def _would_run(code: CodeFound) -> str:
    return f"would run code when loaded: {some(code.would_run)}"


def _zip(blank: Judgement, content: bytes | mmap) -> Judgement:
    container = open_container(content)
    entries = container.entries
    walked = walk(bytes(entries["data.pkl"]))
    code = code_in(walked.uses)
    if code.would_run:
        return replace(blank, verdict=Verdict.CONTAMINATED, reasons=(_would_run(code),))
    if bytes(entries.get("byteorder", b"little")) != b"little":
        return replace(blank, reasons=("big-endian numbers, which are not judged",))
    top = walked.value
    if not isinstance(top, dict) or not top.keys() & {"model", "ema"}:
        top = {"model": top}  # a bare model or a bare state dict
    numpy = _numpy() if len(content) >= NUMPY_FROM_BYTES or "numpy" in sys.modules else None
    reader = TensorReader(entries, looker(numpy), lambda: looker(_numpy()))
    seen = reader.seen_in(top)
    top = plain_numbers(top, seen, reader)
    poison = signs_of_poison(seen, reader, top)
    described = _described(blank, top, seen)
    if poison:
        return replace(described, verdict=Verdict.CONTAMINATED, reasons=tuple(poison), resumable=False)
    ruin = [*signs_of_ruin(seen, reader, top), *doubtful_numbers(top), *unreadable_beside(top)]
    if described.kind is FileKind.STATE:
        ruin += missing_weights(top)
    if code.unjudged:
        ruin.append(f"numbers in a form that is not judged: {some(code.unjudged)}")
    doubt = [*ruin, *signs_of_doubt(seen, reader, top), *_missing(described, seen)]
    doubt += [*emptied_state(top, epochs_done=described.epoch), *unfamiliar_numbers(top)]
    if described.kind is FileKind.STATE:
        doubt += doubtful_counts(top)
    if not container.as_written:
        doubt.append("the bytes around its entries are not those that torch.save writes: damaged, or packed anew")
    if not container.has_sums:
        doubt.append("saved without the check sums by which damage shows")
    if code.unfamiliar:
        doubt.append(f"holds classes that are no layers of torch's or Ultralytics': {some(code.unfamiliar)}")
    if doubt:
        return replace(described, verdict=Verdict.UNKNOWN, reasons=tuple(doubt), doubt_stands=bool(ruin))
    reason = f"judged from its content: {len(seen)} tensors finite, no sign of scrubbing"
    return replace(described, verdict=Verdict.CLEAN, reasons=(reason,))


def _numpy() -> ModuleType | None:
    try:
        return importlib.import_module("numpy")
    except ImportError:
        return None


def _described(blank: Judgement, top: Mapping[Any, Any], seen: list[Seen]) -> Judgement:
    """``blank`` with all that the file says of itself."""
    epoch, optimizer = top.get("epoch"), top.get("optimizer")
    epoch = epoch if isinstance(epoch, int) and not isinstance(epoch, bool) else None
    has_optimizer = is_optimizer(optimizer)
    metrics = top.get("train_metrics")
    fitness = metrics.get("fitness") if isinstance(metrics, dict) else top.get("fitness")
    common = replace(
        blank,
        num_tensors=len(seen),
        fitness=float(fitness) if isinstance(fitness, int | float) else None,
        ultralytics_version=_line(version, 32) if isinstance(version := top.get("version"), str) else None,
    )
    if top.get("format") == STATE_FORMAT:
        return replace(
            common, kind=FileKind.STATE, epoch=epoch, resumable=has_optimizer and not [*missing_weights(top)]
        )
    if not isinstance(top.get("ema") or top.get("model"), Made):
        return common
    stripped = epoch == -1 and not optimizer
    return replace(
        common,
        kind=FileKind.ULTRALYTICS,
        epoch=epoch + 1 if epoch is not None and epoch >= 0 else None,
        stripped=stripped,
        resumable=epoch is not None and epoch >= 0 and has_optimizer and bool(top.get("ema")),
    )


def _missing(described: Judgement, seen: list[Seen]) -> Iterator[str]:
    """What content would have to say for a file without attestation to be called clean, and does not."""
    parts = {one.part for one in seen if one.content is not None}
    if described.kind is FileKind.OTHER:
        yield "neither an Ultralytics checkpoint nor a state of this trainer"
    elif described.stripped:
        yield "stripped at the end of its run: no optimizer, no epoch; its weights show no sign of scrubbing"
    elif not described.resumable:
        yield "lacks the optimizer, the EMA or the epoch; its weights show no sign of scrubbing"
    elif not parts & {"ema", "model"}:
        yield "holds no weights"


def _with_attestation(found: Judgement, rows: list[Attestation]) -> Judgement:
    same = [row for row in rows if found.sha256 and row.sha256 == found.sha256]
    if same:
        return _merged(found, same[-1])
    place = found.file.resolve().as_posix()
    named = [row for row in rows if place.endswith(f"/{row.file}")]
    if not named:
        note = ("no attestation",) if found.verdict is Verdict.CLEAN else ()
        return replace(found, reasons=found.reasons + note)
    row = named[-1]
    reason = (
        f"wrong digest: {row.file} was attested with {row.bytes} bytes and SHA-256 {row.sha256[:12]}..., "
        f"this file has {found.bytes} bytes and {found.sha256[:12]}..."
    )
    own = found.reasons if found.verdict is not Verdict.CLEAN else ()
    return replace(found, verdict=Verdict.CONTAMINATED, reasons=(reason, *own), resumable=False)


def _merged(found: Judgement, row: Attestation) -> Judgement:
    known = replace(
        found,
        attested=True,
        epoch=found.epoch if found.epoch is not None else row.epoch,
        fitness=found.fitness if found.fitness is not None else row.fitness,
    )
    epoch = f" after epoch {row.epoch}" if row.epoch is not None else ""
    if row.verdict is Verdict.CONTAMINATED:
        own = found.reasons if found.verdict is Verdict.CONTAMINATED else ()
        attested = f"attested contaminated when it was saved{epoch}"
        return replace(known, verdict=row.verdict, reasons=(attested, *row.reasons, *own), resumable=False)
    if found.verdict is Verdict.CONTAMINATED:
        return known
    if row.verdict is Verdict.CLEAN and found.doubt_stands:
        against = "attested clean when it was saved, against what it holds"
        return replace(known, reasons=(*found.reasons, against))
    if row.verdict is Verdict.CLEAN:
        notes = found.reasons if found.verdict is Verdict.UNKNOWN else ()
        return replace(known, verdict=Verdict.CLEAN, reasons=(f"attested clean when it was saved{epoch}", *notes))
    return replace(known, verdict=Verdict.UNKNOWN, reasons=(f"attested unknown when it was saved{epoch}", *row.reasons))
