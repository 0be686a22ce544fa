"""What a model's criterion holds, by itself. That batches are judged with it is in ``test_judging``."""

from __future__ import annotations

import math
from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import torch

from tests.unit.trainer.batches.test_batch_guard import INF, NAN, Net
from trainmaster.trainer.batches.own_numbers import OwnNumbers


def test_a_healing_leaves_what_was_made_since_a_mask_of_infinities() -> None:
    model = Net()
    criterion = SimpleNamespace(mask=None, gain=7.5)
    vars(model)["criterion"] = criterion
    numbers = OwnNumbers(model)
    numbers.note(epoch=0)
    criterion.mask, criterion.gain = torch.tensor([0.0, -INF]), NAN
    assert numbers.heal() == 1
    assert criterion.gain == 7.5
    assert math.isinf(criterion.mask[1])


def test_what_the_ema_carries_and_cannot_be_is_as_the_model_has_it() -> None:
    model = Net()
    carried: Any = model.layer
    carried.eps, carried.stride, carried.means = 1e-3, torch.tensor([8.0, 16.0]), {"of": 1.0}
    copy = deepcopy(model)
    numbers = OwnNumbers(model)
    assert numbers.heal_copy(copy) == 0
    averaged: Any = copy.layer
    averaged.eps, averaged.stride[0], averaged.means["of"], averaged.own = NAN, INF, NAN, NAN
    assert numbers.heal_copy(copy) == 3
    assert (averaged.eps, averaged.stride.tolist(), averaged.means) == (1e-3, [8.0, 16.0], {"of": 1.0})
    carried.eps = averaged.eps = NAN
    assert numbers.heal_copy(copy) == 0
