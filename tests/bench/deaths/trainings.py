"""The small training whose saves are attacked: bad batches, a state after each batch, a trail of what was trained."""

from __future__ import annotations

import hashlib
import os
import signal
from pathlib import Path
from typing import Any, Final

import torch

from trainmaster import GuardedDetectionTrainer

TRAIL: Final = "TRAINMASTER_TRAIL"
"""Names the file to which each batch that is trained is written, and a digest of the weights it was met with."""
STOPS_AT: Final = "TRAINMASTER_STOPS_AT"
"""The batch, from 0 over the whole run, in which the training asks itself to stop."""
BAD: Final = (2, 5)
"""Batches with a NaN in an image, from 0 over the whole run."""


FITNESS: Final = (0.5, 0.2)
"""Of each epoch, so that the best is not the last."""


def digest_of_weights(model: torch.nn.Module) -> str:
    """The same name, the same bits."""
    digest = hashlib.sha256()
    for value in model.state_dict().values():
        digest.update(value.detach().cpu().numpy().tobytes())
    return digest.hexdigest()[:12]


class Attacked(GuardedDetectionTrainer):
    """Trains like any other, with bad batches at known places."""

    def validate(self) -> Any:
        """The metrics, with a fitness that was chosen."""
        metrics, _ = super().validate()
        fitness = FITNESS[self.epoch % len(FITNESS)]
        self.best_fitness = fitness if self.best_fitness is None else max(self.best_fitness, fitness)
        return metrics, fitness

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The batch, spoilt where it has to be."""
        batch = super().preprocess_batch(batch)
        number = self.guard.position.ni
        if self._ghost or self.guard.step is None or self.guard.step.rerun.active:
            return batch
        if number in BAD:
            batch["img"][0, 0, 0, 0] = torch.nan
        if trail := os.environ.get(TRAIL):
            with Path(trail).open("a") as stream:
                stream.write(f"{os.getpid()} {number} {digest_of_weights(self.model)}\n")
        if os.environ.get(STOPS_AT) == str(number):
            os.kill(os.getpid(), signal.SIGTERM)
        return batch
