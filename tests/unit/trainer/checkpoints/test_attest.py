from __future__ import annotations

import math
from collections.abc import Set as AbstractSet
from pathlib import Path

import pytest
import torch

from tests.unit.trainer.checkpoints.making import checkpoint_dict, save, small_model, stepped_optimizer
from trainmaster.trainer.checkpoints.attest import Examination, examine, gravest, shown_by
from trainmaster.trainer.contract import Verdict

NAN, INF = float("nan"), float("inf")


def state() -> dict[str, torch.Tensor]:
    model = small_model()
    model(torch.randn(2, 3, 16, 16))
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def attested(
    tmp_path: Path, tensors: dict[str, torch.Tensor], own_buffers: AbstractSet[str] = frozenset()
) -> Examination:
    """Of Ultralytics' file of the EMA ``tensors``: halved, and scrubbed as ``save_model`` does."""
    content = checkpoint_dict()
    for name in own_buffers:
        content["ema"].get_submodule(name.rpartition(".")[0]).register_buffer(name.rpartition(".")[2], tensors[name])
    content["ema"] = content["ema"].half()
    halved = {name: value.half() if value.is_floating_point() else value for name, value in tensors.items()}
    content["ema"].load_state_dict({name: torch.nan_to_num(value) for name, value in halved.items()})
    return gravest(examine({"ema": tensors}, own_buffers=own_buffers), shown_by(save(tmp_path / "last.pt", content)))


def test_healthy_model_is_clean_without_reasons() -> None:
    assert examine({"model": state(), "ema": state()}).verdict is Verdict.CLEAN
    assert examine({"model": state()}).reasons == ()


@pytest.mark.parametrize("value", [NAN, INF, -INF], ids=["nan", "inf", "-inf"])
@pytest.mark.parametrize("name", ["first.conv.weight", "second.bn.running_mean", "head.bias"])
@pytest.mark.parametrize("part", ["model", "ema"])
def test_one_bad_number_anywhere_is_named(part: str, name: str, value: float) -> None:
    parts = {"model": state(), "ema": state()}
    parts[part][name].view(-1)[-1] = value
    found = examine(parts)
    assert found.verdict is Verdict.CONTAMINATED
    assert found.reasons == (f"{part}: 1 of 12 tensors is not finite: {name}",)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_every_floating_type_is_judged(dtype: torch.dtype) -> None:
    assert examine({"model": {"x": torch.ones(3, dtype=dtype)}}).verdict is Verdict.CLEAN
    assert examine({"model": {"x": torch.tensor([1, INF], dtype=dtype)}}).verdict is Verdict.CONTAMINATED


def test_poisoned_optimizer_is_named() -> None:
    optimizer = stepped_optimizer(small_model())
    tensors = {f"{index}": entry["momentum_buffer"] for index, entry in enumerate(optimizer.state.values())}
    assert examine({"optimizer": tensors}).verdict is Verdict.CLEAN
    tensors["3"].view(-1)[0] = NAN
    assert examine({"optimizer": tensors}).reasons == ("optimizer: 1 of 8 tensors is not finite: 3",)


def test_variance_of_zero_everywhere_is_dead(tmp_path: Path) -> None:
    tensors = state()
    tensors["second.bn.running_var"].zero_()
    found = attested(tmp_path, tensors)
    assert found.verdict is Verdict.CONTAMINATED
    assert "1 of 2 batch-norm variances is zero everywhere" in found.reasons[0]


def test_convolution_of_zeros_is_dead(tmp_path: Path) -> None:
    tensors = state()
    tensors["first.conv.weight"].zero_()
    assert "convolutions is all zero: first.conv.weight" in attested(tmp_path, tensors).reasons[0]


@pytest.mark.parametrize(
    "name", ["head.bias", "first.bn.bias", "first.bn.weight", "first.bn.running_mean", "head.weight"]
)
def test_zeros_that_a_fresh_model_may_hold_are_no_sign(name: str) -> None:
    tensors = state()
    tensors[name].zero_()
    assert examine({"model": tensors}).verdict is Verdict.CLEAN


def test_zeros_in_an_optimizer_are_no_sign() -> None:
    zeros = {"first.conv.weight": torch.zeros(8, 3, 3, 3), "x.running_var": torch.zeros(3)}
    assert examine({"optimizer": zeros}).verdict is Verdict.CLEAN


@pytest.mark.parametrize(
    "parts",
    [{}, {"model": {}}, {"model": {"n": torch.zeros((), dtype=torch.long)}}, {"model": {"x": torch.empty(0)}}],
    ids=["no part", "empty part", "whole numbers only", "empty tensor only"],
)
def test_nothing_to_judge_is_unknown(parts: dict[str, dict[str, torch.Tensor]]) -> None:
    assert examine(parts).verdict is Verdict.UNKNOWN


def test_many_names_are_cut_and_counted() -> None:
    found = examine({"model": {f"t{index}": torch.tensor([NAN]) for index in range(9)}})
    assert found.reasons == ("model: 9 of 9 tensors are not finite: t0, t1, t2, ...",)


