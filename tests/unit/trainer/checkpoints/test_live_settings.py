from __future__ import annotations

import functools
import math
import weakref
from array import array
from collections import ChainMap, Counter, OrderedDict, UserDict, UserList, defaultdict, deque
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from ultralytics.utils import IterableSimpleNamespace

from tests.unit.trainer.checkpoints.making import checkpoint_dict, judged, said, small_model
from trainmaster.trainer.checkpoints.attest import shown_by
from trainmaster.trainer.checkpoints.forensics import STATE_FORMAT
from trainmaster.trainer.checkpoints.live_settings import examine_settings
from trainmaster.trainer.checkpoints.state import save_state
from trainmaster.trainer.contract import Verdict
from trainmaster.trainer.state.full_state import plain

NAN = math.nan


def test_modules_as_they_are_made_are_clean() -> None:
    model = small_model()
    model.stride = torch.tensor([8.0, 16.0])  # type: ignore[assignment]
    assert examine_settings("ema", model).verdict is Verdict.CLEAN
    assert examine_settings("ema", model).reasons == ()


@pytest.mark.parametrize(
    ("place", "name", "value", "reason"),
    [
        ("first.bn", "eps", NAN, "a setting of its modules is not a number: first.bn.eps"),
        ("first.bn", "eps", 1e18, "a setting of its modules that none can be: first.bn.eps is 1e+18"),
        ("second.bn", "momentum", -3.0, "a setting of its modules that none can be: second.bn.momentum is -3"),
        ("", "stride", torch.tensor([8.0, NAN]), "a setting of its modules is not a number: stride"),
        ("head", "scales", [1.0, {"up": NAN}], "a setting of its modules is not a number: head.scales"),
    ],
    ids=["nan eps", "huge eps", "odd momentum", "stride", "nested"],
)
def test_what_a_live_module_carries_is_judged_as_in_its_file(
    tmp_path: Path, place: str, name: str, value: Any, reason: str
) -> None:
    content = checkpoint_dict()
    setattr(content["ema"].get_submodule(place), name, value)
    found = examine_settings("ema", content["ema"])
    assert (found.verdict, found.reasons) == (Verdict.CONTAMINATED, (f"ema: {reason}",))
    in_file = judged(tmp_path, content)
    assert (in_file.verdict, reason in said(in_file)) == (Verdict.CONTAMINATED, True), said(in_file)


class Bounds(NamedTuple):
    low: float
    high: float


def cyclic() -> list[Any]:
    held: list[Any] = [1.0, {"within": deque([2.0])}]
    held[1]["within"].append(held)
    held[1]["within"].append({NAN})
    return held


CONTAINERS = {
    "set": lambda value: {1.0, value},
    "frozenset": lambda value: frozenset({value, 2.0}),
    "deque": lambda value: deque([1.0, value]),
    "deque of a length": lambda value: deque([value, 1.0], maxlen=4),
    "defaultdict": lambda value: defaultdict(float, {"a": value}),
    "ordered dict": lambda value: OrderedDict([("a", value)]),
    "counter": lambda value: Counter({"a": value}),
    "namespace": lambda value: SimpleNamespace(low=value),
    "namespace of Ultralytics's": lambda value: IterableSimpleNamespace(low=[value]),
    "nested": lambda value: (deque([{"a": SimpleNamespace(b=frozenset({value}))}]),),
    "float16": np.float16,
    "float32": np.float32,
    "float64": np.float64,
    "complex64": lambda value: np.complex64(complex(1.0, value)),
    "complex128": lambda value: np.complex128(complex(value, 1.0)),
    "complex": lambda value: complex(0.0, value),
    "list of float32": lambda value: [np.float32(value)],
}
OF_NO_CHECKPOINT = {
    "array": lambda value: array("d", [1.0, value]),
    "array of singles": lambda value: array("f", [value]),
    "named tuple": lambda value: Bounds(0.0, value),
    "user's list": lambda value: UserList([value]),
    "user's dict": lambda value: UserDict({"a": value}),
    "chained dicts": lambda value: ChainMap({}, {"a": [value]}),
}
"""In a file, these are taken for code."""


