"""A run whose disk died gets its files back from their copies; nothing that is there is overwritten."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.checkpoints.files import DigestError, digest_of, replacing
from trainmaster.trainer.checkpoints.ledger import attestations, attestations_in, record
from trainmaster.trainer.contract import CHECKPOINT_KEYS, RunLayout, read_json, replace_json
from trainmaster.trainer.copies.copying import (
    DIGEST,
    FILES,
    LEDGER,
    MAX_RECORD_BYTES,
    RECORDS,
    Copied,
    copies_in,
    identity_file,
    identity_in,
    owner_of,
)
from trainmaster.trainer.copies.place import (
    OWNER_FORMAT,
    OWNER_NAME,
    CopyDamagedError,
    CopyError,
    Folder,
    NotOursError,
    below,
    wanted_place,
)

INTO: Final = "into"


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenBack:
    """What came back, by its place in the run directory."""

    layout: RunLayout
    place: str
    files: tuple[str, ...]
    rotten: tuple[str, ...] = ()
    """What lay there and is not what was attested, or can't be read."""

    @property
    def text(self) -> str:
        """One line for people."""
        came = f"taken back from {self.place} into {self.layout.root}: {', '.join(self.files) or 'nothing'}"
        if not self.rotten:
            return came
        return f"{came}; left out, since their copies are not what was attested: {', '.join(self.rotten)}"


def begun_at(root: Path) -> str | None:
    """Where a run's files were being taken back from when that was broken off; None when none were."""
    begun = read_json(_mark(RunLayout(root)))
    return None if begun is None else str(begun.get("place"))


def has_lost_its_files(root: Path) -> bool:
    """Whether a run directory holds nothing to go on from, or not all yet of what was being taken back. Unknown (an
    unreadable disk) is not lost."""
    layout = RunLayout(root)
    try:
        if begun_at(root) is not None:
            return True
        found = [*layout.states.glob("*.pt"), *layout.weights.glob("*.pt")]
    except OSError:
        return False
    return not found


def is_address(word: str) -> bool:
    """Whether ``word`` names copies and not a run directory: a URL, or a folder that copies lie in."""
    if "://" in word or "::" in word:
        return True
    try:
        owner = Path(word) / OWNER_NAME
        known = read_json(owner) if owner.is_file() else None  # a pipe would be waited for without end
        if known is None and (owner.is_file() or not owner.exists()):  # lost; each copy tells whose it is
            return any((Path(word) / FILES).glob(f"*.pt-*{DIGEST}"))
    except OSError:
        return False
    return known is not None and known.get("format") == OWNER_FORMAT


def take_back(place: str, *, into: Path | None = None) -> TakenBack:
    """The run whose copies lie at ``place`` has again what is copied and what it lacks; every byte was checked, and a
    copy that has rotted is left out. Broken off, it is gone on with by the same call.

    ``into`` is the run directory; where it was, by default.

    Raises:
        CopyError: there are no copies, or they can't be read; what came back until then stays.
        DigestError: all of them have rotted.
        NotOursError: ``into`` holds another run.
        ArgumentsError: it is not known where to put it.
        OSError: the run directory can't be written.
    """
    folder = Folder(place)
    owner = owner_of(folder)
    if owner is None or owner.get("format") != OWNER_FORMAT:
        raise CopyError(f"{folder.shown} holds no copies of a run (it has no {OWNER_NAME})")
    known = owner.get("root")
    if into is None and not (isinstance(known, str) and Path(known).parent.is_dir()):
        raise _nowhere(known, folder)
    root = (into or Path(str(known))).resolve()
    layout = RunLayout(root)
    own = identity_in(root)
    if own != owner.get("id") and (own is not None or layout.run_json.exists()):  # one that never had copies
        raise NotOursError(f"{folder.shown} holds copies of another run than {root}")
    copies = copies_in(folder)
    if not copies:
        raise CopyError(f"{folder.shown} holds no copy that was finished")
    if own is None and (other := _of_nobody(layout, folder)) is not None:
        raise NotOursError(f"{other} is not of the run whose copies lie at {folder.shown}: name an empty folder")
    layout.guard.mkdir(parents=True, exist_ok=True)
    replace_json(_mark(layout), {"place": folder.shown}, durable=True)
    if own is None:
        replace_json(identity_file(layout), {"id": owner.get("id")}, durable=True)
    came, rotten = _all_fetched(layout, folder, _current(copies))
    for name in RECORDS:
        with contextlib.suppress(CopyError):  # one that was never written
            if _record_fetched(layout, folder, name):
                came.append(name)
    _mark(layout).unlink()
    return TakenBack(layout=layout, place=folder.shown, files=tuple(came), rotten=tuple(rotten))


