"""Judge live tensors at the moment they are saved, the only one when nothing has been scrubbed yet, and their file."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

import torch

from trainmaster.trainer.checkpoints.container import content_of
from trainmaster.trainer.checkpoints.domains import WEIGHT_PARTS, Domain, domain_of
from trainmaster.trainer.checkpoints.forensics import judge_content
from trainmaster.trainer.checkpoints.naming import few
from trainmaster.trainer.checkpoints.plain_file import opened_plain
from trainmaster.trainer.contract import Verdict

_HEALTHY, _NONFINITE, _EXPLODED, _NEGATIVE = 0, 1, 2, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What the live tensors say. ``reasons`` is empty when the verdict is clean."""

    verdict: Verdict
    reasons: tuple[str, ...]


def examine(
    parts: Mapping[str, Mapping[str, torch.Tensor]], *, own_buffers: AbstractSet[str] = frozenset()
) -> Examination:
    """Judge what files that are made of ``parts`` ("model", "ema", any other) may not show any more: one is scrubbed,
    and of the EMA alone. All else is told by :func:`shown_by`.

    Non-finite values count everywhere, and so do values below zero of which a root is taken. A tensor larger than
    anything that trains is unknown, and so is one of ``own_buffers`` (names of a module's own buffers there) that holds
    infinities and no NaN, as a mask does. Reads the device once a part (and once more for a part on two devices).
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
    if reasons:
        return Examination(verdict=Verdict.CONTAMINATED, reasons=(*reasons, *doubts))
    if doubts:
        return Examination(verdict=Verdict.UNKNOWN, reasons=tuple(doubts))
    if not num_judged:
        return Examination(verdict=Verdict.UNKNOWN, reasons=("no floating-point tensor to judge",))
    return Examination(verdict=Verdict.CLEAN, reasons=())


def gravest(*examinations: Examination) -> Examination:
    """One examination that says what all of them say."""
    order = (Verdict.CONTAMINATED, Verdict.UNKNOWN, Verdict.CLEAN)
    verdict = min((one.verdict for one in examinations), key=order.index)
    return Examination(
        verdict=verdict, reasons=tuple(dict.fromkeys(reason for one in examinations for reason in one.reasons))
    )


def shown_by(path: Path) -> Examination:
    """What the file at ``path`` shows against itself; clean where that is nothing, unknown where none of it is read.

    Raises:
        OSError: it can't be read.
    """
    with opened_plain(path) as stream:
        found = judge_content(path, content_of(stream))
    if found.verdict is not Verdict.CONTAMINATED and not found.doubt_stands and found.num_tensors:
        return Examination(verdict=Verdict.CLEAN, reasons=())
    return Examination(verdict=found.verdict, reasons=found.reasons)


def _is_mask(name: str, tensor: torch.Tensor, own_buffers: AbstractSet[str]) -> bool:
    return name in own_buffers and not bool(torch.isnan(tensor).any())


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
        # The largest magnitude says two things: it is not finite when any value is not, and beyond the domain when any
        # is. The same foreach call as in torch.nn.utils.get_total_norm; it has no public name.
        largest = torch.stack(torch._foreach_norm([tensors[name] for name in group], ord=float("inf")))  # noqa: SLF001
        bounds = torch.tensor([domains[name].largest for name in group], dtype=largest.dtype, device=device)
        code = torch.where(largest > bounds, _EXPLODED, _HEALTHY)
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


def _count(bad: list[str], num_all: int) -> str:
    plural = "s" if num_all != 1 else ""
    return f"{len(bad)} of {num_all} tensor{plural} {'is' if len(bad) == 1 else 'are'}"
