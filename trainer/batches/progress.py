"""The running mean on the progress line and in results.csv, over good batches only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch


class RunningLoss:
    """Mean loss of the epoch so far, as 0-dim CPU float32 tensors.

    The arithmetic is that of the training loop (Ultralytics 8.4, ``engine/trainer.py``), with the number of good
    batches where it has the number of batches: bit-identical when no batch was bad. Never empty once the names are
    known, and never poisoned by a batch that was not added.
    """

    def __init__(self) -> None:
        self.count = 0
        self._mean: dict[str, torch.Tensor] = {}
        self._shown: dict[str, torch.Tensor] = {}
        self._before: tuple[int, dict[str, torch.Tensor]] = (0, {})

    def start_epoch(self) -> None:
        """A new epoch: the mean starts over; until the first good batch the old one is shown."""
        self._shown = self.shown
        self._mean, self.count = {}, 0
        self.start_window()

    def start_window(self) -> None:
        """What is added from now on may turn out to be lost; see :meth:`rewind`."""
        self._before = self.count, self._mean

    def rewind(self, kept: Iterable[Mapping[str, torch.Tensor]]) -> None:
        """Of what was added since the window, or the epoch, began, only ``kept`` was."""
        self.know(self._mean)
        self.count, self._mean = self._before
        for items in kept:
            self.add(items)

    def add(self, items: Mapping[str, torch.Tensor]) -> None:
        """One good batch more is in the mean."""
        count = self.count
        if count == 0:
            self._mean = dict(items)
        else:
            self._mean = {name: (self._mean[name] * count + value) / (count + 1) for name, value in items.items()}
        self.count += 1

    def show(self, mean: Mapping[str, Any]) -> None:
        """``mean`` is shown as it is, made by somebody else; what of it is not finite stays as it was."""
        values = {name: torch.as_tensor(value).detach().reshape(()).float().cpu() for name, value in mean.items()}
        known = self.shown
        self._mean, self.count = {}, 0
        self._shown = {
            name: value if bool(value.isfinite()) else known.get(name, torch.zeros(()))
            for name, value in values.items()
        }

    def know(self, names: Iterable[str]) -> None:
        """The names of the losses, when no good batch has told them yet: shown as 0."""
        if not self._shown:
            self._shown = {name: torch.zeros(()) for name in names}

    @property
    def shown(self) -> dict[str, torch.Tensor]:
        """The mean, or what stood there before the first good batch of the epoch."""
        return self._mean or self._shown

    def as_floats(self) -> dict[str, float]:
        """What is shown, as plain numbers."""
        found: dict[str, Any] = {name: value.tolist() for name, value in self.shown.items()}
        return found

    def as_record(self) -> dict[str, object]:
        """For a saved state."""
        return {
            "count": self.count,
            "mean": {name: value.tolist() for name, value in self._mean.items()},
            "shown": {name: value.tolist() for name, value in self._shown.items()},
        }

    def load(self, record: Mapping[str, object]) -> None:
        """Go on from :meth:`as_record`; float32 survives the way through float."""
        self.count = int(record["count"])  # type: ignore[call-overload]
        self._mean = _tensors(record["mean"])
        self._shown = _tensors(record["shown"])
        self.start_window()


def _tensors(values: object) -> dict[str, torch.Tensor]:
    assert isinstance(values, Mapping)
    return {str(name): torch.tensor(float(value), dtype=torch.float32) for name, value in values.items()}
