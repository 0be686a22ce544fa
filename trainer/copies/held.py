"""What lies at a run's place of copies, and the way back: read only, also of a run whose directory is gone."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from trainmaster.trainer.contract import RunLayout
from trainmaster.trainer.copies.copying import copies_in, identity_in, owner_of
from trainmaster.trainer.copies.place import (
    OWNER_FORMAT,
    VARIABLE,
    CopyError,
    Folder,
    NotOursError,
    below,
    has_password,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldCopies:
    """Copies of the run in ``root``. ``epoch`` and ``ts`` are of the newest file."""

    url: str
    shown: str
    root: Path
    num_files: int
    epoch: int | None
    ts: float

    @property
    def command(self) -> str:
        """What takes them back and goes on from there, as a person types it. Holds no password."""
        if has_password(self.url):
            return f"{VARIABLE}=... trainmaster resume {shlex.quote(str(self.root))}"
        return f"trainmaster resume {shlex.quote(self.url)} into={shlex.quote(str(self.root))}"


def held_of(root: Path, place: str) -> HeldCopies:
    """What is held of the run that is, or was, in ``root``.

    Raises:
        CopyError: nothing is, or the place can't be read.
        NotOursError: what lies there is another run's.
    """
    layout = RunLayout(root)
    folder = Folder(below(place, layout.name))
    owner = owner_of(folder)
    if owner is None or owner.get("format") != OWNER_FORMAT:
        raise CopyError(f"{folder.shown} holds no copies of a run")
    try:
        own = identity_in(root)
    except OSError:
        own = None  # the disk that died
    if owner.get("id") != own and (own is not None or owner.get("root") != str(root)):
        raise NotOursError(f"{folder.shown} holds the copies of another run, which was in {owner.get('root') or '?'}")
    copies = copies_in(folder)
    if not copies:
        raise CopyError(f"{folder.shown} holds no copy that was finished")
    newest = copies[-1].row
    return HeldCopies(
        url=folder.url,
        shown=folder.shown,
        root=root,
        num_files=len(copies),
        epoch=newest.epoch,
        ts=newest.ts,
    )
