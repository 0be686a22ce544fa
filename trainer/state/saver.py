"""Saves what can be resumed from, judged while it is in memory; a full disk never stops training."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ultralytics.utils.torch_utils import unwrap_model

from trainmaster.trainer.batches.agreement import of_all
from trainmaster.trainer.batches.gradients import all_finite
from trainmaster.trainer.batches.healing import float_of, heal_ema
from trainmaster.trainer.batches.own_buffers import names_of_own_buffers
from trainmaster.trainer.batches.position import Position
from trainmaster.trainer.batches.progress import RunningLoss
from trainmaster.trainer.batches.step_guard import StepGuard
from trainmaster.trainer.checkpoints.attest import Examination, examine, gravest
from trainmaster.trainer.checkpoints.files import AttestedPath, DigestError, SavedFile, digest_of
from trainmaster.trainer.checkpoints.ledger import attestations
from trainmaster.trainer.checkpoints.live_settings import examine_settings
from trainmaster.trainer.checkpoints.retention import STOP_NAME, WITHIN_EPOCH, epochs_on_disk, keep_copy, retain
from trainmaster.trainer.checkpoints.state import save_state
from trainmaster.trainer.contract import EventKind, RunLayout
from trainmaster.trainer.data.inventory import NAME as DATA_NAME
from trainmaster.trainer.data.inventory import take_inventory
from trainmaster.trainer.data.sampling import Boundary, GuardedLoader
from trainmaster.trainer.engines.protocol import EngineTrainer
from trainmaster.trainer.records.recorder import Recorder
from trainmaster.trainer.settings.guard_settings import GuardSettings
from trainmaster.trainer.state.attesting import Attesting, SaidOfFile
from trainmaster.trainer.state.cadence import Cadence
from trainmaster.trainer.state.copy_watch import CopyWatch
from trainmaster.trainer.state.full_state import capture, model_state
from trainmaster.trainer.state.same.data import KnownData, files_of, record_of
from trainmaster.trainer.state.stripping import Stripping
from trainmaster.trainer.stop import StopSwitch

LAST_SAVE_RETRY_S: Final = 10.0
LAST_SAVE_WAIT_S: Final = 24 * 3600.0
"""At most, for room on a disk that is full when a run ends: its last epochs are nowhere but in memory, and whoever
makes room may sleep. No longer than what is not saved took to train: then it is as soon trained again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Where in the run a state is saved. ``running`` and ``counts`` are of the epoch in work."""

    position: Position
    running: dict[str, Any]
    counts: dict[str, Any]
    spikes: dict[str, Any] | None = None
    """What is known of the level of the loss."""

    @classmethod
    def of(cls, position: Position, running: RunningLoss, step: StepGuard, *, counts: dict[str, Any]) -> Moment:
        """What a state that is saved now says of them."""
        return cls(position=position, running=running.as_record(), counts=counts, spikes=step.batches.spikes)


class Saver:
    """Writes checkpoints and states of one run, each with its attestation."""

    def __init__(
        self,
        layout: RunLayout,
        recorder: Recorder,
        settings: GuardSettings,
        *,
        user: dict[str, Any],
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._layout = layout
        self._recorder = recorder
        self._settings = settings
        self._user = user
        self._monotonic = monotonic
        self._sleep = sleep
        self._unsaved: OSError | None = None
        """Why the newest epoch has no checkpoint of Ultralytics' making."""
        self._last_snapshot = self._last_saved = monotonic()
        self._cadence = Cadence(settings.snapshot_s)
        self.epoch_end: Boundary | None = None
        """Random state when the last batch of the epoch was done, before validation drew from it."""
        self._criterion_updates = 0
        self.epoch_is_saved = False
        """Whether there is a state of the whole epoch in work: where ``save=False`` has it left out, there is none."""
        self.mosaic_closed = False
        self._data = KnownData()
        self._copies = CopyWatch(layout, recorder, settings, monotonic=monotonic)
        self.attesting = Attesting(layout=layout, recorder=recorder, level=settings.level, look=self._copies.look)

    def adopt_paths(self, trainer: EngineTrainer) -> None:
        """Ultralytics' own files are written whole or not at all."""
        trainer.wdir = AttestedPath(trainer.wdir)
        trainer.last, trainer.best = trainer.wdir / "last.pt", trainer.wdir / "best.pt"

    def note_data(self, trainer: EngineTrainer) -> None:
        """It is on record which files the attempt trains on, for who starts the next one."""
        try:
            take_inventory(self._layout, files_of(trainer))
        except OSError as error:
            self._recorder.storage_fault(f"guard/{DATA_NAME}", error)

    def epoch_started(self, trainer: EngineTrainer) -> None:
        """An epoch begins: its end is not known yet."""
        self.epoch_end, self.epoch_is_saved = None, False
        criterion = getattr(unwrap_model(trainer.model), "criterion", None)
        updates = float_of(getattr(criterion, "updates", 0))
        self._criterion_updates = int(updates) if updates is not None and math.isfinite(updates) else 0

    def heal(self, trainer: EngineTrainer, position: Position) -> bool:
        """The EMA is finite, healed if need be; False when the weights themselves are not."""
        if not all_finite(unwrap_model(trainer.model).parameters()):
            return False
        self.heal_ema(trainer, position)
        return True

    def heal_ema(self, trainer: EngineTrainer, position: Position) -> None:
        """The EMA is finite where the model is."""
        if trainer.ema and (healed := heal_ema(trainer.ema.ema, trainer.model)):
            where = {"epoch": position.epoch + 1, "batch": position.done}
            self._recorder.event(EventKind.STATE_HEALED, **where, what="ema", tensors=healed)

    def save_epoch(self, trainer: EngineTrainer, moment: Moment, stock_save: Callable[[], Any]) -> bool:
        """Ultralytics' checkpoint of the epoch and our full state; whether Ultralytics' was written."""
        examination = self._examine(trainer)
        epoch = moment.position.epoch + 1
        saved = False
        self._unsaved = None
        if trainer.fitness is not None and trainer.fitness > (trainer.best_fitness or -math.inf):
            trainer.best_fitness = trainer.fitness  # of an epoch that is saved once more, which had no room before
        try:
            with self._announced(trainer, epoch, examination):
                # Older generations return nothing, or False for a checkpoint left out.
                saved = stock_save() is not False
            self._last_saved = self._monotonic()
            self._recorder.written("weights/last.pt")
        except OSError as error:
            self._recorder.storage_fault("weights/last.pt", error)
            self._unsaved = error
            if trainer.fitness == trainer.best_fitness:
                trainer.best_fitness = self._fitness_of_best(trainer)
        if saved:
            self._attest_weights(trainer, epoch, examination)
        if moment.position.done < moment.position.batches:  # something else ended the epoch early: it is not whole
            self._save(STOP_NAME, trainer, moment, examination, at_epoch_end=False)
        elif self._save(self._layout.state_file(epoch).name, trainer, moment, examination, at_epoch_end=True):
            self.epoch_is_saved = True
            self._drop_passed_states()
        return saved

    def _fitness_of_best(self, trainer: EngineTrainer) -> float | None:
        """Of what best.pt holds, so that the next epoch which is better than that is written there; None where nothing
        is known of it, and any is."""
        with contextlib.suppress(OSError):
            held = digest_of(Path(trainer.best))
            return next((row.fitness for row in reversed(attestations(self._layout)) if row.saved == held), None)
        return None

    def save_at_last(self, trainer: EngineTrainer, switch: StopSwitch, tell: Callable[[str], None]) -> None:
        """The last epoch's checkpoint is written: there is no later one that makes up for it.

        Of several ranks the others learn with each try that it is not yet: a wait as long as a person needs to make
        room would meet their process group's timeout.

        Raises:
            StopRequested: somebody asked meanwhile.
            OSError: there was no room for as long as what would be lost took to train.
        """
        if self._unsaved is None:
            while self._unsaved_in_any_rank(trainer):
                pass
            return
        wait_s = min(self._monotonic() - self._last_saved, LAST_SAVE_WAIT_S)
        tell(
            f"every epoch is trained and the last one is not saved: {self._unsaved}. It stays in memory and is tried "
            f"again every {LAST_SAVE_RETRY_S:.0f} s for {wait_s / 60:.0f} min, which is what it took to train. "
            f"Make room in {self._layout.root}"
        )
        deadline = self._monotonic() + wait_s
        trainer.save_model()
        while unsaved := self._unsaved_in_any_rank(trainer):
            left_s = deadline - self._monotonic()
            if left_s <= 0:
                raise unsaved
            with switch.interruptible():
                self._sleep(min(LAST_SAVE_RETRY_S, left_s))
            trainer.save_model()
        tell("the last epoch is saved")

    def _unsaved_in_any_rank(self, trainer: EngineTrainer) -> OSError | None:
        return next(filter(None, of_all(self._unsaved)), None) if trainer.world_size > 1 else self._unsaved

    @contextmanager
    def _announced(self, trainer: EngineTrainer, epoch: int, examination: Examination) -> Iterator[None]:
        """Within, what Ultralytics writes is attested before it is there: a kill leaves no file with a wrong digest."""
        said = SaidOfFile(epoch=epoch, examination=examination, fitness=trainer.fitness, kind="ultralytics")
        for path in (trainer.last, trainer.best):
            path.announce = lambda saved, at, name=f"weights/{path.name}": self.attesting.attest(name, saved, said, at)
        try:
            yield
        finally:
            trainer.last.announce = trainer.best.announce = None

    def save_metrics(self, csv: Path, stock_save: Callable[[], Any]) -> None:
        """results.csv has the row, or is as it was; the event log has the numbers either way."""
        try:
            size = csv.stat().st_size if csv.exists() else None
        except OSError as error:  # how much of it is whole is not known: not a byte is added
            self._recorder.storage_fault(csv.name, error)
            return
        try:
            stock_save()
            self._recorder.written(csv.name)
        except OSError as error:
            self._recorder.storage_fault(csv.name, error)
            with contextlib.suppress(OSError):  # a torn row would pass for a whole one
                csv.unlink() if size is None else os.truncate(csv, size)

    def save_within_epoch(self, name: str, trainer: EngineTrainer, moment: Moment) -> Path | None:
        """A full state at the present batch boundary; None when it could not be written."""
        began_s = self._monotonic()
        path = self._save(name, trainer, moment, self._examine(trainer), at_epoch_end=False)
        self._cadence.saved(self._monotonic() - began_s)
        return path

    def snapshot_due(self) -> bool:
        """Whether it is time for a state within the epoch."""
        self._copies.look()
        interval_s = self._cadence.interval_s
        return interval_s is not None and self._monotonic() - self._last_snapshot >= interval_s

    def stripping(self, trainer: EngineTrainer, *, records: bool) -> AbstractContextManager[None]:
        """Within, the final evaluation may take the optimizer out of last.pt and best.pt; see :class:`Stripping`."""
        return Stripping.of(self.attesting, trainer, records=records)

    def latest_epoch_state(self) -> Path | None:
        """The newest full state saved after a whole epoch; None where none can be seen, on a disk that died say."""
        with contextlib.suppress(OSError):
            return next((self._layout.state_file(epoch) for epoch in epochs_on_disk(self._layout)[-1:]), None)
        return None

    def _examine(self, trainer: EngineTrainer) -> Examination:
        """What the files that are made of ``trainer`` now need not show."""
        model = unwrap_model(trainer.model)
        parts = {"model": model_state(trainer)}
        if trainer.ema:
            parts["ema"] = trainer.ema.ema.state_dict()
        tensors = examine(parts, own_buffers=names_of_own_buffers(model))
        return gravest(tensors, examine_settings("model", model))

    def _save(
        self,
        name: str,
        trainer: EngineTrainer,
        moment: Moment,
        examination: Examination,
        *,
        at_epoch_end: bool,
    ) -> Path | None:
        path = self._layout.states / name
        position = moment.position
        extra = self._extra(trainer, moment, at_epoch_end=at_epoch_end)
        epoch = position.epoch + at_epoch_end
        state = capture(
            trainer, epoch=epoch, batch=0 if at_epoch_end else position.done, batches=position.batches, extra=extra
        )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            relative = path.relative_to(self._layout.root).as_posix()
            fitness = trainer.fitness if at_epoch_end else None
            said = SaidOfFile(epoch=position.epoch + 1, examination=examination, fitness=fitness, kind="state")
            saved = save_state(path, state, announce=lambda saved, at: self.attesting.attest(relative, saved, said, at))
            self.attesting.tell(relative, saved, said)
            self._recorder.written(relative)
            if at_epoch_end:
                retain(self._layout, keep=self._settings.keep_states)
        except OSError as error:
            self._recorder.storage_fault(f"guard/states/{name}", error)
            return None
        finally:
            self._last_snapshot = self._monotonic()  # on a full disk too: the next try is no sooner
        return path

    def _extra(self, trainer: EngineTrainer, moment: Moment, *, at_epoch_end: bool) -> dict[str, Any]:
        position = moment.position
        loader = trainer.train_loader
        whole = at_epoch_end or position.done >= position.batches
        boundary = None if at_epoch_end else self.epoch_end
        order = None
        if isinstance(loader, GuardedLoader):
            boundary = boundary or loader.boundary or Boundary.now(loader)
            order = loader.epoch_state
            if whole:
                order = loader.next_epoch_state(new_iterator=self._mosaic_closes_at(trainer, position.epoch + 1))
        return {
            "rng": boundary.rng if boundary else {},
            "mosaic_buffer": boundary.mosaic_buffer if boundary else [],
            "order": {"state": order},  # nested: a tensor at the top makes a file look like bare weights to forensics
            "samples": len(loader.dataset),
            "trained_s": time.time() - trainer.train_time_start,
            "data": record_of(trainer, self._data),
            "last_step": position.last_step,
            "window_open": position.window_open,
            "warmup_from": position.warmup_from,
            "criterion_updates": self._criterion_updates + at_epoch_end,
            "run_ends": at_epoch_end and bool(trainer.stop),
            "running": moment.running,
            "counts": moment.counts,
            "spikes": moment.spikes,
            "ranks": max(trainer.world_size, 1),
            "guard": self._settings.as_record(),
            "user": self._user,
        }

    def _mosaic_closes_at(self, trainer: EngineTrainer, epoch: int) -> bool:
        close = trainer.args.close_mosaic
        return bool(close) and not self.mosaic_closed and epoch >= trainer.epochs - close

    def _attest_weights(self, trainer: EngineTrainer, epoch: int, examination: Examination) -> None:
        written: SavedFile | None = trainer.last.written
        if written is None:  # a subclass saves in a way of its own
            return
        said = SaidOfFile(epoch=epoch, examination=examination, fitness=trainer.fitness, kind="ultralytics")
        names = ["weights/last.pt"]
        if trainer.best.written == written:
            names.append("weights/best.pt")
        numbered = Path(trainer.wdir) / f"epoch{trainer.epoch}.pt"
        try:
            if trainer.save_period > 0 and trainer.epoch % trainer.save_period == 0 and numbered.exists():
                names.append(f"weights/{numbered.name}")
            held = dict.fromkeys(names, written)
            try:
                copy = keep_copy(self._layout, epoch, expected=written)
            except DigestError:  # a subclass has changed the file since, within its own save_model
                held = {name: digest_of(self._layout.root / name) for name in names}
                copy = keep_copy(self._layout, epoch, expected=held["weights/last.pt"])
            held[copy.relative_to(self._layout.root).as_posix()] = held["weights/last.pt"]
            for name, saved in held.items():
                if saved != written or name not in {"weights/last.pt", "weights/best.pt"}:  # else attested on writing
                    self.attesting.attest(name, saved, said)
                self.attesting.tell(name, saved, said)
            self._recorder.written("guard/checkpoints.jsonl")
        except (OSError, DigestError) as error:
            self._recorder.storage_fault("guard/checkpoints.jsonl", error)

    def _drop_passed_states(self) -> None:
        """States within an epoch that is over now are of no more use."""
        for name in WITHIN_EPOCH:
            try:
                (self._layout.states / name).unlink(missing_ok=True)
            except OSError as error:  # it stays, and is older than the state of the epoch
                self._recorder.storage_fault(f"guard/states/{name}", error)
