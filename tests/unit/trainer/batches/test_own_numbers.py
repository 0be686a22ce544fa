"""What a model's criterion holds, by itself. That batches are judged with it is in ``test_judging``."""

from __future__ import annotations

import math
from types import SimpleNamespace

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
