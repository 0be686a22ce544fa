"""float16 with its scaler, and bfloat16: a fault is told from an overflow by nature, and leaves no trace either."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch
from ultralytics.engine import trainer as engine

from trainmaster.trainer.batches import precision
from trainmaster.trainer.guard import GuardedDetectionTrainer
from trainmaster.trainer.selfcheck.made import IMGSZ, differing, events, kind_of, not_finite, quiet, settings
from trainmaster.trainer.selfcheck.report import Row, Status
from trainmaster.trainer.selfcheck.spoiled import Spoil
from trainmaster.trainer.selfcheck.traces import REASONS, leaves_no_trace, trained

HUGE_SCALE: Final = 2.0**48
"""No gradient survives this: the first steps overflow, as they do by nature when a scale is looked for."""
OVERFLOW_EPOCHS: Final = 7
"""Each overflow halves the scale once: 42 batches bring it down to where gradients fit."""


def rows(part: str, folder: Path, device: str | None) -> Iterator[Row]:
    """Rows of float16, then of bfloat16."""
    kind = kind_of(device)
    if kind == "mps":
        yield Row(part=part, name="float16", status=Status.SKIPPED, value="Ultralytics trains in float32 on MPS")
        return
    where = "on this device" if kind == "cuda" else "by the CPU's own autocast and scaler, standing in for a GPU"
    with half_on_a_cpu() if kind == "cpu" else contextlib.nullcontext():
        yield Row(part=part, name="float16", status=Status.TOLD, value=where)
        for fault in (Spoil.NAN_IMAGE, Spoil.NAN_BUFFER):
            given = _settings(folder, device, name=f"fp16-{fault.name.lower()}")
            yield leaves_no_trace(part, fault, REASONS[fault], given)
        yield _computed_again(part, _settings(folder, device))
        yield _overflow(part, folder, device)
    yield from _bfloat16(part, folder, device)


@contextlib.contextmanager
def half_on_a_cpu() -> Iterator[None]:
    """Within, Ultralytics takes a CPU for a device that trains in float16, with a real scaler."""
    of_engine, of_guard, of_torch = vars(engine), vars(precision), vars(torch.amp)
    before = of_engine["autocast"], of_guard["stock_autocast"], of_torch["GradScaler"]
    had_onednn = torch.backends.mkldnn.enabled

    def autocast(enabled: Any, device: str = "cpu") -> Any:
        return torch.autocast(device, dtype=torch.float16, enabled=bool(enabled))

    of_engine["autocast"] = of_guard["stock_autocast"] = autocast
    of_torch["GradScaler"] = lambda _, enabled=True: before[2]("cpu", enabled=enabled)
    # PyTorch's own kernels: those of oneDNN take four times as long where the processor has no arithmetic for it.
    torch.backends.mkldnn.enabled = False  # type: ignore[assignment]  # a property, declared as its descriptor
    try:
        yield
    finally:
        of_engine["autocast"], of_guard["stock_autocast"], of_torch["GradScaler"] = before
        torch.backends.mkldnn.enabled = had_onednn


def _settings(folder: Path, device: str | None, **changes: Any) -> dict[str, Any]:
    """Of a small training in float16; a CPU that has no arithmetic for it gets a quarter of the pixels."""
    size = {"imgsz": IMGSZ // 2} if kind_of(device) == "cpu" else {}
    return settings(folder, device, amp=True, **size, **changes)


def _computed_again(part: str, overrides: dict[str, Any]) -> Row:
    """A gradient that was spoilt once is no overflow and no bad batch: it is made again, at the same scale."""
    spoilt = trained(Spoil.NAN_GRADIENT, {**overrides, "name": "fp16-gradient"})
    untouched = trained(Spoil.NOTHING, {**overrides, "name": "fp16-untouched"})
    changed = differing(spoilt.after, untouched.after)
    told = [(row["reason"], row["action"]) for row in events(spoilt.save_dir, "bad_batch")]
    good = bool(spoilt.after) and not changed and told == [("nonfinite_gradient", "recomputed")]
    return Row(
        part=part,
        name="NaN in a gradient, once: made again with the same bits",
        status=Status.OK if good else Status.FAILED,
        value=f"{len(spoilt.after)} tensors compared, {len(changed)} differ",
        limit="0",
        detail="" if good else f"told: {told}; differ: {changed[:3]}",
    )


def _overflow(part: str, folder: Path, device: str | None) -> Row:
    """A scale that is too high makes steps overflow: the scaler's business, not a bad batch."""

    def raise_scale(trainer: Any) -> None:
        trainer.scaler.scale(torch.zeros((), device=trainer.device))
        trainer.scaler.update(HUGE_SCALE)

    given = _settings(folder, device, name="overflow", epochs=OVERFLOW_EPOCHS)
    trainer = GuardedDetectionTrainer(overrides=given)
    trainer.add_callback("on_train_start", raise_scale)
    with quiet():
        trainer.train()
    told = events(trainer.save_dir, "bad_batch")
    scale = float(trainer.scaler.get_scale())
    broken = not_finite(trainer)
    good = not told and scale < HUGE_SCALE and not broken
    return Row(
        part=part,
        name="overflow by nature is no bad batch",
        status=Status.OK if good else Status.FAILED,
        value=f"scale {HUGE_SCALE:.3g} came down to {scale:.3g}; {len(told)} bad batches told",
        limit="0 told",
        detail=f"not finite: {broken[:3]}" if broken else "",
    )


def _bfloat16(part: str, folder: Path, device: str | None) -> Iterator[Row]:
    name = "bfloat16"
    if kind_of(device) == "cuda" and not torch.cuda.is_bf16_supported():
        yield Row(part=part, name=name, status=Status.SKIPPED, value="this GPU has none")
        return
    given = settings(folder, device, name="bf16", amp="bf16")
    try:
        row = leaves_no_trace(part, Spoil.NAN_IMAGE, REASONS[Spoil.NAN_IMAGE], given)
    except (TypeError, ValueError) as error:  # an Ultralytics without it
        yield Row(part=part, name=name, status=Status.SKIPPED, value="not in this Ultralytics", detail=str(error)[:200])
        return
    yield replace(row, name=f"{name}: {row.name}")
