"""One look at a run and its copies: what is clean and not there yet goes there, digest last; what is too many goes."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from trainmaster.trainer.checkpoints.ledger import (
    Attestation,
    attestation_of,
    attestations,
    attestations_in,
    latest_by_file,
)
from trainmaster.trainer.checkpoints.manifest import ArchiveState, archives
from trainmaster.trainer.checkpoints.retention import WITHIN_EPOCH
from trainmaster.trainer.contract import (
    CHECKPOINT_KEYS,
    EPOCH_FILE,
    RunLayout,
    Verdict,
    encode_number,
    encode_record,
    read_json,
    replace_json,
)
from trainmaster.trainer.copies.place import (
    OWNER_FORMAT,
    OWNER_NAME,
    PART,
    CopyError,
    CopyFullError,
    Folder,
    NotOursError,
)

FILES: Final = "files"
LEDGER: Final = "checkpoints.jsonl"
"""There before the files that it names: the order in which the run saved them. A clock may have jumped between two."""
RECORDS: Final = ("guard/run.json", "guard/events.jsonl", "results.csv", "args.yaml")
"""Copied whole whenever they have changed: what a run needs to go on with its story."""
MAX_RECORD_BYTES: Final = 64 * 2**20
"""Of one record; an event log of a year is smaller."""
_WITHIN_EPOCH: Final = frozenset(f"guard/states/{name}" for name in WITHIN_EPOCH)
BEST: Final = "weights/best.pt"
DIGEST: Final = ".sha256"
_RUN_ID: Final = "run_id"
"""Of a digest: whose copy it is, should two runs have taken a folder for theirs in the same moment."""
_OURS: Final = re.compile(r".+\.pt-[0-9a-f]{16}")
_BEGUN: Final = re.compile(rf"{_OURS.pattern}(?:{re.escape(DIGEST)})?{re.escape(PART)}")


def identity(layout: RunLayout) -> str:
    """What names this run among all others that may be called the same; made when first asked for.

    Raises:
        OSError: it could not be written.
    """
    path = identity_file(layout)
    known = identity_in(layout.root)
    if known is not None:
        return known
    made = uuid.uuid4().hex
    replace_json(path, {"id": made}, durable=True)
    return made


def identity_in(root: Path) -> str | None:
    """What names the run in that directory; None where nothing does yet.

    Raises:
        OSError: it can't be read.
    """
    known = (read_json(identity_file(RunLayout(root))) or {}).get("id")
    return known if isinstance(known, str) else None


def identity_file(layout: RunLayout) -> Path:
    """Where that stands, beside the disks that the run's copies lay on."""
    return layout.guard / "copy_id.json"


def is_copied(file: str) -> bool:
    """Whether a file of that name, relative to the run directory, is one that copies are made of."""
    ends = EPOCH_FILE.fullmatch(file) is not None and file.startswith("guard/states/")
    return ends or file in {*_WITHIN_EPOCH, BEST}


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """A file at its place of copies: ``name`` there, the attestation that it was copied with, and its place in the
    order of all that the run has saved; -1 for what is older than what that tells of."""

    name: str
    row: Attestation
    order: int

    @property
    def age(self) -> tuple[int, float]:
        """Sorts the oldest first."""
        return self.order, self.row.ts


def owner_of(folder: Folder) -> dict[str, Any] | None:
    """Whose copies lie there; None where that is not told. Of a place that has lost its record of that each digest
    tells it; where the run was, its ``root``, nobody does then."""
    known = folder.read_record(OWNER_NAME)
    if known is not None:
        return known
    digests = [name for name in folder.names(FILES) if name.endswith(DIGEST)]
    ids = {(folder.read_record(f"{FILES}/{name}") or {}).get(_RUN_ID) for name in digests} - {None}
    return {"format": OWNER_FORMAT, "id": ids.pop()} if len(ids) == 1 else None