def take_back_if_lost(root: Path, environ: Mapping[str, str]) -> TakenBack | None:
    """As :func:`take_back`, for a run that has lost its files and has copies where ``COPY_TO`` says; None for any
    other, one that has not saved anything yet among them."""
    place = wanted_place(None, environ)
    if place is None or not has_lost_its_files(root):
        return None
    folder, layout = Folder(below(place, root.name)), RunLayout(root)
    owner = owner_of(folder)
    own = identity_in(root)
    if owner is None or (layout.run_json.exists() and own is None):
        return None
    if not root.parent.is_dir():  # never made: its disk may not be mounted
        raise _nowhere(str(root), folder)
    if own is None and owner.get("root") != str(root):
        raise NotOursError(
            f"{folder.shown} holds the copies of another run, which was in {owner.get('root') or '?'}; if it is this "
            f"one, name them: trainmaster resume {shlex.quote(folder.shown)} {INTO}={shlex.quote(str(root))}"
        )
    return take_back(folder.url, into=root)


def _mark(layout: RunLayout) -> Path:
    return layout.guard / "taking_back.json"


def _all_fetched(layout: RunLayout, folder: Folder, copies: list[Copied]) -> tuple[list[str], list[str]]:
    """What came, and what has rotted. All of it rotten is an error."""
    came: list[str] = []
    errors: dict[str, Exception] = {}
    for one in copies:
        try:
            if _fetched(layout, folder, one):
                came.append(one.row.file)
        except (DigestError, CopyDamagedError) as error:
            errors[one.row.file] = error
    if len(errors) == len(copies):
        raise next(iter(errors.values()))
    return came, list(errors)


def _of_nobody(layout: RunLayout, folder: Folder) -> Path | None:
    """A checkpoint of a run that never said which it is, where none of them is one that the copied run saved."""
    there = sorted((*layout.weights.glob("*.pt"), *layout.states.glob("*.pt")))
    saved = {row.sha256 for row in attestations_in(folder.read_bytes(LEDGER, MAX_RECORD_BYTES))} if there else set()
    return None if any(digest_of(path).sha256 in saved for path in there) else next(iter(there), None)


def _nowhere(root: object, folder: Folder) -> ArgumentsError:
    fact = f"{Path(root).parent}, where" if isinstance(root, str) else "where"
    gone = "is not there" if isinstance(root, str) else f"is not known, since {OWNER_NAME} is lost"
    return ArgumentsError(
        f"{fact} the run was, {gone}", f"trainmaster resume {shlex.quote(folder.shown)} {INTO}=RUN_DIR"
    )


def _current(copies: list[Copied]) -> list[Copied]:
    """One for each file, the newest; nothing later than the newest of all, which a rollback has left behind."""
    newest = copies[-1].row
    by_file = {one.row.file: one for one in copies}
    return [one for one in by_file.values() if newest.epoch is None or (one.row.epoch or 0) <= newest.epoch]


def _fetched(layout: RunLayout, folder: Folder, one: Copied) -> bool:
    target = layout.root / one.row.file
    if target.exists():
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    if one.row.sha256 not in {row.sha256 for row in attestations(layout) if row.file == one.row.file}:
        row = {key: getattr(one.row, key) for key in CHECKPOINT_KEYS if key != "v"}
        record(layout, {"v": 1, **row, "reasons": list(one.row.reasons)}, checks=one.row.checks)
    with folder.reading(f"{FILES}/{one.name}") as read, replacing(target) as writer:
        writer.write_all(read)
        if writer.saved != one.row.saved:
            raise DigestError(target, found=writer.saved, expected=one.row.saved)
    return True


def _record_fetched(layout: RunLayout, folder: Folder, name: str) -> bool:
    target = layout.root / name
    if target.exists():
        return False
    with folder.reading(name.rpartition("/")[2]) as read, replacing(target) as writer:
        writer.write_all(read)
    return True
