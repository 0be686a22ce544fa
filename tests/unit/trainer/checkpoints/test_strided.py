"""A view with gaps is judged by the numbers that it has, not by those between."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from tests.unit.trainer.checkpoints.making import checkpoint_dict, judged, said
from trainmaster.trainer.checkpoints.pickled import Storage, Tensor
from trainmaster.trainer.checkpoints.strided import dimensions_of, gathered, is_dense, num_slices, overlaps
from trainmaster.trainer.contract import Verdict


def between(tensor: torch.Tensor, gap: float | None = None) -> torch.Tensor:
    """``tensor`` as every second number of a storage; the others are ``gap``, or differ."""
    wide = torch.rand(*tensor.shape, 2).to(tensor.dtype)
    if gap is not None:
        wide.fill_(gap)
    wide[..., 0] = tensor
    return wide[..., 0]


def weight(value: float):
    def change(content: dict) -> None:
        layer = content["ema"].second.conv
        layer.weight = torch.nn.Parameter(between(torch.full_like(layer.weight, value)))

    return change


def variance(value: float):
    def change(content: dict) -> None:
        layer = content["ema"].second.bn
        layer.running_var = between(torch.full_like(layer.running_var, value))

    return change


def columns(content: dict) -> None:
    layer = content["ema"].head
    layer.weight = torch.nn.Parameter(torch.cat([torch.full_like(layer.weight, 0.3), layer.weight.data], 1)[:, :8])


@pytest.mark.parametrize(
    ("change", "verdict", "reason"),
    [
        (weight(0.0), Verdict.CONTAMINATED, "1 of 2 convolutions is all zero: second.conv.weight"),
        (variance(0.0), Verdict.CONTAMINATED, "1 of 2 batch-norm variances is zero everywhere"),
        (variance(-1.0), Verdict.CONTAMINATED, "running_var below zero"),
        (weight(float("nan")), Verdict.CONTAMINATED, "not finite: second.conv.weight"),
        (weight(0.3), Verdict.UNKNOWN, "one and the same number throughout: second.conv.weight"),
        (variance(1e-4), Verdict.UNKNOWN, "one and the same number throughout: second.bn.running_var"),
        (columns, Verdict.UNKNOWN, "one and the same number throughout: head.weight"),
    ],
)
def test_gaps_hide_nothing(tmp_path: Path, change, verdict: Verdict, reason: str) -> None:
    content = checkpoint_dict()
    change(content)
    found = judged(tmp_path, content)
    assert (found.verdict, reason in said(found)) == (verdict, True), said(found)


@pytest.mark.parametrize("gap", [float("nan"), float("inf"), 0.0])
def test_what_lies_in_the_gaps_counts_for_nothing(tmp_path: Path, gap: float) -> None:
    content = checkpoint_dict()
    for layer in (content["ema"].first, content["ema"].second):
        layer.conv.weight = torch.nn.Parameter(between(layer.conv.weight.data, gap))
        layer.bn.running_var = between(layer.bn.running_var, gap)
        layer.bn.running_mean = between(layer.bn.running_mean, gap)
    found = judged(tmp_path, content)
    assert found.verdict is Verdict.CLEAN, said(found)


def test_axes_in_another_order_are_no_gaps(tmp_path: Path) -> None:
    content = checkpoint_dict()
    content["ema"] = content["ema"].to(memory_format=torch.channels_last)
    found = judged(tmp_path, content)
    assert found.verdict is Verdict.CLEAN, said(found)


def test_tensor_that_lies_over_itself_is_unknown(tmp_path: Path) -> None:
    content = checkpoint_dict()
    layer = content["ema"].second.conv
    layer.weight = torch.nn.Parameter(torch.rand(84).half().as_strided((8, 8, 3, 3), (8, 3, 2, 1)))
    found = judged(tmp_path, content)
    assert (found.verdict, "not judged" in said(found)) == (Verdict.UNKNOWN, True), said(found)


def test_many_gaps_take_no_time(tmp_path: Path) -> None:
    content = checkpoint_dict()
    wide = torch.rand(6_000_000, 2)
    content["ema"].register_buffer("spread", wide[:, 0])
    content["ema"].register_buffer("pieces", torch.rand(1_000_000, 4)[:, :3])
    began = time.process_time()
    found = judged(tmp_path, content)
    assert (found.verdict, "not judged: pieces" in said(found)) == (Verdict.UNKNOWN, True), said(found)
    assert time.process_time() - began < 2.0


@pytest.mark.parametrize(
    "view",
    [
        torch.arange(24).view(2, 3, 4),
        torch.arange(24).view(2, 3, 4).permute(2, 0, 1),
        torch.arange(24).view(2, 3, 4)[:, 1:, ::2],
        torch.arange(24).view(2, 3, 4)[:, :, 1].t(),
        torch.arange(3).view(3, 1).expand(3, 5),
        torch.arange(5)[2],
    ],
)
def test_the_very_numbers_are_gathered(view: torch.Tensor) -> None:
    storage = Storage(type_name="LongStorage", key="0", num_items=24)
    tensor = Tensor(storage, view.storage_offset(), tuple(view.shape), tuple(view.stride()))
    dimensions = dimensions_of(tensor)
    assert not overlaps(dimensions)
    raw = memoryview(bytes(view.untyped_storage().tolist()))
    stretch = raw[view.storage_offset() * 8 :]
    if is_dense(dimensions):
        extent = dimensions[0][0] if dimensions else 1
        found = stretch[: extent * 8].cast("Q").tolist()
    else:
        assert num_slices(dimensions) <= view.numel()
        found = gathered(stretch, dimensions, 8).cast("Q").tolist()
    assert found == sorted(set(view.flatten().tolist()))
