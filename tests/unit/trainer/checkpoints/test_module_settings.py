"""Numbers that a module carries beside its tensors: one that none can be makes NaN of a model of finite weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.unit.trainer.checkpoints.making import checkpoint_dict, judged, said
from trainmaster.trainer.contract import Verdict

NAN, INF = float("nan"), float("inf")


def set_in(place: str, key: str, value: object):
    def change(content: dict) -> None:
        setattr(content["ema"].get_submodule(place), key, value)

    return change


def replace_activation(module: nn.Module):
    def change(content: dict) -> None:
        content["ema"].first.act = module

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (set_in("first.bn", "eps", NAN), "a setting of its modules is not a number: first.bn.eps"),
        (set_in("first.bn", "eps", np.float64(NAN)), "not a number: first.bn.eps"),
        (set_in("first.bn", "eps", -1e-3), "that none can be: first.bn.eps is -0.001"),
        (set_in("first.bn", "eps", 1e30), "that none can be: first.bn.eps is 1e+30"),
        (set_in("first.bn", "eps", INF), "that none can be: first.bn.eps is inf"),
        (set_in("second.bn", "momentum", NAN), "not a number: second.bn.momentum"),
        (set_in("second.bn", "momentum", -0.1), "that none can be: second.bn.momentum is -0.1"),
        (set_in("second.bn", "momentum", 2.0), "that none can be: second.bn.momentum is 2"),
        (replace_activation(nn.LeakyReLU(NAN)), "not a number: first.act.negative_slope"),
        (set_in("", "stride", [8.0, NAN]), "not a number: stride"),
        (set_in("", "stride", torch.tensor([8.0, NAN])), "not a number: stride"),
        (set_in("", "stride", torch.tensor([8.0, -16.0])), "that none can be: stride is -16"),
        (set_in("first", "scales", {"a": [1.0, (NAN,)]}), "not a number: first.scales"),
        (set_in("first", "scale", complex(0, NAN)), "not a number: first.scale"),
    ],
    ids=lambda value: value[-40:] if isinstance(value, str) else "",
)
def test_setting_that_none_can_be_is_contaminated(tmp_path: Path, change, reason: str) -> None:
    content = checkpoint_dict()
    change(content)
    found = judged(tmp_path, content)
    assert (found.verdict, found.resumable, reason in said(found)) == (Verdict.CONTAMINATED, False, True), said(found)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (set_in("first.bn", "eps", 0.0), "odd: first.bn.eps is 0"),
        (set_in("", "stride", torch.zeros(3)), "odd: stride is 0"),
        (set_in("", "stride", torch.full((3,), 1e9)), "odd: stride is 1e+09"),
        (set_in("first.conv", "stride", (0, 0)), "odd: first.conv.stride is 0"),
        (set_in("first", "limit", INF), "infinite: first.limit"),
        (set_in("first.conv", "weight", None), "without the numbers that it works with: first.conv"),
        (set_in("first.bn", "running_var", None), "without the numbers that it works with: first.bn"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_setting_that_may_have_a_reason_is_unknown(tmp_path: Path, change, reason: str) -> None:
    content = checkpoint_dict()
    change(content)
    found = judged(tmp_path, content)
    assert (found.verdict, reason in said(found)) == (Verdict.UNKNOWN, True), said(found)


@pytest.mark.parametrize(
    "change",
    [
        set_in("first.bn", "momentum", None),
        set_in("first.bn", "momentum", 0.0),
        set_in("first.bn", "eps", 1e-3),
        set_in("", "stride", torch.tensor([8.0, 16.0, 32.0])),
        set_in("", "names", {0: "nan", 1: "inf"}),
        set_in("first", "momentum", 5.0),
        replace_activation(nn.Hardtanh(-INF, INF)),
        replace_activation(nn.PReLU()),
        replace_activation(nn.BatchNorm2d(8, affine=False)),
        replace_activation(nn.BatchNorm2d(8, track_running_stats=False)),
    ],
)
def test_honest_setting_raises_no_alarm(tmp_path: Path, change) -> None:
    content = checkpoint_dict()
    change(content)
    found = judged(tmp_path, content)
    assert found.verdict is Verdict.CLEAN, said(found)