def claim(layout: RunLayout, folder: Folder) -> None:
    """``folder`` is this run's.

    Raises:
        NotOursError: it is another run's, or holds what is none of ours; nothing was written.
        CopyError: it can't be used, or lies in the run itself.
    """
    if folder.is_within(layout.root):
        raise CopyError(f"{folder.shown} lies in the run itself, and would be lost with it")
    folder.require_parent()
    own, known = identity(layout), owner_of(folder)
    if known is None and not folder.is_empty(but=OWNER_NAME):
        raise NotOursError(f"{folder.shown} holds something and no {OWNER_NAME}: it is somebody else's")
    if known is None:
        _require_mount(layout, folder)
    if known is None or (known.get("id") == own and known.get("root") is None):
        record = {"format": OWNER_FORMAT, "v": 1, "id": own, "run": layout.name, "root": str(layout.root)}
        folder.write(OWNER_NAME, json.dumps(record).encode())
    elif known.get("format") != OWNER_FORMAT or known.get("id") != own:
        raise NotOursError(f"{folder.shown} holds the copies of another run, which was in {known.get('root') or '?'}")
    elif _is_of_its_twin(layout, known):
        raise NotOursError(
            f"{folder.shown} holds the copies of {known['root']}, which {layout.root} was copied from; this one needs "
            "another place"
        )
    _note_mount(layout, folder)


def _is_of_its_twin(layout: RunLayout, owner: Mapping[str, Any]) -> bool:
    """Whether somebody has copied the run directory with all that is in it, and both are there."""
    root = owner.get("root")
    if not isinstance(root, str) or Path(root).resolve() == layout.root.resolve():
        return False
    try:
        return identity_in(Path(root)) == owner.get("id")
    except OSError:
        return False


def _require_mount(layout: RunLayout, folder: Folder) -> None:
    """An empty folder where copies lay is no mount point whose disk is gone: they would lie on another one from now on.

    Raises:
        CopyError: it is.
    """
    mounts = (read_json(identity_file(layout)) or {}).get("mounts")
    mount = mounts.get(folder.url) if isinstance(mounts, dict) else None
    if folder.is_local and isinstance(mount, str) and not os.path.ismount(mount):
        raise CopyError(
            f"{folder.shown} is empty; its copies lie on the disk of {mount}, which is not mounted: mount it, or name "
            "another place"
        )
    if missing := folder.missing_mount():
        raise CopyError(
            f"{folder.shown} would lie on the disk that /etc/fstab has for {missing}, which is not mounted: mount it, "
            "or name another place"
        )


def _note_mount(layout: RunLayout, folder: Folder) -> None:
    mount, path = folder.mount(), identity_file(layout)
    known: Mapping[str, Any] = read_json(path) or {}
    noted = known.get("mounts")
    mounts = noted if isinstance(noted, dict) else {}
    if mount is not None and mounts.get(folder.url) != mount:
        replace_json(path, {**known, "mounts": {**mounts, folder.url: mount}}, durable=True)


def copies_in(folder: Folder) -> list[Copied]:
    """What lies there with its digest, oldest first. A file without one was never finished, one of another size than
    was attested is torn, and what was found to be bad since is no copy of anything clean."""
    return _listed(folder)[0]


def _listed(folder: Folder) -> tuple[list[Copied], set[str]]:
    """As :func:`copies_in`; and names of this run's that have a digest and are no copies any more."""
    names, rows = folder.names(FILES), attestations_in(folder.read_bytes(LEDGER, MAX_RECORD_BYTES))
    orders, verdicts = _orders(rows), {(row.file, row.sha256): row.verdict for row in rows}
    owners = {None, (owner_of(folder) or {}).get("id")}  # None: as an earlier version made them
    found, spoiled = [], set()
    for name in sorted(names):
        if not name.endswith(DIGEST) or (file := name.removesuffix(DIGEST)) not in names:
            continue
        record = folder.read_record(f"{FILES}/{name}")
        if record is None and _OURS.fullmatch(file):
            spoiled.add(file)
        row = attestation_of(record) if record is not None and record.get(_RUN_ID) in owners else None
        if row is None or not is_copied(row.file) or row.verdict is not Verdict.CLEAN or name != _name_of(row) + DIGEST:
            continue
        is_clean = verdicts.get((row.file, row.sha256), Verdict.CLEAN) is Verdict.CLEAN
        if is_clean and names[file] in {None, row.bytes}:
            found.append(_copied(row, orders))
        else:
            spoiled.add(file)
    return sorted(found, key=lambda one: one.age), spoiled


