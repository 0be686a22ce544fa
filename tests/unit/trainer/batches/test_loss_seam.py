from __future__ import annotations

from typing import Any

import torch
from torch import nn

from trainmaster.trainer.batches.loss_seam import Loss, LossMaker


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = 1.0

    def loss(self, batch: dict[str, Any], preds: Any = None) -> Loss:
        value = torch.tensor(self.scale * batch["value"])
        return value, {"value": value}


def test_the_guard_gets_the_loss_of_the_class_and_the_model_is_as_it_was_afterwards() -> None:
    model = Model()
    maker = LossMaker(model)
    maker.attach(lambda batch, preds=None: "guarded")
    assert maker.attached
    assert model.loss({"value": 3.0}) == "guarded"
    assert float(maker.raw({"value": 3.0})[0]) == 3.0
    maker.detach()
    assert not maker.attached
    assert float(model.loss({"value": 3.0})[0]) == 3.0


def test_a_loss_that_somebody_put_on_the_model_is_the_one_that_is_guarded_and_stays() -> None:
    model = Model()
    maker = LossMaker(model)

    def own(batch: dict[str, Any], preds: Any = None) -> Loss:
        value, items = model.loss(batch)  # theirs wraps ours, which is the class's while theirs is being made
        return value * 10, items

    model.__dict__["loss"] = own
    maker.attach(lambda batch, preds=None: maker.raw(batch, preds))
    assert float(model.loss({"value": 3.0})[0]) == 30.0
    assert not maker.inside
    maker.detach()
    assert model.__dict__["loss"] is own
