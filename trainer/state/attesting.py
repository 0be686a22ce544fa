"""What is said of a checkpoint: the word of who was there when it was saved, and no better than what the file shows."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainmaster.trainer.checkpoints.attest import Examination, gravest, shown_by
from trainmaster.trainer.checkpoints.files import SavedFile
from trainmaster.trainer.checkpoints.ledger import record
from trainmaster.trainer.contract import SCHEMA_VERSION, EventKind, RunLayout
from trainmaster.trainer.records.recorder import Recorder


@dataclass(frozen=True, slots=True, kw_only=True)
class SaidOfFile:
    """What is known of a file while it is saved. ``epoch`` and ``kind`` as in the ledger."""

    epoch: int | None
    examination: Examination
    fitness: float | None
    kind: str


@dataclass(slots=True, kw_only=True)
class Attesting:
    """Writes the ledger of one run and tells of its files; ``look`` is called when one is there."""

    layout: RunLayout
    recorder: Recorder
    level: str
    look: Callable[[], None]
    _shown: dict[str, Examination] = field(default_factory=dict)
    """By the SHA-256 of the newest file, which may have several names."""

    def attest(self, name: str, saved: SavedFile, said: SaidOfFile, at: Path | None = None) -> None:
        """The ledger knows what ``name`` holds, or is about to hold: then its bytes lie ``at`` another place.

        Raises:
            OSError: the file can't be read, or the ledger can't be written.
        """
        if saved.sha256 not in self._shown:
            self._shown = {saved.sha256: shown_by(at or self.layout.root / name)}
        own = {"v": SCHEMA_VERSION, "ts": time.time(), "attempt": self.recorder.attempt, "level": self.level}
        record(self.layout, {**self._what(name, saved, said), **own, "kind": said.kind})

    def tell(self, name: str, saved: SavedFile, said: SaidOfFile) -> None:
        """``name`` is there, as it was attested."""
        self.look()
        self.recorder.event(EventKind.CHECKPOINT_SAVED, **self._what(name, saved, said))

    def _what(self, name: str, saved: SavedFile, said: SaidOfFile) -> dict[str, Any]:
        shown = self._shown.get(saved.sha256)
        found = said.examination if shown is None else gravest(said.examination, shown)
        return {
            "epoch": said.epoch,
            "file": name,
            "sha256": saved.sha256,
            "bytes": saved.bytes,
            "verdict": found.verdict,
            "reasons": found.reasons,
            "fitness": None if said.fitness is None else float(said.fitness),
        }
