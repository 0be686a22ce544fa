"""The final evaluation takes the optimizer out of last.pt and best.pt: each is whole and on record, or as it was.

Ultralytics writes over them in place (utils/torch_utils.py, ``strip_optimizer``): a kill or a full disk in its middle
would leave a torn file where the best weights of the run had been.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any, Final

from torch import distributed
from ultralytics.utils import LOGGER

from trainmaster.trainer.checkpoints.attest import Examination
from trainmaster.trainer.checkpoints.container import DamageError, content_of, open_container
from trainmaster.trainer.checkpoints.files import SavedFile, digest_of, holds, written_beside
from trainmaster.trainer.checkpoints.ledger import Attestation, attestations, latest_by_file
from trainmaster.trainer.contract import Verdict
from trainmaster.trainer.engines import compat
from trainmaster.trainer.engines.protocol import EngineTrainer
from trainmaster.trainer.state.attesting import Attesting, SaidOfFile

REASON: Final = "stripped by the final evaluation: not resumable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stripping:
    """``unchanged``: files that held what was attested until now, and so keep their verdict."""

    attesting: Attesting
    files: tuple[Path, ...]
    known: dict[str, Attestation]
    unchanged: frozenset[str]

    @classmethod
    @contextmanager
    def of(cls, attesting: Attesting, trainer: EngineTrainer, *, records: bool) -> Iterator[None]:
        """Within, last.pt and best.pt may be stripped; afterwards the ledger knows what they hold. A rank that doesn't
        keep the ``records`` writes nothing.

        Raises:
            OSError: there is no room for a stripped file; the one that was there stays.
        """
        files = (Path(trainer.last), Path(trainer.best))
        known = latest_by_file(attestations(attesting.layout))
        unchanged = {
            name for path in files if (name := f"weights/{path.name}") in known and _holds(path, known[name].saved)
        }
        stripping = cls(attesting=attesting, files=files, known=known, unchanged=frozenset(unchanged))
        try:
            with compat.engine().stripping_by(stripping.strip):
                yield
        finally:
            if records:
                stripping.note_others()

    def strip(self, stock: Callable[..., Any], f: Any = "best.pt", s: Any = "", *rest: Any, **more: Any) -> Any:
        """What ``stock`` gives; the file is a whole one without its optimizer, attested before it is there.

        Of several ranks the one that strips evaluates a file as it was that could not be stripped, and tells it.
        """
        if not _takes(stock, f, s, *rest, **more):  # somebody's own, put in its place
            return stock(f, *rest, **more)
        target = Path(s or f)
        name = f"weights/{target.name}"
        try:
            return self._stripped(stock, target, name, f, s, *rest, **more)
        except Exception as error:
            if not distributed.is_initialized():
                raise
            self.attesting.recorder.storage_fault(name, error)
            return {}

    def _stripped(
        self, stock: Callable[..., Any], target: Path, name: str, f: Any, s: Any, *rest: Any, **more: Any
    ) -> Any:
        announce = partial(self._record, name) if target in self.files and name in self.known else None
        with written_beside(target, announce=announce) as beside:
            with _told_without(f" saved as {beside},", f" saved as {s}," if s else ""):
                result = stock(f, str(beside), *rest, **more)
            _require_whole(beside, target)
        if announce is not None and _holds(target, now := self._now(name)):
            self.attesting.tell(name, now, self._said_of(name))
        return result

    def note_others(self) -> None:
        """Files that were changed in another way, by a class of the user's own, are on record as they are now."""
        for path in self.files:
            name = f"weights/{path.name}"
            try:
                if not path.exists() or name not in self.known:
                    continue
                saved = digest_of(path)
                if saved != self._now(name):
                    self._record(name, saved)
                    self.attesting.tell(name, saved, self._said_of(name))
            except OSError as error:
                self.attesting.recorder.storage_fault(name, error)

    def _record(self, name: str, saved: SavedFile, at: Path | None = None) -> None:
        self.attesting.attest(name, saved, self._said_of(name), at)

    def _said_of(self, name: str) -> SaidOfFile:
        row = self.known[name]
        verdict = row.verdict if name in self.unchanged else Verdict.UNKNOWN
        examination = Examination(verdict=verdict, reasons=(REASON,))
        return SaidOfFile(epoch=row.epoch, examination=examination, fitness=row.fitness, kind="ultralytics")

    def _now(self, name: str) -> SavedFile:
        rows = attestations(self.attesting.layout)
        return latest_by_file(rows).get(name, self.known[name]).saved  # the ledger may have gone


@contextmanager
def _told_without(words: str, instead: str) -> Iterator[None]:
    """Within, Ultralytics' log has ``instead`` where it would name a place that nobody will find a file at."""

    def put(record: logging.LogRecord) -> bool:
        record.msg = str(record.msg).replace(words, instead)
        return True

    LOGGER.addFilter(put)
    try:
        yield
    finally:
        LOGGER.removeFilter(put)


def _takes(function: Callable[..., Any], *args: Any, **more: Any) -> bool:
    try:
        signature(function).bind(*args, **more)
    except TypeError:
        return False
    return True


def _holds(path: Path, saved: SavedFile) -> bool:
    with suppress(OSError):
        return holds(path, saved)
    return False


def _require_whole(beside: Path, target: Path) -> None:
    """Torch doesn't tell of what its last write lost (caffe2/serialize/inline_container.cc closes an ofstream).

    Raises:
        OSError: what was written is not a whole file.
    """
    with beside.open("rb") as stream:
        content = content_of(stream)
    try:
        if len(content):
            open_container(content)
    except DamageError as error:
        raise OSError(f"{target} without its optimizer could not be written whole: {error}") from error
