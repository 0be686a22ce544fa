from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from trainmaster.trainer.batches import labels
from trainmaster.trainer.run.validation import sound_labels


def test_labels_bound_for_a_device_are_looked_at_before_they_go(monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[torch.Tensor] = []
    read = labels._on_host
    monkeypatch.setattr(labels, "_on_host", lambda value: None if any(value is one for one in moved) else read(value))

    def to_device(batch: dict[str, Any]) -> dict[str, Any]:
        there = {key: value.clone() for key, value in batch.items()}
        moved.extend(there.values())
        return there

    validator = SimpleNamespace(preprocess=to_device)
    fine = {"img": torch.zeros(2, 3, 4, 4), "cls": torch.tensor([[0.0], [1.0]]), "batch_idx": torch.tensor([0.0, 1.0])}
    no_class = {**fine, "cls": torch.tensor([[0.0], [7.0]])}
    no_number = {**fine, "cls": torch.tensor([[math.nan], [1.0]])}
    found: list[bool] = []
    with sound_labels(validator, 2, coming=lambda _: None, found=found.append):
        num_labels = [len(validator.preprocess(batch)["cls"]) for batch in (fine, no_class, no_number)]
    assert found == [False, True, True]
    assert num_labels == [2, 1, 1]
    assert validator.preprocess is to_device
