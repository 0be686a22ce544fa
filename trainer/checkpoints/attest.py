"""Judge live tensors at the moment they are saved: the only moment when nothing has been scrubbed yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch

from trainmaster.trainer.contract import Verdict

WEIGHT_PARTS: Final = frozenset({"model", "ema"})
"""Parts in which zeros can tell something; a momentum of zero is as good as any."""

NUM_NAMES_SHOWN: Final = 3

_HEALTHY, _NONFINITE, _ZERO = 0, 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What the live tensors say. ``reasons`` is empty when the verdict is clean."""

    verdict: Verdict
    reasons: tuple[str, ...]


def examine(parts: Mapping[str, Mapping[str, torch.Tensor]]) -> Examination:
    """Judge every floating tensor of ``parts`` (by part name: "model", "ema", "optimizer", any other).

    Non-finite values count everywhere. In "model" and "ema", so do a batch-norm ``running_var`` that is zero
    everywhere and a convolution whose weights are all zero: no stock layer starts or ends so, and a scrubbed NaN does.
    Reads the device once a part (and once more for a part on two devices).
    """
    reasons: list[str] = []
    num_judged = 0
    for part, tensors in parts.items():
        codes = _codes(tensors)
        num_judged += len(codes)
        nonfinite = [name for name, code in codes.items() if code == _NONFINITE]
        if nonfinite:
            reasons.append(f"{part}: {_count(nonfinite, len(codes))} not finite: {_names(nonfinite)}")
        if part in WEIGHT_PARTS:
            reasons += _dead(part, tensors, codes)
    if reasons:
        return Examination(verdict=Verdict.CONTAMINATED, reasons=tuple(reasons))
    if not num_judged:
        return Examination(verdict=Verdict.UNKNOWN, reasons=("no floating-point tensor to judge",))
    return Examination(verdict=Verdict.CLEAN, reasons=())


def _dead(part: str, tensors: Mapping[str, torch.Tensor], codes: Mapping[str, int]) -> list[str]:
    reasons = []
    variances = [name for name in codes if name.rpartition(".")[2] == "running_var"]
    dead = [name for name in variances if codes[name] == _ZERO]
    if dead:
        reasons.append(f"{part}: {_count(dead, len(variances), 'batch-norm variance')} zero everywhere: {_names(dead)}")
    convolutions = [name for name in codes if name.rpartition(".")[2] == "weight" and tensors[name].ndim >= 4]
    dead = [name for name in convolutions if codes[name] == _ZERO]
    if dead:
        reasons.append(f"{part}: {_count(dead, len(convolutions), 'convolution')} all zero: {_names(dead)}")
    return reasons


@torch.no_grad()
def _codes(tensors: Mapping[str, torch.Tensor]) -> dict[str, int]:
    """Per floating tensor with values: healthy, non-finite or all zero; one device-to-host read a device."""
    groups: dict[tuple[torch.device, torch.dtype], list[str]] = {}
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and tensor.numel():
            groups.setdefault((tensor.device, tensor.dtype), []).append(name)
    names: dict[torch.device, list[str]] = {}
    codes: dict[torch.device, list[torch.Tensor]] = {}
    for (device, _), group in groups.items():
        # The largest magnitude says both: it is not finite when any value is not, and zero when all are. The same
        # foreach call as in torch.nn.utils.get_total_norm; it has no public name.
        largest = torch.stack(torch._foreach_norm([tensors[name] for name in group], ord=float("inf")))  # noqa: SLF001
        code = torch.where(torch.isfinite(largest), (largest == 0) * _ZERO, _NONFINITE)
        names.setdefault(device, []).extend(group)
        codes.setdefault(device, []).append(code.to(torch.uint8))
    return {
        name: code
        for device, group in names.items()
        for name, code in zip(group, torch.cat(codes[device]).tolist(), strict=True)
    }


def _count(bad: list[str], num_all: int, what: str = "tensor") -> str:
    plural = "s" if num_all != 1 else ""
    return f"{len(bad)} of {num_all} {what}{plural} {'is' if len(bad) == 1 else 'are'}"


def _names(names: list[str]) -> str:
    shown = ", ".join(names[:NUM_NAMES_SHOWN])
    return shown if len(names) <= NUM_NAMES_SHOWN else f"{shown}, ..."
