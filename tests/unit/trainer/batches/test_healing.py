from __future__ import annotations

import math
from collections import deque
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from ultralytics.utils.torch_utils import ModelEMA

from trainmaster.trainer.batches.healing import ema_fault, heal_ema, heal_optimizer, mend_settings, settings_to_save

NAN, INF = float("nan"), float("inf")


def optimizer(kind: str = "SGD") -> torch.optim.Optimizer:
    parameters = [torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(2))]
    groups = [{"params": [parameter], "param_group": name} for parameter, name in zip(parameters, "ab", strict=True)]
    extra: dict[str, Any] = {"momentum": 0.9} if kind in {"SGD", "RMSprop"} else {}
    made: torch.optim.Optimizer = getattr(torch.optim, kind)(groups, lr=0.01, **extra)
    return made


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "Adagrad", "Adadelta"])
def test_settings_as_torch_makes_them_pass(kind: str) -> None:
    assert mend_settings(optimizer(kind)) is None


@pytest.mark.parametrize(
    "make",
    [
        *(float, np.float16, np.float32, np.float64, np.longdouble, Decimal, complex, str, torch.tensor, np.array),
        lambda value: torch.tensor(value, dtype=torch.bfloat16),
        lambda value: torch.tensor([value]),
        lambda value: torch.tensor([0.1, value]),
        lambda value: np.array([value]),
        lambda value: np.array([[0.1, value]], dtype=np.float16),
        lambda value: np.array(value, dtype=object),
        lambda value: [[0.1], (np.array(value),)],
        lambda _: None,
        lambda _: (),
        lambda _: object(),
    ],
    ids=[
        *("float", "float16", "float32", "float64", "longdouble", "decimal", "complex", "text", "tensor", "array"),
        *("bfloat16", "tensor of one", "tensor of two", "array of one", "array of two", "array of objects"),
        *("nested", "none", "nothing", "anything"),
    ],
)
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *(("SGD", name) for name in ("lr", "momentum", "dampening", "weight_decay")),
        *(("Adam", name) for name in ("lr", "eps", "weight_decay")),
        *(("RMSprop", name) for name in ("alpha", "eps", "momentum")),
    ],
)
def test_nan_of_any_kind_is_told_and_put_right(kind: str, name: str, make) -> None:
    found = optimizer(kind)
    found.param_groups[1][name] = make(NAN)
    assert (mend_settings(found) or "").startswith(f"{name} is ")
    assert math.isfinite(found.param_groups[1][name])
    assert mend_settings(found) is None


@pytest.mark.parametrize(
    "make", [float, np.float32, np.array, torch.tensor], ids=["float", "float32", "array", "tensor"]
)
@pytest.mark.parametrize(
    ("name", "value"),
    [("initial_lr", NAN), ("lr", -INF), ("lr", -0.1), ("lr", 1e6), ("lr", INF), ("eps", -1e-8), ("weight_decay", INF)],
)
def test_what_no_setting_can_be_is_told(name: str, value: float, make) -> None:
    found = optimizer("Adam")
    found.param_groups[0][name] = make(value)
    assert mend_settings(found) is not None


FROM_ELSEWHERE = {"lr": 1.0, "alpha": 5.0, "growth_rate": INF, "lr_max": -1.0}


class FromElsewhere(torch.optim.Optimizer):
    """With settings as AdEMAMix, Prodigy and the schedule-free ones have them."""

    def __init__(self) -> None:
        super().__init__([torch.nn.Parameter(torch.ones(3))], dict(FROM_ELSEWHERE))


@pytest.mark.parametrize("made", [{}, {"alpha": 8}, {"growth_rate": 1.02}, {"growth_rate": np.float64(INF)}], ids=str)
def test_settings_that_another_s_optimizer_is_made_with_pass(made: dict[str, Any]) -> None:
    found = FromElsewhere()
    found.param_groups[0].update(made)
    assert mend_settings(found) is None


@pytest.mark.parametrize("value", [{"alpha": NAN}, {"alpha": INF}, {"growth_rate": NAN}, {"lr": INF}, {"lr_max": INF}])
def test_settings_that_no_optimizer_can_have_are_told_of_another_s_too(value: dict[str, float]) -> None:
    found = FromElsewhere()
    found.param_groups[0].update(value)
    assert mend_settings(found) is not None
    assert found.param_groups[0] == {**found.param_groups[0], **FROM_ELSEWHERE}
    assert mend_settings(found) is None


