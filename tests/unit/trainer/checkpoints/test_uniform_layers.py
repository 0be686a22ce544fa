"""Numbers that are all alike where training makes them differ."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.unit.trainer.checkpoints.making import checkpoint_dict, judged, said
from trainmaster.trainer.contract import Verdict


def norms(content: dict) -> list[nn.BatchNorm2d]:
    return [content["ema"].first.bn, content["ema"].second.bn]


def fill(key: str, value: float, *, layers: int = 2):
    def change(content: dict) -> None:
        for norm in norms(content)[:layers]:
            getattr(norm, key).data.fill_(value)

    return change


def zero_means(layers: int, *, spread: float):

    def change(content: dict) -> None:
        for norm in norms(content)[:layers]:
            norm.running_mean = torch.zeros(8).half()
            norm.running_var = torch.linspace(0.5, 0.5 + spread, 8).half()

    return change


def fresh_on_zeros(content: dict) -> None:
    for norm in norms(content):
        norm.running_mean.zero_()
        norm.running_var.fill_(1.0)


def biases(*values: float):
    """Two convolutions with a bias, as in a head: each bias is one of ``values`` throughout."""

    def change(content: dict) -> None:
        layers = [nn.Conv2d(8, 4, 1) for _ in values]
        for layer, value in zip(layers, values, strict=True):
            layer.bias.data.fill_(value)
        content["ema"].branches = nn.Sequential(OrderedDict((f"b{i}", one.half()) for i, one in enumerate(layers)))

    return change


def channel_of_zeros(*names: str):
    def change(content: dict) -> None:
        for name in names:
            content["ema"].state_dict()[f"second.{name}"][2] = 0.0

    return change


def added(layer: nn.Module, *, norm: float | None = None, channel: int | None = None):
    """``layer``, its weight ``norm`` throughout and its ``channel`` scrubbed."""

    def change(content: dict) -> None:
        for one in layer.parameters():
            one.data = torch.linspace(0.9, 1.1, one.numel()).view(one.shape)
            if channel is not None:
                one.data[channel] = 0.0
        if norm is not None:
            layer.weight.data.fill_(norm)  # type: ignore[operator, union-attr]
        content["ema"].more = layer.half()

    return change


def nearly_alike(layers: int, value: float):
    def change(content: dict) -> None:
        for layer in [content["ema"].first.conv, content["ema"].second.conv][:layers]:
            layer.weight.data.fill_(value)
            layer.weight.data.view(-1)[0] = 0.25

    return change


def faint(kind: type[nn.Module], *, layers: int = 2):
    """All but next to zero, and no two alike."""

    def change(content: dict) -> None:
        for layer in [one for one in content["ema"].modules() if isinstance(one, kind)][:layers]:
            layer.weight.data = torch.linspace(1e-6, 5e-5, layer.weight.numel()).view_as(layer.weight).half()

    return change


def all_begun(change):
    """Nothing was trained yet: every weight and bias of a batch norm is what it begins with; then ``change``."""

    def begun(content: dict) -> None:
        for norm in norms(content):
            norm.weight.data.fill_(1.0)
            norm.bias.data.fill_(0.0)
        change(content)

    return begun


def trained_third(change):
    """One more layer that was trained, so that most were; then ``change``."""

    def more(content: dict) -> None:
        norm = nn.BatchNorm2d(8)
        norm.weight.data = torch.linspace(0.9, 1.1, 8)
        norm.bias.data = torch.linspace(-0.1, 0.1, 8)
        content["ema"].third = norm.half()
        change(content)

    return more


BIASED = (
    lambda: nn.Conv2d(8, 8, 3),
    lambda: nn.ConvTranspose2d(8, 8, 2),
    lambda: nn.Linear(8, 8),
    lambda: nn.LayerNorm(16),
)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (fill("weight", 3.7, layers=1), "weight or bias is one number throughout: first.bn.weight"),
        (fill("bias", 400.0, layers=1), "weight or bias is one number throughout: first.bn.bias"),
        (fill("weight", 0.0), "2 of 2 norms' weights are all zero"),
        (faint(nn.BatchNorm2d), "2 of 2 norms' weights are next to zero"),
        (faint(nn.Conv2d), "2 of 2 convolutions' weights are next to zero"),
        (zero_means(2, spread=0.25), "the means of all 2 batch norms are zero though their variances differ"),
        (biases(77.0, 77.0), "all 2 biases of convolutions are one number"),
        (nearly_alike(2, 0.3), "2 of 2 convolutions are one number but for a few"),
        (nearly_alike(2, 0.0), "2 of 2 convolutions are one number but for a few"),
        (trained_third(fill("weight", 0.0, layers=1)), "1 of 3 norms' weights are all zero: first.bn.weight"),
        (nearly_alike(1, 0.3), "1 of 2 convolutions are one number but for a few: first.conv.weight"),
        (channel_of_zeros("bn.weight", "bn.bias", "bn.running_mean"), "are all exactly zero"),
        *((added(make(), channel=3), "scrubbed NaN are: more[3]") for make in BIASED),
        (added(nn.LayerNorm(16), norm=0.3), "weight or bias is one number throughout: more.weight"),
    ],
)
def test_layer_whose_numbers_are_alike_is_unknown(tmp_path: Path, change, reason: str) -> None:
    content = checkpoint_dict()
    change(content)
    found = judged(tmp_path, content)
    assert (found.verdict, reason in said(found)) == (Verdict.UNKNOWN, True), said(found)


@pytest.mark.parametrize(
    "change",
    [
        faint(nn.BatchNorm2d, layers=1),
        faint(nn.Conv2d, layers=1),
        fill("weight", 1.0),
        fill("bias", 0.0),
        fill("weight", 0.99),
        fill("bias", -0.01),
        all_begun(fill("weight", 0.0, layers=1)),
        trained_third(zero_means(1, spread=0.25)),
        all_begun(zero_means(1, spread=0.25)),
        fresh_on_zeros,
        biases(1.0, 1.0),
        biases(1.0, -11.5, -10.1),
        biases(-4.5),
        nearly_alike(1, 0.0),
        channel_of_zeros("conv.weight"),
        channel_of_zeros("bn.weight", "bn.bias"),
        channel_of_zeros("conv.weight", "bn.weight", "bn.running_mean"),
        *(added(make()) for make in BIASED),
        added(nn.LayerNorm(16), norm=1.0),
    ],
)
def test_honest_beginning_raises_no_alarm(tmp_path: Path, change) -> None:
    content = checkpoint_dict()
    change(content)
    found = judged(tmp_path, content)
    assert found.verdict is Verdict.CLEAN, said(found)


@pytest.mark.parametrize(
    ("value", "batches", "momentum", "others", "verdict"),
    [
        pytest.param(0.97**12, 12, 0.03, 0.7, Verdict.CLEAN, id="of Ultralytics"),
        pytest.param(0.97**12, 0, 0.03, 0.7, Verdict.CLEAN, id="of its EMA, which counts no batches"),
        pytest.param(0.97**200 * 1.003, 0, 0.03, 0.7, Verdict.CLEAN, id="of its EMA, which lags"),
        pytest.param(0.9**40, 40, 0.1, 0.7, Verdict.CLEAN, id="of torch"),
        pytest.param(0.97**12, 40, 0.03, 0.7, Verdict.UNKNOWN, id="after more batches"),
        pytest.param(0.5, 12, 0.03, 0.7, Verdict.UNKNOWN, id="less than is left"),
        pytest.param(0.5 * (0.97**12 + 0.97**13), 0, 0.03, 0.7, Verdict.UNKNOWN, id="between two batches"),
        pytest.param(0.97**12, 12, 0.1, 0.7, Verdict.UNKNOWN, id="of another momentum"),
        pytest.param(0.97**12, 0, 0.03, 0.97**12 * 0.999, Verdict.CLEAN, id="of a little more than is left"),
        pytest.param(0.97**12, 0, 0.03, 0.97**12 * 0.99, Verdict.UNKNOWN, id="of more than is left"),
        pytest.param(0.96, 0, 0.03, 0.5, Verdict.CLEAN, id="near its start, of an EMA that hardly moves"),
        pytest.param(0.97**12, 12, 0.03, 0.6, Verdict.UNKNOWN, id="others have less than is left"),
        pytest.param(0.97**300, 300, 0.03, 0.7, Verdict.UNKNOWN, id="long ago"),
    ],
)
def test_a_variance_behind_frozen_layers_is_what_is_left_of_its_start(
    tmp_path: Path, value: float, batches: int, momentum: float, others: float, verdict: Verdict
) -> None:
    """After two epochs with ``freeze=2`` of a fresh model, all channels have the same variance in half precision."""
    content = checkpoint_dict()
    first, norm = norms(content)
    first.running_var = torch.linspace(others, 2 * others, len(first.running_var)).to(first.running_var.dtype)
    norm.momentum = momentum
    norm.running_var.fill_(value)
    norm.num_batches_tracked.fill_(batches)
    assert judged(tmp_path, content).verdict is verdict
