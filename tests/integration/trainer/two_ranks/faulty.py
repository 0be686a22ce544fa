"""A trainer of somebody's own whose ranks have the faults that the environment names; importable, as DDP wants it."""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

import torch
from ultralytics.utils import RANK

from trainmaster import GuardedDetectionTrainer

FAULTS: dict[str, list[int]] = json.loads(os.environ.get("FAULTS", "{}"))
"""Fault -> [rank, batch of the run from 0]."""


class Faulty(GuardedDetectionTrainer):
    """Spoils, signals or kills where it is told to."""

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        batch = super().preprocess_batch(batch)
        here = [RANK, self.guard.position.ni]
        if here == FAULTS.get("nan"):
            batch["img"][0, 0, 0, 0] = float("nan")
        if here == FAULTS.get("once"):
            self.spoil_one_pass()
        if here == FAULTS.get("spike"):
            batch["bboxes"] = batch["bboxes"] * 0 + torch.tensor([0.5, 0.5, 1e-4, 1.0])
        if here == FAULTS.get("term"):
            os.kill(os.getpid(), signal.SIGTERM)
        if here == FAULTS.get("term parent"):
            os.kill(int(os.environ["LAUNCHER"]), signal.SIGTERM)
        if here == FAULTS.get("kill parent"):
            os.kill(int(os.environ["LAUNCHER"]), signal.SIGKILL)
        if here == FAULTS.get("kill"):
            os.kill(os.getpid(), signal.SIGKILL)
        return batch

    def spoil_one_pass(self) -> None:
        """One pass through the model gives NaN, and none after it."""

        def spoil(_module: Any, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
            handle.remove()
            return output * float("nan")

        convolution = next(module for module in self.model.modules() if isinstance(module, torch.nn.Conv2d))
        handle = convolution.register_forward_hook(spoil)


if __name__ == "__main__":
    os.environ["LAUNCHER"] = str(os.getpid())
    from faulty import Faulty as Importable

    Importable(overrides=json.loads(sys.argv[1])).train()
