"""Judge live tensors at the moment they are saved, the only one when nothing has been scrubbed yet, and their file."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from trainmaster.trainer.checkpoints.domains import WEIGHT_PARTS, Domain, domain_of
from trainmaster.trainer.checkpoints.forensics import judge
from trainmaster.trainer.checkpoints.live_layers import outlying_live, suspects
from trainmaster.trainer.checkpoints.naming import few
from trainmaster.trainer.contract import Verdict

HALF_LARGEST: Final = 65504
"""The largest number of half precision (IEEE 754), to which Ultralytics' ``save_model`` scrubs an infinity."""

_HEALTHY, _NONFINITE, _ZERO, _EXPLODED, _NEGATIVE, _SUSPECT = 0, 1, 2, 3, 4, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What the live tensors say. ``reasons`` is empty when the verdict is clean."""

    verdict: Verdict
    reasons: tuple[str, ...]


def examine(
    parts: Mapping[str, Mapping[str, torch.Tensor]], *, own_buffers: AbstractSet[str] = frozenset()
) -> Examination:
    """Judge every floating tensor of ``parts`` (by part name: "model", "ema", "optimizer", any other).

    Non-finite values count everywhere, and so do values below zero of which a root is taken. In "model" and "ema", so
    do a batch-norm ``running_var`` that is zero everywhere and a convolution whose weights are all zero: no stock layer
    starts or ends so, and a scrubbed NaN does. A tensor larger than anything that trains is unknown, and so is what
    :func:`live_layers.outlying_live` finds, and one of ``own_buffers`` (names of a module's own buffers there) that
    holds infinities and no NaN, as a mask does. Reads the device once a part (and once more for a part on two devices,
    and for each layer that looks odd).
    """
    reasons: list[str] = []
    doubts: list[str] = []
    num_judged = 0
    for part, tensors in parts.items():
        codes = _codes(part, tensors)
        num_judged += len(codes)
        nonfinite = [name for name, code in codes.items() if code == _NONFINITE]
        masks = [name for name in nonfinite if part in WEIGHT_PARTS and _is_mask(name, tensors[name], own_buffers)]
        if masks:
            doubts.append(f"{part}: infinities in a module's own buffers: {few(masks)}")
        if nonfinite := [name for name in nonfinite if name not in masks]:
            reasons.append(f"{part}: {_count(nonfinite, len(codes))} not finite: {few(nonfinite)}")
        negative = [name for name, code in codes.items() if code == _NEGATIVE]
        if negative:
            reasons.append(f"{part}: {_count(negative, len(codes))} below zero, which none can be: {few(negative)}")
        exploded = [name for name, code in codes.items() if code == _EXPLODED]
        if exploded:
            what = f"{_count(exploded, len(codes))} larger than anything that trains"
            doubts.append(f"{part}: {what}: {few(exploded)}")
        if part in WEIGHT_PARTS:
            reasons += _dead(part, tensors, codes)
            odd = [name for name, code in codes.items() if code == _SUSPECT]
            doubts += [f"{part}: {why}" for why in outlying_live(tensors, odd)]
    if reasons:
        return Examination(verdict=Verdict.CONTAMINATED, reasons=(*reasons, *doubts))
    if doubts:
        return Examination(verdict=Verdict.UNKNOWN, reasons=tuple(doubts))
    if not num_judged:
        return Examination(verdict=Verdict.UNKNOWN, reasons=("no floating-point tensor to judge",))
    return Examination(verdict=Verdict.CLEAN, reasons=())


@torch.no_grad()
def examine_halved(tensors: Mapping[str, torch.Tensor], *, own_buffers: AbstractSet[str] = frozenset()) -> Examination:
    """Judge what Ultralytics' half-precision checkpoint holds of the EMA ``tensors``, which may say less than they do.

    A weight above 65504 becomes an infinity and is scrubbed to 65504: contaminated. So is a variance or a convolution
    that is zero in half precision. A running statistic or one of ``own_buffers`` that is cut there is unknown: it may
    be an honest overflow.
    """
    halved = {name: value.half() for name, value in tensors.items() if value.is_floating_point()}
    found = examine({"ema": halved}, own_buffers=own_buffers)
    if found.verdict is not Verdict.CONTAMINATED:
        return found
    codes = _codes("ema", halved)
    cut = [
        name
        for name, code in codes.items()
        if code == _NONFINITE and name not in own_buffers and bool(torch.isfinite(tensors[name]).all())
    ]
    if not cut:
        return found
    why = f"ema: {_count(cut, len(codes))} above {HALF_LARGEST}, which half precision cannot hold: {few(cut)}"
    for name in cut:
        torch.nan_to_num_(halved[name])
    rest = examine({"ema": halved}, own_buffers=own_buffers)
    only_statistics = all(name.rpartition(".")[2].startswith("running_") for name in cut)
    verdict = Verdict.UNKNOWN if only_statistics else Verdict.CONTAMINATED
    verdict = Verdict.CONTAMINATED if rest.verdict is Verdict.CONTAMINATED else verdict
    return Examination(verdict=verdict, reasons=(why, *rest.reasons))


def gravest(*examinations: Examination) -> Examination:
    """One examination that says what all of them say."""
    order = (Verdict.CONTAMINATED, Verdict.UNKNOWN, Verdict.CLEAN)
    verdict = min((one.verdict for one in examinations), key=order.index)
    return Examination(
        verdict=verdict, reasons=tuple(dict.fromkeys(reason for one in examinations for reason in one.reasons))
    )


def shown_by(path: Path) -> Examination:
    """What the file at ``path`` shows against itself; clean where that is nothing.

    Raises:
        OSError: it can't be read.
    """
    found = judge(path)
    if found.verdict is not Verdict.CONTAMINATED and not found.doubt_stands:
        return Examination(verdict=Verdict.CLEAN, reasons=())
    return Examination(verdict=found.verdict, reasons=found.reasons)


def _is_mask(name: str, tensor: torch.Tensor, own_buffers: AbstractSet[str]) -> bool:
    return name in own_buffers and not bool(torch.isnan(tensor).any())


def _dead(part: str, tensors: Mapping[str, torch.Tensor], codes: Mapping[str, int]) -> list[str]:
    reasons = []
    variances = [name for name in codes if name.rpartition(".")[2] == "running_var"]
    dead = [name for name in variances if codes[name] == _ZERO]
    if dead:
        reasons.append(f"{part}: {_count(dead, len(variances), 'batch-norm variance')} zero everywhere: {few(dead)}")
    convolutions = [name for name in codes if name.rpartition(".")[2] == "weight" and tensors[name].ndim >= 4]
    dead = [name for name in convolutions if codes[name] == _ZERO]
    if dead:
        reasons.append(f"{part}: {_count(dead, len(convolutions), 'convolution')} all zero: {few(dead)}")
    return reasons


@torch.no_grad()
def _codes(part: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, int]:
    """Per floating tensor with values what it is; one device-to-host read a device."""
    groups: dict[tuple[torch.device, torch.dtype], list[str]] = {}
    domains: dict[str, Domain] = {}
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and tensor.numel():
            groups.setdefault((tensor.device, tensor.dtype), []).append(name)
            domains[name] = domain_of(part, name, tensor.ndim)
    names: dict[torch.device, list[str]] = {}
    codes: dict[torch.device, list[torch.Tensor]] = {}
    for (device, _), group in groups.items():
        # The largest magnitude says three things: it is not finite when any value is not, zero when all are, and beyond
        # the domain when any is. The same foreach call as in torch.nn.utils.get_total_norm; it has no public name.
        largest = torch.stack(torch._foreach_norm([tensors[name] for name in group], ord=float("inf")))  # noqa: SLF001
        bounds = torch.tensor([domains[name].largest for name in group], dtype=largest.dtype, device=device)
        code = torch.where(largest > bounds, _EXPLODED, (largest == 0) * _ZERO)
        if part in WEIGHT_PARTS:
            code = torch.where((code == _HEALTHY) & suspects(tensors, group, largest), _SUSPECT, code)
        signed = [place for place, name in enumerate(group) if domains[name].nonnegative]
        if signed:
            lowest = torch.stack([tensors[group[place]].amin() for place in signed])
            code[signed] = torch.where(lowest < 0, _NEGATIVE, code[signed])
        code = torch.where(torch.isfinite(largest), code, _NONFINITE)
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
