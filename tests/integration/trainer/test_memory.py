"""Out of memory: the engine halves the batch in the first epoch and gives up in any other."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from ultralytics.utils.torch_utils import unwrap_model

from tests.integration.trainer.runs import events, layout_of, nonfinite
from trainmaster import GuardedDetectionTrainer
from trainmaster.trainer.checkpoints.state import load_state
from trainmaster.trainer.contract import RunRecordState, read_json

pytestmark = pytest.mark.training

Settings = Callable[..., dict[str, Any]]


class Hungry(GuardedDetectionTrainer):
    """Runs out of memory in the forward pass of chosen batches of the whole run, counted from 1 as they come."""

    out_at: ClassVar[set[int]] = set()
    message: ClassVar[str] = "CUDA out of memory. Tried to allocate 2.00 GiB."

    def _setup_train(self) -> None:
        super()._setup_train()
        passes = iter(range(1, 10_000))
        model = unwrap_model(self.model)

        def hungry(module: torch.nn.Module, _inputs: Any, output: Any) -> Any:
            if module.training and next(passes) in self.out_at:
                raise torch.OutOfMemoryError(self.message)
            return output

        model.model[2].register_forward_hook(hungry)


def hungry(overrides: dict[str, Any], *out_at: int) -> Any:
    return type("Run", (Hungry,), {"out_at": set(out_at)})(overrides=overrides)


@pytest.mark.parametrize("nbs", [4, 12], ids=["every batch a step", "within a window"])
def test_a_halved_batch_starts_the_epoch_over_and_is_told(settings: Settings, nbs: int) -> None:
    trainer = hungry(settings(nbs=nbs, drill="nan-image@2:3"), 5)
    trainer.train()

    layout = layout_of(trainer)
    assert not nonfinite(trainer)
    (told,) = events(layout, "out_of_memory")
    assert (told["batch_size_before"], told["batch_size_after"]) == (4, 2)
    assert (read_json(layout.run_json) or {})["recipe"]["batch"] == "2"
    assert [(row["epoch"], row["batches"]) for row in events(layout, "epoch_started")] == [(1, 6), (1, 12), (2, 12)]
    assert [row["batches_done"] for row in events(layout, "epoch_finished")] == [12, 12]
    assert [(row["epoch"], row["batch"]) for row in events(layout, "bad_batch")] == [(2, 3)]
    rows = [json.loads(line) for line in layout.series.read_text(encoding="utf-8").splitlines()]
    assert [(row["epoch"], row["batch"]) for row in rows[-24:]] == [(e, b) for e in (1, 2) for b in range(1, 13)]
    state = load_state(layout.state_file(1))
    assert (state["epoch"], state["batches"]) == (1, 12)
    assert {row["verdict"] for row in events(layout, "checkpoint_saved") if "states" in row["file"]} == {"clean"}


def test_in_a_later_epoch_it_ends_the_run_which_can_be_resumed(settings: Settings) -> None:
    trainer = hungry(settings(), 9)
    with pytest.raises(torch.OutOfMemoryError):
        trainer.train()

    layout = layout_of(trainer)
    (crashed,) = events(layout, "run_crashed")
    assert "out of memory" in crashed["error"]
    assert (read_json(layout.run_json) or {})["state"] == RunRecordState.CRASHED
    assert not events(layout, "out_of_memory")
    assert load_state(layout.state_file(1))["epoch"] == 1
