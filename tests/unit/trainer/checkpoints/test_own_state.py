"""A file that lacks what a run goes on from, and what none needs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.unit.trainer.checkpoints.making import checkpoint_dict, judged, said, small_model, stepped_optimizer
from trainmaster.trainer.contract import Verdict

NAN = float("nan")


def own_state(**changes: object) -> dict:
    model = small_model()
    optimizer = stepped_optimizer(model).state_dict()
    return {
        "format": "trainmaster-state",
        "epoch": 2,
        "fitness": 0.5,
        "model": dict(model.state_dict()),
        "ema": dict(model.state_dict()),
        "ema_updates": 4,
        "optimizer": optimizer,
        "scaler": {},
        "trained_s": 1.5,
        "spikes": {"recent": [0.5], "limit": float("inf"), "run": 0, "age": 1},
        **changes,
    }


def without(part: str, name: str = "second.conv.weight") -> dict:
    weights = dict(small_model().state_dict())
    del weights[name]
    return {part: weights}


def reshaped() -> dict:
    return {"ema": {**small_model().state_dict(), "second.conv.weight": torch.rand(3, 3)}}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model": {}}, "holds no weights of the model"),
        ({"model": None}, "holds no weights of the model"),
        ({"ema": {}}, "holds no weights of the EMA"),
        ({"ema": None}, "holds no weights of the EMA"),
        (without("model"), "not of one kind: second.conv.weight"),
        (without("ema"), "not of one kind: second.conv.weight"),
        (reshaped(), "not of one kind: second.conv.weight"),
        ({"epoch": -7}, "epoch is -7"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_state_that_lacks_weights_is_not_resumed_from(tmp_path: Path, changes: dict, reason: str) -> None:
    found = judged(tmp_path, own_state(**changes))
    assert (found.verdict, found.resumable, reason in said(found)) == (Verdict.UNKNOWN, False, True), said(found)


@pytest.mark.parametrize(
    "changes",
    [
        {"fitness": NAN},
        {"trained_s": NAN},
        {"running": {"count": 3, "mean": {"box_loss": NAN}}},
        {"spikes": {"recent": [0.5, NAN], "limit": 1.0}},
        {"stopper": {"best_fitness": NAN}},
        {"criterion_updates": NAN},
        {"args": {"lr0": NAN}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_figure_of_the_run_that_is_not_a_number_is_unknown(tmp_path: Path, changes: dict) -> None:
    found = judged(tmp_path, own_state(**changes))
    assert (found.verdict, "what is not a number" in said(found)) == (Verdict.UNKNOWN, True), said(found)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"fitness": None},
        {"ema": {}, "ema_updates": 0},
        {"ema": {**small_model().state_dict(), "teacher_model.weight": torch.rand(3)}},
        {"model": {**small_model().state_dict(), "criterion.loss.weight": torch.rand(3)}},
    ],
    ids=["whole", "no fitness", "no EMA", "a teacher in the EMA", "a criterion that is a module"],
)
def test_honest_state_is_clean(tmp_path: Path, changes: dict) -> None:
    found = judged(tmp_path, own_state(**changes))
    assert (found.verdict, found.resumable) == (Verdict.CLEAN, True), said(found)


def fused(content: dict) -> None:
    layer = content["ema"].first
    layer.forward = layer.forward  # a method of its own, as Ultralytics' fused layers have forward_fuse there


def quantized(content: dict) -> None:
    content["ema"].register_buffer("scale", torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8))


def sparse(content: dict) -> None:
    content["optimizer"]["state"][0]["momentum_buffer"] = torch.eye(3).to_sparse()


def without_numbers(content: dict) -> None:
    content["ema"].register_buffer("mask", torch.empty(3, device="meta"))


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch's, of quantized tensors
@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (fused, Verdict.CLEAN),
        (quantized, Verdict.UNKNOWN),
        (sparse, Verdict.UNKNOWN),
        (without_numbers, Verdict.UNKNOWN),
    ],
)
def test_what_torch_makes_of_data_is_no_code_and_is_clean_only_where_it_was_judged(
    tmp_path: Path, change, verdict: Verdict
) -> None:
    content = checkpoint_dict()
    change(content)
    found = judged(tmp_path, content)
    assert found.verdict == verdict, said(found)


@pytest.mark.parametrize(
    ("place", "verdict"),
    [(("criterion",), Verdict.CLEAN), (("neck",), Verdict.UNKNOWN), (("head", "criterion"), Verdict.UNKNOWN)],
    ids=["criterion", "another module", "within another module"],
)
def test_a_module_that_is_gone_is_doubted_unless_ultralytics_took_it_out(
    tmp_path: Path, place: tuple[str, ...], verdict: Verdict
) -> None:
    content = checkpoint_dict()
    content["ema"].get_submodule(".".join(place[:-1])).register_module(place[-1], None)
    assert judged(tmp_path, content).verdict == verdict
