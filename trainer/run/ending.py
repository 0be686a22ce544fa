"""The end of a run, however it comes, on record."""

from __future__ import annotations

import time
from pathlib import Path

from ultralytics.utils import LOGGER

from trainmaster.trainer.batches.position import Position
from trainmaster.trainer.contract import EventKind, ExitCode, RunRecordState
from trainmaster.trainer.engines.protocol import EngineTrainer
from trainmaster.trainer.run.open_run import OpenRun
from trainmaster.trainer.stop import GaveUp, RunEnded, end_loaders


def finished(run: OpenRun, position: Position, trainer: EngineTrainer) -> None:
    """Every epoch is trained, and the best weights are evaluated."""
    end_loaders(trainer)  # older generations of Ultralytics leave them to the garbage collector
    run.recorder.event(
        EventKind.RUN_FINISHED,
        epochs=position.epoch + 1,
        fitness=None if trainer.best_fitness is None else float(trainer.best_fitness),
        seconds=time.time() - run.recorder.started_ts,
    )
    run.recorder.end(RunRecordState.FINISHED, ExitCode.FINISHED)


def ended(run: OpenRun, position: Position, error: BaseException, state_file: Path | None = None) -> None:
    """``error`` ended the run; ``state_file`` is what it can go on from."""
    if not isinstance(error, RunEnded):
        run.recorder.crashed(error)
        return
    relative = state_file.relative_to(run.layout.root).as_posix() if state_file else None
    LOGGER.warning(f"run ended early: {error.why}. State: {relative or 'none'}")
    here = {"epoch": position.epoch + 1, "batch": position.done, "state_file": relative}
    if isinstance(error, GaveUp):
        tally = run.reporter.tally
        counts = {"skipped_epoch": tally.skipped_epoch, "streak": tally.budget.streak}
        run.recorder.event(EventKind.RUN_GAVE_UP, why=error.why, **here, **counts)
    elif error.code == ExitCode.STOPPED:
        run.recorder.event(EventKind.RUN_STOPPED, resumable=relative is not None, **here)
    run.recorder.end(error.state, int(error.code or 0))
