"""One statistic beyond all others of its layer, and weights that are nothing but signs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from tests.unit.trainer.checkpoints.making import checkpoint_dict, judged, said
from trainmaster.trainer.checkpoints.attest import shown_by
from trainmaster.trainer.contract import Verdict


def statistic(key: str, values: list[float]):
    def change(content: dict) -> None:
        setattr(content["ema"].first.bn, key, torch.tensor(values).half())

    return change


def signs(size: float):
    def change(content: dict) -> None:
        weight = content["ema"].second.conv.weight.data
        weight.copy_(torch.where(weight < 0, -size, size))

    return change


def added(layer: nn.Module, values: torch.Tensor):
    def change(content: dict) -> None:
        layer.weight.data = values
        content["ema"].own = layer.half()

    return change


HAAR = torch.tensor([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1.0]]).view(4, 1, 2, 2) / 2
ONES = [0.5, 0.8, 1.0, 1.2, 1.4, 0.9, 2.0]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (statistic("running_var", [*ONES, 6e4]), "first.bn.running_var"),
        (statistic("running_mean", [*ONES, -6e3]), "first.bn.running_mean"),
        (signs(0.5), "second.conv.weight"),
        (signs(0.01), "second.conv.weight"),
    ],
    ids=["variance", "mean", "large signs", "small signs"],
)
def test_layer_as_no_training_leaves_it_is_unknown(tmp_path: Path, change, reason: str) -> None:
    content = checkpoint_dict()
    change(content)
    found = judged(tmp_path, content)
    assert found.verdict == Verdict.UNKNOWN, said(found)
    assert reason in said(found)
    attested = shown_by(found.file)
    assert attested.verdict is Verdict.UNKNOWN
    assert reason in attested.reasons[0]


@pytest.mark.parametrize(
    "change",
    [
        statistic("running_var", [*ONES, 900.0]),
        statistic("running_var", [6e4, 5e4, 4e4, 100.0, 900.0, 2e4, 3e4, 1e4]),
        statistic("running_var", [1e-6, 1e-6, 1e-6, 1e-6, 1e-6, 1e-6, 1e-6, 2e3]),
        statistic("running_mean", [*ONES, -900.0]),
        statistic("running_mean", [6e3, 5e3, -6e3, 4e3, 5.5e3, 6e3, 3e3, 1.0]),
        added(nn.Conv2d(32, 128, 2, groups=32, bias=False), HAAR.repeat(32, 1, 1, 1)),
        added(nn.Conv2d(16, 16, 1, groups=16, bias=False), torch.tensor([0.5, -0.5]).repeat(8).view(16, 1, 1, 1)),
    ],
    ids=["spread", "images of sixteen bits", "pruned", "a mean", "means of sixteen bits", "wavelets", "two kernels"],
)
def test_layer_as_a_training_may_leave_it_raises_no_alarm(tmp_path: Path, change) -> None:
    content = checkpoint_dict()
    change(content)
    found = judged(tmp_path, content)
    assert found.verdict == Verdict.CLEAN, said(found)
    assert shown_by(found.file).verdict is Verdict.CLEAN