class Copying:
    """Keeps the copies of one run up to date."""

    def __init__(self, layout: RunLayout, folder: Folder, *, keep: int) -> None:
        self._layout = layout
        self._folder = folder
        self._keep = keep
        self._recorded: dict[str, tuple[int, int]] = {}

    def look(self, progress: Callable[[int], None] = lambda _: None) -> int:
        """Everything clean that is worth having is there; how many files were copied. ``progress`` is told how many are
        still to be.

        Raises:
            CopyError: the place can't be used now; what was copied stays, and the next call goes on.
            OSError: the run's own disk.
        """
        claim(self._layout, self._folder)
        try:
            return self._brought_up_to_date(progress)
        except CopyFullError:
            with contextlib.suppress(CopyError):
                self._make_room()
            raise

    def _brought_up_to_date(self, progress: Callable[[int], None]) -> int:
        wanted = self._wanted()
        try:
            self._copy_record(self._layout.checkpoints)
        except CopyError:  # full, perhaps of what a killed one left
            self._drop_broken_off(but={_name_of(row) for row in wanted})
            raise
        there, spoiled = _listed(self._folder)
        known = {one.name for one in there}
        missing = [row for row in wanted if _name_of(row) not in known]
        self._drop_broken_off(but={_name_of(row) for row in missing}, spoiled=spoiled)
        self._retain(there, aside=False)
        num_copied, unread = 0, None
        for number, row in enumerate(missing):
            left = len(missing) - number
            progress(left)
            try:
                num_copied += self._copy(row, lambda left=left: progress(left))  # type: ignore[misc] # a default of its own
            except OSError as error:  # of the run's own disk: what it can still read is copied
                unread = unread or error
        if missing:
            self._folder.drop_abandoned_uploads(FILES)
            claim(self._layout, self._folder)  # nobody has taken it for theirs meanwhile
            there = copies_in(self._folder)
        self._copy_records()
        self._retain(there)
        if unread is not None:
            raise unread
        progress(0)
        return num_copied

    def _make_room(self) -> None:
        """What will be too many once all that is worth having is there goes now: it would keep the newest from coming
        for good. The newest that is there stays, whatever it costs."""
        there, local = copies_in(self._folder), self._clean()
        stay = _worth_having([*there, *local], self._keep) | _worth_having(there, 1)
        for one in there:
            if one.name not in stay:
                self._remove(one.name)

    def _wanted(self) -> list[Attestation]:
        """What is worth having here, the newest first."""
        rows = self._clean()
        newest = _worth_having(rows, self._keep)
        return [one.row for one in sorted(rows, key=lambda one: one.age, reverse=True) if one.name in newest]

    def _clean(self) -> list[Copied]:
        """What was attested clean here, as its copy will be."""
        known = attestations(self._layout)
        orders = _orders(known)
        return [
            _copied(row, orders)
            for row in latest_by_file(known).values()
            if row.verdict is Verdict.CLEAN and is_copied(row.file) and (self._layout.root / row.file).is_file()
        ]

    def _copy(self, row: Attestation, progress: Callable[[], None]) -> bool:
        name = f"{FILES}/{_name_of(row)}"
        source = self._layout.root / row.file
        if self._folder.read_record(name + DIGEST) is not None and self._folder.size_of(name) == row.bytes:
            return False  # there, and only the listing does not show it yet
        try:
            if not self._folder.put(source, name, expected=row.saved, progress=progress):
                return False  # replaced meanwhile: the next look has the newer one
        except FileNotFoundError:
            return False
        record = {key: getattr(row, key) for key in CHECKPOINT_KEYS if key != "v"}
        record |= {"v": 1, "reasons": list(row.reasons), "fitness": encode_number(row.fitness)}
        record |= {"checks": row.checks, _RUN_ID: identity(self._layout)}
        self._folder.write(name + DIGEST, encode_record(record).encode())
        return True

    def _copy_records(self) -> None:
        for name in RECORDS:
            self._copy_record(self._layout.root / name)

    def _copy_record(self, path: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            status = path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            if status.st_size <= MAX_RECORD_BYTES and self._recorded.get(path.name) != stamp:
                self._folder.write(path.name, path.read_bytes())
                self._recorded[path.name] = stamp

    def _retain(self, there: Sequence[Copied], *, aside: bool = True) -> None:
        """What is there is what is worth having, and what a rollback has put aside is not: it lies in the archive, and
        taken back it would pass for the newest. Without ``aside`` that stays, too, until what is current is there."""
        put_aside = {
            file.saved.sha256
            for one in archives(self._layout)
            if one.state in {ArchiveState.ARCHIVED, ArchiveState.ARCHIVING}
            for file in one.moved
        }
        wanted = self._wanted()
        local = {row.sha256 for row in wanted}
        current = [one for one in there if one.row.sha256 in local or one.row.sha256 not in put_aside]
        kept = _worth_having(current, self._keep) | {_name_of(row) for row in wanted}
        kept |= set() if aside else _worth_having(there, self._keep)
        for one in there:
            if one.name not in kept:
                self._remove(one.name)

    def _remove(self, name: str) -> None:
        self._folder.remove(f"{FILES}/{name}{DIGEST}")
        self._folder.remove(f"{FILES}/{name}")

    def _drop_broken_off(self, *, but: Collection[str], spoiled: Collection[str] = ()) -> None:
        """Nothing that was begun, or never got its digest, or has lost it, or is ``spoiled``, and is wanted no more,
        takes the room of what is."""
        for name in spoiled:
            if name not in but:
                self._remove(name)
        names = self._folder.names(FILES)
        for name in names:
            if name.removesuffix(PART) in but:
                continue
            file = name.removesuffix(DIGEST)
            other = file if name.endswith(DIGEST) else name + DIGEST
            is_half = _OURS.fullmatch(file) is not None and file not in but and other not in names
            if _BEGUN.fullmatch(name) or (is_half and self._folder.size_of(f"{FILES}/{other}") is None):
                self._folder.remove(f"{FILES}/{name}")


def _worth_having(found: Sequence[Copied], keep: int) -> set[str]:
    """Names of: the ``keep`` newest epochs, in both formats; the best one's; the newest state within an epoch, unless
    an epoch's end is newer."""
    by_time = sorted(found, key=lambda one: one.age)
    ends = [one for one in by_time if EPOCH_FILE.fullmatch(one.row.file)]
    epochs = list(dict.fromkeys(one.row.epoch for one in reversed(ends)))
    newest = epochs[:keep]
    rated = [one for one in ends if one.row.fitness is not None and math.isfinite(one.row.fitness)]
    if rated:
        newest.append(max(rated, key=lambda one: (one.row.fitness or 0.0, one.age)).row.epoch)
    latest = {one.row.file: one for one in ends if one.row.epoch in newest}
    kept = {one.name for one in latest.values()}
    within = [one for one in by_time if one.row.file in _WITHIN_EPOCH and (not ends or one.age > ends[-1].age)]
    best = [one for one in by_time if one.row.file == BEST]
    return kept | {one.name for one in (*within[-1:], *best[-1:])}


def _name_of(row: Attestation) -> str:
    return f"{row.file.rpartition('/')[2]}-{row.sha256[:16]}"


def _orders(rows: Iterable[Attestation]) -> dict[tuple[str, str], int]:
    """(file, SHA-256) -> when it was saved, as a count."""
    return {(row.file, row.sha256): number for number, row in enumerate(rows)}


def _copied(row: Attestation, orders: dict[tuple[str, str], int]) -> Copied:
    return Copied(name=_name_of(row), row=row, order=orders.get((row.file, row.sha256), -1))