@pytest.mark.parametrize("dampening", [-INF, np.array(-INF), -1e9, 1e9], ids=["float", "array", "below", "above"])
def test_a_dampening_that_would_blow_up_the_momentum_is_told(dampening: Any) -> None:
    found = optimizer()
    found.param_groups[0]["dampening"] = dampening
    assert mend_settings(found) == f"dampening is {dampening}"
    assert found.param_groups[0]["dampening"] == 0


@pytest.mark.parametrize("dampening", [-0.5, 0, 0.9, 1.0, np.float32(0.1)], ids=str)
def test_a_dampening_that_somebody_may_use_is_left_alone(dampening: Any) -> None:
    found = optimizer()
    found.param_groups[0]["dampening"] = dampening
    assert mend_settings(found) is None
    assert found.param_groups[0]["dampening"] == dampening


@pytest.mark.parametrize(
    "rate",
    [
        *(0, True, 10**-2, Fraction(1, 100), Decimal("0.01"), np.float32(0.01), np.array(0.01), np.array([0.01])),
        *(np.int64(1), torch.tensor(0.01), torch.tensor([0.01]), torch.tensor(0.01, dtype=torch.float16)),
    ],
    ids=lambda rate: f"{type(rate).__name__} {rate}",
)
def test_a_number_of_any_kind_passes(rate: Any) -> None:
    found = optimizer()
    found.param_groups[0]["lr"] = rate
    assert mend_settings(found) is None
    assert found.param_groups[0]["lr"] is rate


def test_what_is_nothing_by_default_may_be_nothing() -> None:
    found = torch.optim.Adafactor([torch.nn.Parameter(torch.ones(3))])
    assert found.param_groups[0]["eps"][0] is None
    assert mend_settings(found) is None
    found.param_groups[0]["eps"] = (None, np.array(NAN))
    assert mend_settings(found) is not None


def test_a_rate_in_a_tensor_is_put_right_by_the_default() -> None:
    found = torch.optim.Adam([torch.nn.Parameter(torch.ones(3))], lr=torch.tensor(0.01))
    assert mend_settings(found) is None
    found.param_groups[0]["lr"] = torch.tensor(NAN)
    assert mend_settings(found) == "lr is nan"
    assert mend_settings(found) is None


@pytest.mark.parametrize(
    "betas",
    [
        (0.9, np.array(NAN)),
        (0.9, None),
        (0.9, "nan"),
        np.array([0.9, NAN]),
        (NAN, 0.999),
        (0.9, np.float32(NAN)),
        (0.9, torch.tensor(NAN)),
        (0.9, 1.0),
    ],
)
def test_betas_are_looked_at_one_by_one(betas: tuple[Any, Any]) -> None:
    found = optimizer("AdamW")
    found.param_groups[0]["betas"] = betas
    assert (mend_settings(found) or "").startswith("betas is ")
    assert found.param_groups[0]["betas"] == (0.9, 0.999)


def test_several_bad_settings_are_told_together() -> None:
    found = optimizer()
    found.param_groups[0] |= {"lr": NAN, "momentum": NAN}
    assert mend_settings(found) == "lr is nan and momentum is nan"


@pytest.mark.parametrize("value", [NAN, np.float32(NAN), torch.tensor(NAN)], ids=repr)
@pytest.mark.parametrize("name", ["lr", "initial_lr", "weight_decay", "eps", "betas"])
def test_settings_are_ones_that_can_be_while_they_are_saved_and_as_they_were_after(name: str, value: Any) -> None:
    found = optimizer("Adam")
    given = (0.9, value) if name == "betas" else value
    found.param_groups[1][name] = given
    with settings_to_save(found) as bad:
        assert (bad or "").startswith(f"{name} is ")
        assert mend_settings(found) is None
    assert found.param_groups[1][name] is given
    with settings_to_save(optimizer()) as bad:
        assert bad is None


