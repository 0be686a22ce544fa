"""Puts right what became bad outside the batch: the EMA, and the optimizer's own state and settings."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from torch import nn
from ultralytics.utils.torch_utils import unwrap_model

from trainmaster.trainer.batches.gradients import all_finite
from trainmaster.trainer.batches.optimizer_states import is_judged, num_ruined, start_over, states_of
from trainmaster.trainer.checkpoints.domains import domain_of
from trainmaster.trainer.checkpoints.held_numbers import leaves_of
from trainmaster.trainer.checkpoints.single_numbers import SETTINGS, setting_holds

FAR_BEYOND: Final = 100.0
"""Times what a weight can be: no average of weights within gets there, and one that once was larger is left alone."""


_STATISTICS: Final = (".running_var", ".running_mean", ".num_batches_tracked")


@torch.no_grad()
def heal_ema(ema: nn.Module, model: nn.Module) -> int:
    """Every tensor of ``ema`` that held what none can hold is that of ``model`` now; how many.

    That is a non-finite value, a variance or a count below 0, a running statistic beyond anything that trains, and a
    weight far beyond that where the live one is not. One NaN, or one 1e30, would stay in a running average for good.
    The live tensor is the best estimate there is. 0 costs two reads.
    """
    averaged = ema.state_dict()
    statistics = {name: value for name, value in averaged.items() if name.endswith(_STATISTICS)}
    weights = {name: value for name, value in averaged.items() if value.is_floating_point() and value.numel()}
    strays = [_is_stray(name, value) for name, value in statistics.items()]
    strays += [_is_beyond(name, value, FAR_BEYOND) for name, value in weights.items() if name not in statistics]
    if all_finite(averaged.values()) and not (strays and bool(torch.stack(strays).any())):
        return 0
    live = unwrap_model(model).state_dict()
    healed = 0
    for name, value in averaged.items():
        if name not in live or not (value.is_floating_point() or name in statistics):
            continue
        if name in statistics:
            bad = bool(_is_stray(name, value))
        else:
            bad = (
                name in weights and bool(_is_beyond(name, value, FAR_BEYOND)) and not bool(_is_beyond(name, live[name]))
            )
        if bad or not bool(torch.isfinite(value).all()):
            healed += not torch.equal(value, live[name])
            value.copy_(live[name])
    return healed


def _is_beyond(name: str, value: torch.Tensor, times: float = 1.0) -> torch.Tensor:
    """Whether any of ``value`` is larger than so many times what its tensor can hold, on its device."""
    return value.abs().amax() > domain_of("ema", name, value.ndim).largest * times


def _is_stray(name: str, value: torch.Tensor) -> torch.Tensor:
    """Whether running statistics have left their domain, on their device."""
    domain = domain_of("ema", name, value.ndim)
    beyond = _is_beyond(name, value)
    return beyond | (value.amin() < 0) if domain.nonnegative else beyond


@torch.no_grad()
def heal_optimizer(
    optimizer: torch.optim.Optimizer, *, largest: float = math.inf, leapt: Collection[torch.Tensor] = ()
) -> int:
    """The state of every parameter that held what none can hold starts over; how many tensors were bad.

    That is a non-finite value (of the numbers beside tensors, which some optimizers keep, only NaN), a square or a
    count below 0, a momentum beyond ``largest`` or a square beyond that of it, and what ``leapt``. All of a parameter's
    state starts over, its step count too: half an Adam state would take a step of thirty times its size. 0 costs two
    reads.
    """
    states = states_of(optimizer)
    held = [
        [(str(name), value) for name, value in state.items() if is_judged(value) and value.numel()] for state in states
    ]
    every = [one for own in held for one in own]
    signs = [_strays_from_a_step(name, value, largest).to(every[0][1].device) for name, value in every]
    strays = {id(value) for value in leapt}
    plain = [num_ruined(state) for state in states]
    if (
        not strays
        and not any(plain)
        and all_finite(value for _, value in every)
        and not (signs and bool(torch.stack(signs).any()))
    ):
        return 0
    num_bad = 0
    for state, own, num_plain in zip(states, held, plain, strict=True):
        bad = num_plain + sum(
            id(value) in strays
            or not bool(torch.isfinite(value).all())
            or bool(_strays_from_a_step(name, value, largest))
            for name, value in own
        )
        if bad:
            num_bad += bad
            start_over(state)
    return num_bad


def _strays_from_a_step(name: str, value: torch.Tensor, largest: float) -> torch.Tensor:
    """Whether a tensor of an optimizer's state holds what no step leaves there, on its device."""
    domain = domain_of("optimizer", str(name), value.ndim)
    if domain.nonnegative:
        beyond = domain.largest if name == "step" else largest * largest
        return (value.amin() < 0) | (value.amax() > beyond)
    if math.isinf(domain.largest) or math.isinf(largest):
        return value.new_zeros((), dtype=torch.bool)
    return value.abs().amax() > largest