def test_device_is_read_once_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[str] = []
    for name in ("tolist", "item", "cpu", "__bool__", "numpy"):
        original = getattr(torch.Tensor, name)

        def counted(self, *args, _original=original, _name=name, **kwargs):
            reads.append(_name)
            return _original(self, *args, **kwargs)

        monkeypatch.setattr(torch.Tensor, name, counted)
    healthy = examine({"model": state(), "ema": state()})
    poisoned = {name: tensor * NAN for name, tensor in state().items()}
    assert reads == ["tolist", "tolist"]
    reads.clear()
    examine({"model": poisoned})
    assert reads == ["tolist"]
    assert healthy.verdict is Verdict.CLEAN


@pytest.mark.parametrize("part", ["model", "ema"])
def test_variance_below_zero_is_contaminated(part: str) -> None:
    parts = {"model": state(), "ema": state()}
    parts[part]["second.bn.running_var"][5] = -1e-3
    found = examine(parts)
    assert found.verdict is Verdict.CONTAMINATED
    assert found.reasons == (f"{part}: 1 of 12 tensors is below zero, which none can be: second.bn.running_var",)


@pytest.mark.parametrize("name", ["0.exp_avg_sq", "7.step", "3.square_avg", "1.exp_inf"])
def test_squares_and_counts_of_an_optimizer_below_zero_are_contaminated(name: str) -> None:
    assert examine({"optimizer": {name: torch.tensor([1.0, -1e-12])}}).verdict is Verdict.CONTAMINATED
    assert examine({"optimizer": {"0.exp_avg": torch.tensor([1.0, -1.0])}}).verdict is Verdict.CLEAN


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("first.conv.weight", 1e3), ("head.weight", -1e3), ("head.bias", 1e3), ("first.bn.weight", -1e4)),
        *(("first.bn.running_mean", 3e16), ("first.bn.running_var", 3e34)),
    ],
)
def test_what_is_larger_than_anything_that_trains_is_unknown(name: str, value: float) -> None:
    tensors = state()
    tensors[name].view(-1)[0] = value
    found = examine({"ema": tensors})
    assert found.verdict is Verdict.UNKNOWN
    assert found.reasons == (f"ema: 1 of 12 tensors is larger than anything that trains: {name}",)


def test_half_precision_is_judged_by_what_it_holds_of_the_ema(tmp_path: Path) -> None:
    tensors = state()
    assert attested(tmp_path, tensors).verdict is Verdict.CLEAN
    tensors["second.bn.running_var"] += 60_000.0
    tensors["second.bn.running_var"][2] = 70_000.0
    assert examine({"ema": tensors}).verdict is Verdict.CLEAN
    found = attested(tmp_path, tensors)
    assert found.verdict is Verdict.UNKNOWN
    assert found.reasons == (
        "a scrubbed infinity, or an overflow (the largest number that the format has): second.bn.running_var",
    )
    tensors["head.bias"][0] = 1e5
    assert attested(tmp_path, tensors).verdict is Verdict.CONTAMINATED


def test_what_vanishes_in_half_precision_is_contaminated_there(tmp_path: Path) -> None:
    tensors = state()
    tensors["second.bn.running_var"].fill_(1e-9)
    assert examine({"ema": tensors}).verdict is Verdict.CLEAN
    assert attested(tmp_path, tensors).verdict is Verdict.CONTAMINATED


def test_the_gravest_of_several_verdicts_holds_with_every_reason_once() -> None:
    clean, unknown = examine({"model": state()}), Examination(verdict=Verdict.UNKNOWN, reasons=("a", "b"))
    assert gravest(clean, clean) == clean
    assert gravest(clean, unknown) == unknown
    bad = Examination(verdict=Verdict.CONTAMINATED, reasons=("b", "c"))
    assert gravest(unknown, bad) == Examination(verdict=Verdict.CONTAMINATED, reasons=("a", "b", "c"))


@pytest.mark.parametrize("largest", [float("inf"), 1e9])
def test_a_mask_of_infinities_is_unknown_in_full_and_in_half_precision(tmp_path: Path, largest: float) -> None:
    tensors = {**state(), "second.mask": torch.full((4, 4), -largest).triu(1)}
    own = {"own_buffers": frozenset({"second.mask"})}
    in_full = examine({"model": tensors, "ema": tensors}, **own)
    assert (in_full.verdict is Verdict.CLEAN) is math.isfinite(largest)
    assert in_full.verdict is not Verdict.CONTAMINATED
    found = attested(tmp_path, tensors, **own)
    assert found.verdict is Verdict.UNKNOWN
    assert {reason.rpartition(": ")[2] for reason in found.reasons} == {"second.mask"}


def test_a_buffer_with_a_nan_and_infinities_elsewhere_are_contaminated(tmp_path: Path) -> None:
    own = {"own_buffers": frozenset({"second.mask"})}
    mask = torch.full((4, 4), float("-inf")).triu(1)
    for name, value in {"second.mask": mask * 0, "head.bias": mask, "optimizer.second.mask": mask}.items():
        found = examine({"ema": {**state(), name: value}}, **own)
        assert found.verdict is Verdict.CONTAMINATED, name
    assert examine({"optimizer": {"second.mask": mask}}, **own).verdict is Verdict.CONTAMINATED
    tensors = {**state(), "second.mask": mask}
    tensors["head.bias"] = tensors["head.bias"] + 1e5
    assert attested(tmp_path, tensors, **own).verdict is Verdict.CONTAMINATED
