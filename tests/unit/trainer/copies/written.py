"""A run directory with files that were attested, without a training."""

from __future__ import annotations

import time
from pathlib import Path

from trainmaster.trainer.checkpoints.files import write_atomically
from trainmaster.trainer.checkpoints.ledger import record
from trainmaster.trainer.contract import RunLayout, encode_record
from trainmaster.trainer.copies.copying import DIGEST, FILES, Copying, copies_in
from trainmaster.trainer.copies.place import Folder, below


class Attested:
    """Writes what a trainer would have written, each a second later than the one before."""

    def __init__(self, root: Path) -> None:
        self.layout = RunLayout(root)
        self.layout.states.mkdir(parents=True)
        self.layout.weights.mkdir()
        self.layout.run_json.write_text(encode_record({"v": 1, "run": root.name}) + "\n", encoding="utf-8")
        self.layout.results_csv.write_text("epoch\n1\n", encoding="utf-8")
        self._ts = time.time() - 1000

    def save(
        self, file: str, epoch: int, *, verdict: str = "clean", fitness: float | None = 0.1, size: int = 5000
    ) -> None:
        self._ts += 1
        saved = write_atomically(self.layout.root / file, f"{file} {self._ts}".encode().ljust(size, b"x"))
        row = {
            "v": 1, "ts": self._ts, "attempt": 1, "epoch": epoch, "file": file, "sha256": saved.sha256,
            "bytes": saved.bytes, "verdict": verdict, "reasons": [], "fitness": fitness,
            "kind": "state" if file.startswith("guard") and "ultra" not in file else "ultralytics", "level": "standard",
        }  # fmt: skip
        record(self.layout, row)

    def set_back(self, seconds: float) -> None:
        """The clock is."""
        self._ts -= seconds

    def epoch(self, epoch: int, *, verdict: str = "clean", fitness: float | None = 0.1) -> None:
        for file in (f"guard/states/epoch{epoch:04d}.pt", f"guard/states/epoch{epoch:04d}.ultralytics.pt"):
            self.save(file, epoch, verdict=verdict, fitness=fitness)


def folder_of(run: Attested, place: str) -> Folder:
    return Folder(below(place, run.layout.name))


def copied(run: Attested, place: str, *, keep: int = 3) -> list[str]:
    folder = folder_of(run, place)
    Copying(run.layout, folder, keep=keep).look()
    return sorted(one.row.file.rpartition("/")[2] for one in copies_in(folder))


def everything(layout: RunLayout) -> dict[str, bytes]:
    names = ("guard/states/*.pt", "weights/*.pt", "results.csv", "guard/run.json")
    return {
        path.relative_to(layout.root).as_posix(): path.read_bytes() for name in names for path in layout.root.glob(name)
    }


def spoil(copies: Path, number: int, *, torn: bool) -> str:
    """The copy of that epoch's state is another one now; its name in the run."""
    (file,) = [path for path in (copies / FILES).iterdir() if path.name.startswith(f"epoch{number:04d}.pt-")
               and path.suffix != DIGEST]  # fmt: skip
    content = file.read_bytes()
    file.write_bytes(content[:100] if torn else content[:-1] + b"?")
    return f"guard/states/epoch{number:04d}.pt"