def test_settings_of_somebodys_own_pass() -> None:
    found = optimizer()
    found.param_groups[0] |= {"layer": 3, "note": "x", "scales": [1.0, -2.0], "fn": len, "mask": torch.zeros(4)}
    found.param_groups[0] |= {
        "bias": torch.full((2, 2), -INF),
        "when": None,
        "on": True,
        "z": 1j,
        "order": np.array([]),
    }
    assert mend_settings(found) is None
    found.param_groups[0]["scales"] = [1.0, NAN]
    assert mend_settings(found) == "scales is [1.0, nan]"


@pytest.mark.parametrize("value", [NAN, np.float32(NAN), np.float64(NAN)], ids=repr)
def test_a_plain_number_of_an_optimizers_state_starts_over_with_all_of_its_parameter(value: Any) -> None:
    found = optimizer("Adam")
    first, second = (group["params"][0] for group in found.param_groups)
    first.grad, second.grad = torch.ones(3), torch.ones(2)
    found.step()
    for state in found.state.values():
        state |= {"RMS": 0.5, "rows": 3, "best": INF}
    assert heal_optimizer(found) == 0
    assert found.state[first]["RMS"] == 0.5
    found.state[first] |= {"RMS": value, "step": 7}
    assert heal_optimizer(found) == 1
    assert (found.state[first]["RMS"], found.state[first]["rows"], found.state[second]["RMS"]) == (0.0, 3, 0.5)
    assert found.state[first]["step"] == 0
    assert not any(found.state[first][name].any() for name in ("exp_avg", "exp_avg_sq"))
    assert found.state[second]["exp_avg"].all()
    assert heal_optimizer(found) == 0


def test_a_note_that_somebody_keeps_among_the_settings_may_be_infinite_and_of_any_kind() -> None:
    found = optimizer()
    endless: list[Any] = [0.5]
    endless.append(endless)
    notes = {"best": INF, "seen": deque([INF]), "by_name": {"a": -INF}, "loop": endless, "far": np.array([0.0, -INF])}
    found.param_groups[0] |= notes
    assert mend_settings(found) is None


@pytest.mark.parametrize(
    "note", [{"a": NAN}, {"a": [(NAN,)]}, deque([NAN]), {NAN}, np.array([1.0, NAN]), [np.float16(NAN)]], ids=repr
)
def test_nan_in_whatever_somebody_keeps_among_the_settings_is_told(note: Any) -> None:
    found = optimizer()
    found.param_groups[0]["note"] = note
    assert (mend_settings(found) or "").startswith("note is ")
    assert mend_settings(found) is None


def test_a_switch_that_stands_for_a_number_is_saved_as_one() -> None:
    found = optimizer()
    found.param_groups[0] |= {"weight_decay": False, "lr": True}
    with settings_to_save(found) as bad:
        assert bad is None
        assert [type(found.param_groups[0][name]) for name in ("weight_decay", "lr", "nesterov")] == [
            float,
            float,
            bool,
        ]
    assert (found.param_groups[0]["weight_decay"], found.param_groups[0]["lr"]) == (False, True)


@pytest.mark.parametrize("kind", ["SGD", "Adam", "Adamax", "NAdam", "RAdam", "RMSprop", "Rprop", "Adadelta"])
def test_a_state_that_starts_over_steps_as_a_new_one(kind: str) -> None:
    healed, new = (torch.nn.Parameter(torch.ones(3)) for _ in range(2))
    made = [getattr(torch.optim, kind)([one], lr=0.1) for one in (healed, new)]
    healed.grad = torch.full((3,), 5.0)
    made[0].step()
    for value in made[0].state[healed].values():
        if isinstance(value, torch.Tensor) and value.ndim:
            value[0] = NAN
    heal_optimizer(made[0])
    with torch.no_grad():
        healed.copy_(new)
    for one, optimizer in zip((healed, new), made, strict=True):
        one.grad = torch.ones(3)
        optimizer.step()
    assert torch.equal(healed, new)


@pytest.mark.parametrize("name", ["momentum_buffer", "slow", "lists", "array", "numbers"])
def test_a_state_with_a_copy_of_the_weights_is_made_anew_and_not_of_zeros(name: str) -> None:
    found = optimizer()
    first, second = (group["params"][0] for group in found.param_groups)
    for parameter in (first, second):
        own = {"slow": parameter.detach().clone(), "lists": [torch.ones(2)], "array": np.ones(2), "numbers": (1.0, 2)}
        found.state[parameter] |= {"momentum_buffer": torch.ones_like(parameter), **own}
    assert heal_optimizer(found) == 0
    match name:
        case "momentum_buffer" | "slow":
            found.state[first][name][1] = NAN
        case "lists" | "array":
            found.state[first][name] = [torch.tensor([NAN])] if name == "lists" else np.array([NAN])
        case "numbers":
            found.state[first][name] = (1.0, {"a": NAN})
    assert heal_optimizer(found) == 1
    assert found.state[first] == {}
    assert found.state[second]["slow"].all()
    assert heal_optimizer(found) == 0