def ema_fault(ema: Any) -> str | None:
    """The decay with which the next update of ``ema`` would spoil it, in words; None when it is between 0 and 1.

    Outside, the average runs away from what it is of. Reads no device.
    """
    decay = getattr(ema, "decay", None)
    updates = getattr(ema, "updates", 0)
    if isinstance(updates, float | np.floating) and not 0 <= updates < math.inf:
        return f"updates are {updates}"
    if decay is None or not getattr(ema, "enabled", True):
        return None
    if callable(decay):
        try:
            decay = decay(getattr(ema, "updates", 0) + 1)
        except OverflowError:  # of a count of updates that none can be
            return f"updates are {ema.updates}"
        except (TypeError, ValueError, ArithmeticError):  # an average of somebody's own, called in another way
            return None
    if isinstance(decay, torch.Tensor) and decay.device.type != "cpu":
        return None
    number = float_of(decay)
    return None if number is None or 0 <= number <= 1 else f"decay is {number:g}"


_EVERYWHERE: Final = frozenset({"lr", "initial_lr", "momentum", "weight_decay", "betas", "eps"})
"""Settings that mean the same to every optimizer."""
_PLAIN: Final = frozenset({type(None), bool, str})
"""Kinds of a setting that is no number, such as ``maximize``."""


def mend_settings(optimizer: torch.optim.Optimizer) -> str | None:
    """The optimizer's settings that none can have, with their values, put right; None when all can be.

    Reads no device, but for a setting that somebody keeps in a tensor there.
    """
    bad: dict[str, object] = {}
    for group in optimizer.param_groups:
        for name, value in group.items():
            default = optimizer.defaults.get(name)
            if name == "params" or (type(value) in _PLAIN and type(default) in _PLAIN):
                continue
            if _can_be(name, value, default, known=name in optimizer.defaults or name in SETTINGS):
                continue
            bad.setdefault(name, value)
            group[name] = default if _is_number(default) and _can_be(name, default, default, known=True) else 0.0
    return " and ".join(f"{name} is {value}" for name, value in bad.items()) or None


@contextmanager
def settings_to_save(optimizer: torch.optim.Optimizer) -> Iterator[str | None]:
    """Within, the optimizer's settings are ones that can be; those that were put right for that, with their values.

    After it they are as they were: a scheduler may set them anew before a step uses them, and the step judges.
    """
    before = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
    switches = [
        (group, name, value)
        for group, settings in zip(optimizer.param_groups, before, strict=True)
        for name, value in settings.items()
        if isinstance(value, bool) and _is_number(optimizer.defaults.get(name))
    ]
    for group, name, value in switches:  # ``weight_decay=False`` is one of 0, which a reader can't know
        group[name] = float(value)
    bad = mend_settings(optimizer)
    try:
        yield bad
    finally:
        if bad or switches:
            for group, settings in zip(optimizer.param_groups, before, strict=True):
                group.update(settings)


def _can_be(name: str, value: object, default: object, *, known: bool) -> bool:
    """Whether the setting ``name`` can be ``value``, of whatever kind that is.

    Where the optimizer's own default is a number, anything else can't be; what somebody keeps beside the settings that
    are ``known`` can be what it likes, but nothing with NaN in it. A name whose default is out of its range means
    something else to this optimizer: AdEMAMix has an ``alpha`` of 5, Prodigy a ``growth_rate`` that is infinite.
    """
    if not known:
        return not any(map(math.isnan, _numbers_of_note(value)))
    if value is None or isinstance(value, str):
        return not _is_number(default)
    if type(value) is float:  # nearly all, at every step
        return _holds(name, value) or _range_of(name, default)(value)
    holds = _range_of(name, default)
    parts = [float_of(part) for part in _flat(value)]
    wanted = _is_number(default)
    return (not wanted or bool(parts)) and all(not wanted if part is None else holds(part) for part in parts)


def _numbers_of_note(value: object) -> Iterator[float]:
    """The numbers of what somebody keeps there, in whatever it is kept; not those of a tensor of many, which is a mask
    or the like and may lie on a device."""
    for part in leaves_of(value):
        if isinstance(part, torch.Tensor) and part.numel() != 1:
            continue
        found = leaves_of(part.tolist()) if isinstance(part, np.ndarray) else (part,)
        yield from (number for one in found if not isinstance(one, bool) and (number := float_of(one)) is not None)


def _range_of(name: str, default: object) -> Callable[[float], bool]:
    """What numbers the setting can be."""
    if name in _EVERYWHERE or type(default) is not float or math.isnan(default) or _holds(name, default):
        return partial(_holds, name)
    return _is_a_number if math.isinf(default) else math.isfinite


def _holds(name: str, number: float) -> bool:
    return math.isfinite(number) and setting_holds(name, number)


def _is_a_number(number: float) -> bool:
    return not math.isnan(number)


def _is_number(default: object) -> bool:
    """Whether a setting with this default is a number, or several; reads no device."""
    if isinstance(default, tuple | list):
        return bool(default) and all(map(_is_number, default))
    return not isinstance(default, bool) and isinstance(default, float | int | np.number | np.ndarray | torch.Tensor)


def _flat(value: object) -> Iterator[object]:
    """What a setting consists of, one by one."""
    if isinstance(value, tuple | list):
        for part in leaves_of(value):
            yield from _flat(part)
    elif isinstance(value, torch.Tensor | np.ndarray):
        yield from leaves_of(value.tolist())
    else:
        yield value


def float_of(value: Any) -> float | None:
    """``value`` as a number, of whatever kind; None where it is none: text, a complex one, nothing."""
    if isinstance(value, str | bytes | np.complexfloating):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf
    except (TypeError, ValueError, RuntimeError):  # the last of a tensor of several numbers
        return None
