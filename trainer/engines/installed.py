"""Which Ultralytics an import would take, what else of it is installed, and which of its files are not as published.

Imports nothing of it: it must be able to tell of one that can't be imported.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Final

NAME: Final = "ultralytics"


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """What is there. ``folder`` is what an import takes, None where there is none; ``version`` is what pip says of it,
    None of a bare folder; ``others`` are further folders and versions that it hides.

    ``num_files`` have a digest in pip's record, of which ``edited`` are other now and ``gone`` not there; 0 where no
    record tells (an editable installation, a bare folder).
    """

    folder: Path | None
    version: str | None
    others: tuple[str, ...]
    num_files: int
    edited: tuple[str, ...]
    gone: tuple[str, ...]

    @property
    def changed(self) -> tuple[str, ...]:
        """Files that are not as published."""
        return (*self.edited, *self.gone)

    @property
    def put_back(self) -> str:
        """The command that has the files as published again."""
        return f"pip install --force-reinstall --no-deps '{NAME}=={self.version}'"


def look(path: Sequence[str] | None = None) -> Installed:
    """What of Ultralytics lies on ``path``, Python's own when not given."""
    entries = list(dict.fromkeys(Path(entry or ".").resolve() for entry in (sys.path if path is None else path)))
    packages = [entry / NAME for entry in entries if (entry / NAME / "__init__.py").is_file()]
    found = list(metadata.distributions(name=NAME, path=[str(entry) for entry in entries]))
    spec = PathFinder.find_spec(NAME, None if path is None else [str(entry) for entry in entries])
    folder = Path(spec.origin).parent.resolve() if spec is not None and spec.origin else None
    homes = {id(one): _home(one) for one in found}
    elsewhere = [one for one in found if homes[id(one)] / NAME not in packages]  # editable: the files lie in a checkout
    beside = [one for one in found if folder is not None and homes[id(one)] == folder.parent]
    own = min(beside, key=_misfit) if len(beside) > 1 else next(iter(beside + elsewhere), None)
    hidden = [f"version {one.version} in {homes[id(one)]}" for one in found if one is not own]
    told = {homes[id(one)] / NAME for one in found}
    hidden += [str(package) for package in packages if package != folder and package not in told]
    num_files, edited, gone = _against_record(own) if own is not None else (0, (), ())
    return Installed(
        folder=folder,
        version=own.version if own is not None else None,
        others=tuple(hidden),
        num_files=num_files,
        edited=edited,
        gone=gone,
    )


def _misfit(distribution: metadata.Distribution) -> tuple[bool, int]:
    """How little the files are those of this record; pip, told to install into a folder, may leave another."""
    num_files, edited, gone = _against_record(distribution)
    return not num_files, len(edited) + len(gone)


def _home(distribution: metadata.Distribution) -> Path:
    return Path(str(distribution.locate_file(""))).resolve()


def _against_record(distribution: metadata.Distribution) -> tuple[int, tuple[str, ...], tuple[str, ...]]:
    edited, gone, num_files = [], [], 0
    for name, recorded in _python_files(distribution):
        num_files += 1
        try:
            content = Path(str(distribution.locate_file(name))).read_bytes()
        except OSError:
            gone.append(name)
            continue
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        if digest != recorded:
            edited.append(name)
    return num_files, tuple(edited), tuple(gone)


def _python_files(distribution: metadata.Distribution) -> Iterable[tuple[str, str]]:
    """Name and SHA-256 of each of the package itself: no tests, no notebooks. From pip's record and not from
    ``distribution.files``, which since Python 3.12 leaves out those that are not there."""
    for row in csv.reader((distribution.read_text("RECORD") or "").splitlines()):
        name, recorded = (row[0], row[1]) if len(row) > 1 else ("", "")
        if name.startswith(f"{NAME}/") and name.endswith(".py") and recorded.startswith("sha256="):
            yield name, recorded.removeprefix("sha256=")
