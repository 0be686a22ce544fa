"""A fresh trainer put where a saved state was."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from ultralytics.utils import RANK
from ultralytics.utils.torch_utils import unwrap_model

from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.batches.gradients import restore_gradients
from trainmaster.trainer.batches.position import Position
from trainmaster.trainer.batches.progress import RunningLoss
from trainmaster.trainer.contract import RunLayout
from trainmaster.trainer.data.sampling import Boundary, GuardedLoader, set_random_state
from trainmaster.trainer.engines.protocol import EngineTrainer
from trainmaster.trainer.state.full_state import OTHER_GROUPS, restore, restore_average, set_updates
from trainmaster.trainer.state.resume_plan import ResumePlan
from trainmaster.trainer.state.same.data import require_same_data


class GoingOn:
    """Puts each part of the state back at the moment from which nothing overwrites it any more."""

    def __init__(self, plan: ResumePlan, *, position: Position, running: RunningLoss) -> None:
        self._plan = plan
        self._state = plan.state
        self._position = position
        self._running = running
        self._running_record: Mapping[str, object] | None = None
        self._begun = False
        self._same_batches = False
        self._average: Any = None

    def set_up(self, trainer: EngineTrainer) -> list[str]:
        """Model, optimizer, EMA, loss and loader are the saved ones; what could not be taken over, in words.

        Raises:
            ArgumentsError: the classes of the data set are other ones, or the model that it makes is, or an exact run's
                data or momentum.
        """
        state, position = self._state, self._position
        notes = [*self._plan.notes, *self._restored(trainer)]
        self._average = trainer.ema
        if self._plan.settings.exact and OTHER_GROUPS in notes:
            raise ArgumentsError(
                f"an exact run can't go on here: {OTHER_GROUPS}", "exact=false, or the Ultralytics of before"
            )
        trainer.start_epoch = state["epoch"]
        position.batches = len(trainer.train_loader)
        position.warmup_from = self._plan.warmup_from
        samples, batch_size = state.get("samples"), state["args"].get("batch")
        ranks = max(trainer.world_size, 1)  # each draws another part of another order
        other_data = require_same_data(
            RunLayout(Path(trainer.save_dir)), state, trainer, exact=self._plan.settings.exact
        )
        self._same_batches = (
            other_data is None
            and state["batches"] == position.batches
            and samples in {None, len(trainer.train_loader.dataset)}
            and (batch_size in {None, -1} or batch_size == trainer.batch_size)
            and state.get("ranks", ranks) == ranks
        )
        if state["batch"] and not self._same_batches and self._plan.settings.exact:
            was, now = f"batch={batch_size} on {state.get('ranks', ranks)}", f"batch={trainer.batch_size} on {ranks}"
            raise ArgumentsError(
                f"exact=true can't go on in an epoch at another batch size or number of GPUs: {now}, and it was {was}",
                "give batch= and device= as they were, or exact=false",
            )
        unable = self._unable_to_go_on(trainer.train_loader) if self._same_batches else None
        if unable and self._plan.settings.exact:
            raise ArgumentsError(f"an exact run can't go on here: {unable}", "exact=false")
        self._same_batches = self._same_batches and unable is None
        last_step = state.get("last_step")
        if last_step is not None and self._same_batches:
            position.resume(last_step=last_step, window_open=bool(state.get("window_open")))
        model: Any = unwrap_model(trainer.model)
        if getattr(model, "criterion", None) is None:
            model.criterion = model.init_criterion()  # an epoch of placeholders would never make it
            model.load_state_dict(state["model"], strict=False)  # what that holds is there again
        set_updates(model.criterion, state.get("criterion_updates", state["epoch"]))
        loader = trainer.train_loader
        if isinstance(loader, GuardedLoader) and "order" in state:
            loader.go_on(state=state["order"]["state"], batches_done=state["batch"] if self._same_batches else 0)
        if unable is not None:
            notes.append(f"{unable}: the epoch that was cut through starts over")
        elif state["batch"] and not self._same_batches:
            why = "" if other_data is None else f" ({other_data})"
            what = "the data set, the batch size or the number of GPUs"
            notes.append(f"{what} changed{why}: the epoch that was cut through starts over")
        elif other_data is not None:
            notes.append(f"the run goes on with other data than it was trained on: {other_data}")
        return notes

    def _restored(self, trainer: EngineTrainer) -> list[str]:
        try:
            return restore(trainer, self._state)
        except RuntimeError as error:  # of torch: a tensor of another shape, in a line of its own
            why = str(error).strip().splitlines()[-1].strip()
            raise ArgumentsError(
                f"the state {self._plan.path.name} does not fit the model that data={trainer.args.data} makes: {why}",
                "put the data set's description back as it was, or start a new run",
            ) from error

    def _unable_to_go_on(self, loader: Any) -> str | None:
        """Why an epoch that was cut through can't go on where it was, with the very batches that are left of it."""
        if not self._state["batch"]:
            return None
        if not isinstance(loader, GuardedLoader):
            return f"a {type(loader).__name__} of one's own can't go on within an epoch"
        if "order" in self._state and (self._state["order"]["state"] is None) is not (loader.order.generator is None):
            return "samples are drawn in another way than before (rect= shuffles none)"
        if self._state["batch"] < len(loader) and not loader.draws_alike:
            return f"what {type(loader.order.sampler.sampler).__name__} has drawn can't be drawn again"
        return None

    def epoch_started(self, trainer: EngineTrainer) -> bool:
        """The first epoch begins: gradients and random state, which the loop's start and set-up would have lost.

        Whether it begins in its middle.
        """
        state = self._state
        trainer.start_epoch = state["epoch"]
        if self._begun:
            return False
        self._begun = True
        if trainer.ema and trainer.ema is not self._average:  # a callback has made one of a decay of its own since
            with suppress(RuntimeError):  # one of another model is told where it is followed
                restore_average(trainer.ema, state)
        trainer.train_time_start -= state.get("trained_s", 0.0)  # ``time=`` is of the whole run, as its rows are
        if not self._same_batches and state["batch"]:
            return False
        restore_gradients(unwrap_model(trainer.model), state["gradients"])
        self._running_record = state.get("running") if state["batch"] else None
        if state.get("rng") and RANK in {-1, 0}:  # it is the first rank's; alike, all would draw the same
            set_random_state(state["rng"])
        dataset = trainer.train_loader.dataset
        if (
            self._same_batches
            and state.get("mosaic_buffer")
            and hasattr(dataset, "buffer")
            and trainer.train_loader.num_workers == 0
        ):
            for index in state["mosaic_buffer"]:
                dataset.load_image(index)  # refills the buffer in its order
        return bool(state["batch"])

    def epoch_trained(self, trainer: EngineTrainer) -> None:
        """The last batch of an epoch is over; the loop may reckon how many epochs the run's time is enough for."""
        if self._plan.finishing:
            trainer.stop = True  # as it was after this epoch: by patience, by time, or since it was the last
        if trainer.args.time:
            trainer.start_epoch = 0  # the time is that of all epochs, so the mean of one has to be over all

    def let_go(self) -> Mapping[str, torch.Tensor]:
        """Gradients of the accumulation window that was cut through, once: a later window begins with none. No other
        tensor of the state is held any more; together they are as large as three models."""
        for name in ("model", "ema", "optimizer"):
            self._state.pop(name, None)
        found: Mapping[str, torch.Tensor] = self._state.pop("gradients", {})
        return found

    @property
    def counts(self) -> Mapping[str, Any]:
        """Counts of the epoch that was cut through."""
        counts: Mapping[str, Any] = self._state["counts"]
        return counts

    def batch_started(self) -> None:
        """The first batch begins: the running mean, which the loop drops after an epoch's start."""
        if self._running_record is not None:
            self._running.load(self._running_record)
            self._running_record = None

    def boundary(self, epoch: int) -> Boundary | None:
        """Random state at the end of ``epoch`` (from 0) when all of it lies before the state."""
        state = self._state
        if epoch != state["epoch"] or state["batch"] < self._position.batches or not state.get("rng"):
            return None
        return Boundary(rng=state["rng"], mosaic_buffer=state["mosaic_buffer"])
