"""An optimizer whose numbers lie in anything but tensors, or that is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.unit.trainer.checkpoints.making import checkpoint_dict, judged, said, small_model
from trainmaster.trainer.contract import Verdict

NAN = float("nan")


def kept(key: str, value: object):
    def change(content: dict) -> None:
        content["optimizer"]["state"][0][key] = value

    return change


def group(key: str, value: object):
    def change(content: dict) -> None:
        content["optimizer"]["param_groups"][0][key] = value

    return change


def whole(value: object):
    def change(content: dict) -> None:
        content["optimizer"] = value

    return change


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (kept("step", NAN), "state.0.step"),
        (kept("step", np.float32(NAN)), "state.0.step.value"),
        (kept("momentum_buffer", [[0.5], [NAN]]), "state.0.momentum_buffer.1.0"),
        (kept("momentum_buffer", {"a": (NAN,)}), "state.0.momentum_buffer.a.0"),
        (kept("momentum_buffer", np.full(3, NAN, np.float32)), "state.0.momentum_buffer"),
        (kept("momentum_buffer", np.array([1.0, float("inf")])), "state.0.momentum_buffer"),
        (kept("momentum_buffer", np.full((2, 2), NAN, np.float16)), "state.0.momentum_buffer"),
        (group("lr", np.array(NAN)), "param_groups.0.lr"),
        (group("own", {"scale": NAN}), "param_groups.0.own.scale"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_number_that_is_not_finite_in_any_kind_of_holder_is_contaminated(tmp_path: Path, change, name: str) -> None:
    content = checkpoint_dict()
    change(content)
    found = judged(tmp_path, content)
    assert (found.verdict, found.resumable) == (Verdict.CONTAMINATED, False), said(found)
    assert f"optimizer: numbers beside its tensors are not finite: {name}" in said(found)


@pytest.mark.parametrize("rate", ["nan", "0.01", None, True, complex(0.1, 0)])
def test_rate_that_is_no_number_is_unknown(tmp_path: Path, rate: object) -> None:
    content = checkpoint_dict()
    content["optimizer"]["param_groups"][0]["lr"] = rate
    found = judged(tmp_path, content)
    assert (found.verdict, "lr of param_groups[0] is no number" in said(found)) == (Verdict.UNKNOWN, True), said(found)


@pytest.mark.parametrize(
    "change",
    [
        *(group(key, "1e-8") for key in ("eps", "weight_decay", "dampening", "initial_lr", "rho")),
        group("betas", ("0.9", "0.999")),
        group("weight_decay", None),
        *(group(key, "no") for key in ("nesterov", "maximize", "amsgrad", "foreach")),
        group("nesterov", [True]),
        group("maximize", True),
        group("warmup_lr", "nan"),
        group("own", {"scale": "-inf"}),
        kept("step", "3"),
        kept("momentum_buffer", "nan"),
    ],
)
def test_setting_that_is_a_text_or_no_switch_is_unknown(tmp_path: Path, change) -> None:
    content = checkpoint_dict()
    change(content)
    assert judged(tmp_path, content).verdict == Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ([group("growth_rate", float("inf"))], Verdict.UNKNOWN),
        ([group("alpha", 5.0)], Verdict.UNKNOWN),
        ([group("rho", 2.0)], Verdict.UNKNOWN),
        ([group("growth_rate", NAN)], Verdict.CONTAMINATED),
        ([group("alpha", float("inf"))], Verdict.CONTAMINATED),
        ([group("alpha", 5.0), group("centered", False)], Verdict.CONTAMINATED),
    ],
    ids=["prodigy", "ademamix", "asam", "nan", "infinite alpha", "rmsprop"],
)
def test_setting_that_an_optimizer_from_elsewhere_may_have_convicts_nobody(tmp_path: Path, changes, verdict) -> None:
    content = checkpoint_dict()
    for change in changes:
        change(content)
    assert judged(tmp_path, content).verdict == verdict


@pytest.mark.parametrize(
    "value",
    [{"x": 1}, {"state": {}, "param_groups": []}, {"state": {}, "param_groups": [{"lr": 0.1, "params": []}]}],
    ids=["something else", "no groups", "no parameters"],
)
def test_what_is_no_optimizer_is_not_resumed_from(tmp_path: Path, value: object) -> None:
    content = checkpoint_dict()
    content["optimizer"] = value
    found = judged(tmp_path, content)
    assert (found.verdict, found.resumable) == (Verdict.UNKNOWN, False), said(found)
    assert "not the state of one" in said(found)


def test_momentum_that_is_gone_after_two_epochs_is_unknown(tmp_path: Path) -> None:
    content = checkpoint_dict(epoch=2)
    content["optimizer"]["state"] = {}
    found = judged(tmp_path, content)
    assert (found.verdict, "keeps nothing of its parameters" in said(found)) == (Verdict.UNKNOWN, True), said(found)


def plain_sgd() -> dict:
    return torch.optim.SGD(small_model().parameters(), lr=0.1).state_dict()


@pytest.mark.parametrize(
    "change",
    [
        whole(plain_sgd()),
        kept("momentum_buffer", None),
        kept("step", 7),
        kept("momentum_buffer", np.ones(3, np.float32)),
        kept("seen", np.arange(3)),
        group("param_group", "weight"),
        group("fused", None),
        group("fused", np.bool_(True)),
        group("nesterov", 1),
        group("name", "infinite"),
        group("betas", (0.9, 0.999)),
    ],
)
def test_honest_optimizer_raises_no_alarm(tmp_path: Path, change) -> None:
    content = checkpoint_dict(epoch=3)
    change(content)
    found = judged(tmp_path, content)
    assert (found.verdict, found.resumable) == (Verdict.CLEAN, True), said(found)


@pytest.mark.parametrize("value", [NAN, float("inf"), np.float64(NAN), torch.tensor(NAN)], ids=repr)
@pytest.mark.parametrize("key", ["best_fitness", "best_epoch"])
def test_early_stopping_that_compares_with_what_is_no_number_is_unknown(tmp_path: Path, key: str, value) -> None:
    content = checkpoint_dict()
    content["stopper"][key] = value
    found = judged(tmp_path, content)
    assert (found.verdict, f"early stopping's {key} is" in said(found)) == (Verdict.UNKNOWN, True), said(found)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.update(best_fitness=1e30),
        lambda content: content.update(best_fitness=-1e10),
        lambda content: content["stopper"].update(best_fitness=1e30),
    ],
    ids=["best", "best below all", "of early stopping"],
)
def test_a_fitness_beyond_any_epochs_is_unknown(tmp_path: Path, change) -> None:
    content = checkpoint_dict()
    change(content)
    found = judged(tmp_path, content)
    assert (found.verdict, "fitness" in said(found)) == (Verdict.UNKNOWN, True), said(found)
