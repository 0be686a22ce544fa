"""What is known of a paper run's checkpoints, and of attempts that sign in nowhere."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from tests.unit.bot.operations.paper_run import Faults, PaperRun, no_point
from trainmaster.bot.core.decisions.archive import ArchiveFact
from trainmaster.bot.core.run.facts import CheckpointFact, ProcessIdentity
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import OperationError
from trainmaster.trainer.contract import replace_json


class PaperAttempts:
    """The record of runs that sign in nowhere by themselves."""

    def __init__(self, run: PaperRun) -> None:
        self._run = run
        self.ended: list[str] = []

    def begin(self, name: str, process: ProcessIdentity, log: Path, from_epoch: int | None) -> None:
        record = self._run.record()
        if record["pid"] != process.pid:
            attempt = int(str(record["attempt"])) + 1
            more = {"from_epoch": from_epoch, "batches": 0, "log": str(log)}
            self._run.write_record(process, attempt=attempt, level="standard", state="running", **more)

    def end(self, name: str) -> None:
        self.ended.append(name)


class PaperForensics:
    """Checkpoints judged by name: those of the epochs in ``contaminated`` are not clean."""

    def __init__(self, run: PaperRun, point: Callable[[str], None] = no_point) -> None:
        self._run = run
        self._point = point
        self.contaminated = {4}
        self.faults = Faults()

    async def catalog(self, view: RunView) -> tuple[CheckpointFact, ...]:
        self.faults.strike("catalog")
        return tuple(self._fact(path) for path in sorted(self._run.layout.states.glob("epoch*.pt")))

    async def verify(self, view: RunView, file: Path) -> CheckpointFact:
        self.faults.strike("verify")
        return self._fact(file)

    async def archive(self, view: RunView, *, after_epoch: int) -> Path:
        self.faults.strike("archive")
        folder = self._run.layout.archive / f"after{after_epoch}"
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(self._run.layout.states.glob("epoch*.pt")):
            if int(path.name[5:9]) > after_epoch:
                self._point("before archiving a file")
                path.rename(folder / path.name)
        self._point("after archiving")
        return folder

    async def restore(self, view: RunView, *, epoch: int) -> None:
        self.faults.strike("restore")
        if not self._run.checkpoint_path(epoch).exists():
            raise OperationError("gone", f"no checkpoint of epoch {epoch}.")
        self._point("before restoring")
        replace_json(self._run.directory / "last.json", {"epoch": epoch})
        self._point("after restoring")

    async def unarchive(self, view: RunView, folder: Path) -> None:
        self.faults.strike("unarchive")
        for path in sorted(folder.glob("*.pt")):  # noqa: ASYNC240 - paper
            self._point("before bringing back")
            path.rename(self._run.layout.states / path.name)

    async def archives(self, view: RunView) -> tuple[ArchiveFact, ...]:
        root = self._run.layout.archive
        return tuple(
            ArchiveFact(
                name=folder.name,
                folder=str(folder),
                state="archived",
                ts=0.0,
                after_epoch=int(folder.name.removeprefix("after")),
                attempt=None,
                num_files=len(list(folder.iterdir())),
                size_bytes=0,
            )
            for folder in (sorted(root.iterdir()) if root.is_dir() else ())
        )

    def _fact(self, path: Path) -> CheckpointFact:
        epoch = int(path.name[5:9])
        bad = epoch in self.contaminated
        return CheckpointFact.parse(  # type: ignore[return-value]
            {
                "epoch": epoch,
                "file": f"guard/states/{path.name}",
                "kind": "ultralytics",
                "ts": 100.0 * epoch,
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                "bytes": path.stat().st_size,
                "verdict": "contaminated" if bad else "clean",
                "reasons": ["saved after 3 unskipped NaN batches"] if bad else [],
                "fitness": 0.1 * epoch,
                "resumable": not bad,
            }
        )
