"""The end of a run, however it comes, on record."""

from __future__ import annotations

import os
import shlex
import time
from contextlib import suppress
from pathlib import Path

from ultralytics.utils import LOGGER, RANK

from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.batches.position import Position
from trainmaster.trainer.contract import EventKind, ExitCode, Phase, RunRecordState
from trainmaster.trainer.engines.protocol import EngineTrainer
from trainmaster.trainer.jobs.environment import job_of
from trainmaster.trainer.jobs.ownership import anything_saved
from trainmaster.trainer.records.recorder import words_of
from trainmaster.trainer.run import rank_ends, ranks
from trainmaster.trainer.run.open_run import OpenRun
from trainmaster.trainer.stop import GaveUp, RunEnded, StopRequested, end_loaders


def require_first_training(run: OpenRun) -> None:
    """The run has not ended: what is held for it is of one training, its lock among it.

    Raises:
        ArgumentsError: it has, and a notebook's cell is run again, say.
    """
    if run.recorder.state is not RunRecordState.RUNNING:
        root = run.layout.root
        raise ArgumentsError(
            f"this trainer's run in {root} is over ({run.recorder.state}), and it trains once",
            f"make another one; with resume={root} it goes on with what was saved",
        )


def finished(run: OpenRun, position: Position, trainer: EngineTrainer) -> None:
    """Every epoch is trained, and the best weights are evaluated."""
    if not ranks.IS_FIRST:
        rank_ends.keep(run.layout, _of_this_rank(run, RunEnded(ExitCode.FINISHED, "finished")))
    end_loaders(trainer)  # older generations of Ultralytics leave them to the garbage collector
    run.recorder.event(
        EventKind.RUN_FINISHED,
        epochs=position.epoch + 1,
        fitness=None if trainer.best_fitness is None else float(trainer.best_fitness),
        seconds=time.time() - run.recorder.started_ts,
    )
    run.recorder.end(RunRecordState.FINISHED, ExitCode.FINISHED)
    LOGGER.info(next_words(run.layout.root, RunRecordState.FINISHED, saved=True, job=_in_a_job()))


def ended(run: OpenRun, position: Position, error: BaseException, state_file: Path | None = None) -> None:
    """``error`` ended the run; ``state_file`` is what it can go on from.

    Of several ranks the first keeps the records: why another ended is told, where that is what ended this one.
    """
    if not ranks.IS_FIRST:
        rank_ends.keep(run.layout, _of_this_rank(run, error))
        if position.done and _is_agreed(run, error):  # at the first end of a rank the launcher ends the others
            rank_ends.wait_for_first(run.layout, run.recorder.attempt)
    if RANK != -1 and isinstance(error, SystemExit) and not error.code:
        error.code = 1  # for its launcher, a rank that ends with 0 has finished, and the others wait for it
    found = _what_ended(run, error) if RANK == 0 else error
    if found is None:
        return
    if found is not error:
        state_file = state_file or run.saver.latest_epoch_state()
    _put_on_record(run, position, found, state_file)


def ended_unheard(run: OpenRun, told: rank_ends.Told) -> None:
    """Of several ranks the first never began, or was killed before it could put on record that ``told`` ended them:
    their launcher puts it there."""
    with suppress(OSError):  # Ultralytics removes it before it launches
        run.layout.guard.mkdir(parents=True, exist_ok=True)
    beat = run.recorder.take_over()
    position = Position()
    position.start_epoch((beat.epoch or 1) - 1, beat.batches or 0)
    position.index = position.done = beat.batch or 0
    run.reporter.tally.skipped_epoch = beat.skipped_epoch or 0
    run.reporter.tally.budget.streak = beat.streak or 0
    _put_on_record(run, position, told, run.saver.latest_epoch_state())


def _put_on_record(
    run: OpenRun, position: Position, found: BaseException | tuple[str, str], state_file: Path | None
) -> None:
    if not isinstance(found, RunEnded):
        run.recorder.crashed(found, epoch=position.epoch + 1, batch=position.index + 1)
        _say_what_next(run, RunRecordState.CRASHED)
        return
    relative = state_file.relative_to(run.layout.root).as_posix() if state_file else None
    LOGGER.warning(f"run ended early: {found.why}. State: {relative or 'none'}")
    here = {"epoch": position.epoch + 1, "batch": position.done, "state_file": relative}
    if isinstance(found, GaveUp):
        tally = run.reporter.tally
        counts = {"skipped_epoch": tally.skipped_epoch, "streak": tally.budget.streak}
        run.recorder.event(EventKind.RUN_GAVE_UP, why=found.why, **here, **counts)
    elif found.code == ExitCode.STOPPED:
        run.recorder.event(EventKind.RUN_STOPPED, resumable=relative is not None, **here)
    run.recorder.end(found.state, int(found.code or 0))
    _say_what_next(run, found.state)