@pytest.mark.parametrize("make", CONTAINERS.values(), ids=CONTAINERS)
def test_a_number_is_found_in_any_container_and_of_any_kind_alive_and_in_a_file(tmp_path: Path, make: Any) -> None:
    content = checkpoint_dict()
    content["ema"].first.limits = make(0.5)
    assert examine_settings("ema", content["ema"]).verdict is Verdict.CLEAN
    assert judged(tmp_path, content).verdict is Verdict.CLEAN, said(judged(tmp_path, content))
    content["ema"].first.limits = make(NAN)
    reason = "a setting of its modules is not a number: first.limits"
    assert examine_settings("ema", content["ema"]).reasons == (f"ema: {reason}",)
    assert reason in said(judged(tmp_path, content))


def assert_only_nan_is_bad(make: Any) -> None:
    """What ``make`` holds a number in is clean on a module with 0.5, and contaminated with NaN."""
    model = small_model()
    model.limits = make(0.5)
    assert examine_settings("ema", model).verdict is Verdict.CLEAN
    model.limits = make(NAN)
    assert examine_settings("ema", model).verdict is Verdict.CONTAMINATED


@pytest.mark.parametrize("make", OF_NO_CHECKPOINT.values(), ids=OF_NO_CHECKPOINT)
def test_a_number_is_found_in_what_no_checkpoint_holds_alive(make: Any) -> None:
    assert_only_nan_is_bad(make)


def test_containers_that_hold_each_other_end(tmp_path: Path) -> None:
    content = checkpoint_dict()
    content["ema"].first.limits = cyclic()
    assert "first.limits" in said(judged(tmp_path, content))
    assert examine_settings("ema", content["ema"]).verdict is Verdict.CONTAMINATED


@pytest.mark.parametrize(
    "held",
    [
        {"nan", b"nan", None, True, np.bool_(True), np.str_("nan")},
        10**400,
        SimpleNamespace(patience=math.inf),
        np.array([1.0]),
        range(3),
        math.sqrt,
    ],
    ids=["no numbers", "a huge number", "no end", "an array", "a range", "a function"],
)
def test_what_is_no_nan_raises_no_alarm_alive(held: Any) -> None:
    model = small_model()
    model.args = held
    assert examine_settings("ema", model).verdict is Verdict.CLEAN


def test_arguments_of_a_run_without_end_raise_no_alarm_in_a_file(tmp_path: Path) -> None:
    content = checkpoint_dict()
    content["ema"].args = IterableSimpleNamespace(patience=math.inf, lr0=0.01)
    assert judged(tmp_path, content).verdict is Verdict.CLEAN, said(judged(tmp_path, content))


def state_with(what: str, value: Any) -> dict[str, Any]:
    """Of an optimizer that has stepped; ``value`` is among its settings or in its state."""
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([parameter], lr=torch.tensor(0.1), momentum=0.9)
    parameter.grad = torch.ones(3)
    optimizer.step()
    (optimizer.param_groups[0] if what == "setting" else optimizer.state[parameter])["own"] = value
    return optimizer.state_dict()


def shown_of(tmp_path: Path, optimizer: dict[str, Any]) -> Verdict:
    """What a full state with ``optimizer`` is attested by."""
    weights = small_model().state_dict()
    state = {"format": STATE_FORMAT, "epoch": 1, "model": weights, "ema": weights, "optimizer": plain(optimizer)}
    save_state(tmp_path / "epoch0001.pt", state)
    return shown_by(tmp_path / "epoch0001.pt").verdict


@pytest.mark.parametrize("what", ["setting", "state"])
@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        *((value, Verdict.CLEAN) for value in (1.0, [2.0, {"a": 3}], torch.ones(2), None, True)),
        *((value, Verdict.CONTAMINATED) for value in ([NAN], {"a": (1.0, NAN)})),
        *((value, Verdict.UNKNOWN) for value in ("nan", {"a": {"b": "nan"}})),
    ],
    ids=repr,
)
def test_what_an_optimizer_keeps_is_told_by_its_file(tmp_path: Path, what: str, value: Any, verdict: Verdict) -> None:
    assert shown_of(tmp_path, state_with(what, value)) is verdict