def test_what_an_optimizer_keeps_beside_its_parameters_is_looked_at_where_it_can_be() -> None:
    found = optimizer()
    first = found.param_groups[0]["params"][0]
    found.state["steps"] = 3
    found.state["all"] = {"norm": NAN}
    found.state[first] = {"sparse": torch.ones(2).to_sparse(), "order": torch.arange(3)}
    assert heal_optimizer(found) == 1
    assert (found.state["all"], found.state["steps"]) == ({"norm": 0.0}, 3)
    assert len(found.state[first]) == 2


def models() -> tuple[torch.nn.Module, torch.nn.Module]:
    torch.manual_seed(0)
    made = [torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)) for _ in range(2)]
    for model in made:
        model(torch.randn(2, 3, 8, 8))
    return made[0], made[1]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("1.running_var", value) for value in (NAN, INF, -0.5, 3e30)),
        *(("1.running_mean", value) for value in (NAN, 3e12)),
        *(("0.weight", value) for value in (NAN, 1e30, -1e6)),
        ("1.num_batches_tracked", -1),
    ],
)
def test_what_an_average_cannot_hold_is_the_live_value(name: str, value: float) -> None:
    ema, live = models()
    ema.state_dict()[name].view(-1)[-1] = value
    assert heal_ema(ema, live) == 1
    assert torch.equal(ema.state_dict()[name], live.state_dict()[name])
    assert heal_ema(ema, live) == 0


@pytest.mark.parametrize(("average", "now"), [(1e6, 2e6), (150.0, 99.0)], ids=["live too", "hardly beyond"])
def test_an_average_of_weights_that_were_as_large_is_left_alone(average: float, now: float) -> None:
    ema, live = models()
    ema.state_dict()["0.weight"].view(-1)[1] = average
    live.state_dict()["0.weight"].view(-1)[1] = now
    assert heal_ema(ema, live) == 0


def test_an_ordinary_average_is_left_alone() -> None:
    ema, live = models()
    before = {name: value.clone() for name, value in ema.state_dict().items()}
    assert heal_ema(ema, live) == 0
    assert all(torch.equal(before[name], value) for name, value in ema.state_dict().items())


@pytest.mark.parametrize("decay", [2.0, -0.1, NAN, INF, np.array(NAN), torch.tensor(2.0), 2], ids=repr)
@pytest.mark.parametrize("make", [lambda value: lambda _: value, lambda value: value], ids=["called", "plain"])
def test_a_decay_that_none_can_have_is_told(decay: Any, make: Any) -> None:
    ema = ModelEMA(torch.nn.Linear(2, 2))
    ema.decay = make(decay)
    assert (ema_fault(ema) or "").startswith("decay is ")
    ema.enabled = False
    assert ema_fault(ema) is None


def test_a_count_of_updates_that_none_can_be_is_told() -> None:
    ema = ModelEMA(torch.nn.Linear(2, 2))
    ema.updates = -5
    assert ema_fault(ema) == "decay is -0.0020018"
    ema.updates = -(10**9)
    assert ema_fault(ema) == "updates are -1000000000"
    for updates in (NAN, INF, np.float64(INF)):
        ema.updates = updates
        assert ema_fault(ema) == f"updates are {updates}"


@pytest.mark.parametrize(
    "ema",
    [
        None,
        ModelEMA(torch.nn.Linear(2, 2)),
        ModelEMA(torch.nn.Linear(2, 2), updates=10**9),
        SimpleNamespace(),
        SimpleNamespace(decay=0.999),
        SimpleNamespace(decay=lambda: 2.0),
        SimpleNamespace(decay=lambda _: None, updates=3),
        SimpleNamespace(decay=lambda _: 1.0, updates=None),
    ],
)
def test_any_average_that_can_be_passes(ema: Any) -> None:
    assert ema_fault(ema) is None