def _is_agreed(run: OpenRun, error: BaseException) -> bool:
    """Whether all ranks end with ``error`` at the same batch; amid an epoch none stops alone."""
    gives_up = isinstance(error, GaveUp) and error.why == run.reporter.tally.give_up
    return gives_up or isinstance(error, StopRequested)


def left_at_once(run: OpenRun, position: Position, name: str) -> None:
    """A second signal, of this ``name``, ends the process; what is on record of its end stays."""
    if ranks.IS_FIRST and run.recorder.state is RunRecordState.RUNNING:
        ended(run, position, StopRequested(f"{name} again"), run.saver.latest_epoch_state())


def next_words(root: Path, state: RunRecordState, *, saved: bool, job: bool) -> str:
    """The command that comes next, as it can be pasted. ``saved``: there is something to go on from; ``job``: a cluster
    started the run."""
    place = shlex.quote(str(root))
    resume = f"trainmaster sbatch -- resume {place}" if job else f"trainmaster resume {place}"
    if state is RunRecordState.FINISHED:
        return f"Next: trainmaster plot {place} draws the run, trainmaster catalog {place} lists its checkpoints"
    if not saved:
        return "Next: the same command begins again; nothing had been saved yet"
    if state is RunRecordState.GAVE_UP:
        back = f"{resume} from=EPOCH level=next goes back to one"
        return f"Next: trainmaster catalog {place} lists the clean checkpoints, {back}"
    if state is RunRecordState.REFUSED:
        return f"Next: trainmaster catalog {place} lists the clean checkpoints"
    return f"Next: {resume}"


def _say_what_next(run: OpenRun, state: RunRecordState) -> None:
    try:
        saved = anything_saved(run.layout)
    except OSError:  # the disk died, which may be what ended the run: the end is told as it was
        return
    LOGGER.warning(next_words(run.layout.root, state, saved=saved, job=_in_a_job()))


def _in_a_job() -> bool:
    return job_of(os.environ) is not None


def killed_rank(run: OpenRun, *, wait_s: float = 0.0) -> rank_ends.Told | None:
    """What is told of another rank that was killed, if one was, or is being killed and gone within ``wait_s``."""
    return rank_ends.killed(run.layout, run.recorder.attempt, run.others, wait_s=wait_s)


def another_has_ended(run: OpenRun) -> bool:
    """Whether another rank has, whose end is that of all: their launcher asks the rest to stop, and no person does."""
    return bool(run.others) and bool(rank_ends.first_end(run.layout, run.recorder.attempt) or killed_rank(run))


def _what_ended(run: OpenRun, error: BaseException) -> BaseException | tuple[str, str] | None:
    """What ended the run: another rank's end, or its words, where ``error`` only shows that there was one. None where
    the process that launched them has to say whether a person ended it, before it could have any words."""
    told = isinstance(error, StopRequested) or rank_ends.is_of_a_connection(error)
    other = rank_ends.first_end(run.layout, run.recorder.attempt) if told else None
    if told and other is None:
        killed = killed_rank(run, wait_s=0.0 if isinstance(error, RunEnded) else rank_ends.DYING_S)
        if killed and ranks.inherited() and run.recorder.phase is Phase.STARTUP:
            return None
        return killed or error
    if other is None or (isinstance(error, RunEnded) and other.code == error.code):
        return error
    return other.told


def _of_this_rank(run: OpenRun, error: BaseException) -> rank_ends.RankEnd:
    code: int | None = None
    why, told = words_of(error)
    if isinstance(error, RunEnded):
        why, told, code = error.why, "", int(error.code or 0)
    return rank_ends.RankEnd(
        attempt=run.recorder.attempt,
        ts=time.time(),
        rank=RANK,
        code=code,
        why=why,
        traceback=told,
        follows=rank_ends.is_of_a_connection(error) or (isinstance(error, RunEnded) and killed_rank(run) is not None),
    )