@pytest.mark.parametrize(
    "value", [torch.ones(1, dtype=torch.complex64), torch.ones(2).to_sparse()], ids=["z", "sparse"]
)
def test_a_state_that_nobody_can_judge_is_unknown(tmp_path: Path, value: torch.Tensor) -> None:
    assert shown_of(tmp_path, state_with("state", value)) is Verdict.UNKNOWN


def test_a_rate_in_a_tensor_is_judged_as_any_other(tmp_path: Path) -> None:
    state = state_with("setting", None)
    assert shown_of(tmp_path, state) is Verdict.CLEAN
    state["param_groups"][0]["lr"] = torch.tensor(NAN)
    assert shown_of(tmp_path, state) is Verdict.CONTAMINATED


class Lazy(dict):  # type: ignore[type-arg]
    def values(self) -> Any:
        raise RuntimeError


class Endless(list):  # type: ignore[type-arg]
    def __iter__(self) -> Any:
        while True:
            yield 1.0


class Odd(float):
    def __float__(self) -> float:
        raise RuntimeError


class Stranger:
    @property
    def __class__(self) -> Any:
        raise RuntimeError


@dataclass(slots=True)
class Slotted:
    eps: float
    late: float = field(init=False)


@dataclass
class Plain:
    eps: float

    @property
    def slope(self) -> float:
        raise RuntimeError


@pytest.mark.parametrize(
    "make",
    [
        lambda value: Lazy(a=value),
        lambda value: Endless([value]),
        Odd,
        lambda value: MappingProxyType(Lazy(a=value)),
        lambda value: ChainMap(Lazy(a=value)),
        Slotted,
        Plain,
        lambda value: functools.partial(print, end=value),
        lambda value: [0.5] * 1000 + [value, 2],
        lambda value: dict.fromkeys(range(1000), 0.5) | {"last": value},
        lambda value: array("d", [0.5] * 1000 + [value]),
    ],
    ids=[
        *("lazy", "endless", "odd", "view", "chain", "slots", "dataclass", "partial", "many", "many by name"),
        "many in an array",
    ],
)
def test_no_code_of_what_holds_a_number_runs(make: Any) -> None:
    assert_only_nan_is_bad(make)


def dead() -> Any:
    return weakref.proxy(Plain(1.0))


ODD: dict[str, Any] = {
    "stranger": Stranger,
    "dead": dead,
    "seconds": lambda: np.timedelta64(5, "s"),
    "no time": lambda: np.timedelta64("NaT"),
    "no date": lambda: np.datetime64("NaT"),
    "huge": lambda: [10**400] * 100,
    "switches": lambda: [True] * 100,
    "a great many": lambda: [0.5] * 300_000,
    "texts": lambda: np.array(["nan"]),
    "infinite": lambda: np.array([math.inf]),
    "empty": lambda: np.array([]),
    "mask": lambda: torch.full((2,), -math.inf),
    "nothing": lambda: torch.zeros(0),
    "sparse": lambda: torch.ones(2).to_sparse(),
    "meta": lambda: torch.empty(2, device="meta"),
}


@pytest.mark.parametrize("make", ODD.values(), ids=ODD)
def test_what_is_odd_and_well_raises_no_alarm_alive(make: Any) -> None:
    model = small_model()
    vars(model)["held"] = make()
    assert examine_settings("ema", model).verdict is Verdict.CLEAN


def test_a_generator_is_not_used_up() -> None:
    model = small_model()
    model.numbers = (number for number in (NAN, NAN))
    assert examine_settings("ema", model).verdict is Verdict.CLEAN
    assert len(list(model.numbers)) == 2


@pytest.mark.parametrize("make", [torch.tensor, np.array, lambda value: [torch.tensor(value)]], ids=["z", "n", "list"])
def test_nan_in_a_tensor_that_is_no_weight_is_unknown_alive_as_in_a_file(tmp_path: Path, make: Any) -> None:
    content = checkpoint_dict()
    content["ema"].first.anchors = make([1.0, NAN])
    live = examine_settings("ema", content["ema"])
    assert live.verdict is Verdict.UNKNOWN
    assert "first.anchors" in live.reasons[0]
    assert judged(tmp_path, content).verdict is Verdict.UNKNOWN
