"""An undisturbed guarded training is stock's, and a bad batch leaves every tensor as it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import torch
from ultralytics.models.yolo.detect import DetectionTrainer

from trainmaster.trainer.checkpoints.naming import some
from trainmaster.trainer.guard import GuardedDetectionTrainer
from trainmaster.trainer.selfcheck.made import BATCHES, differing, events, not_finite, quiet, settings, tensors
from trainmaster.trainer.selfcheck.report import Row, Status
from trainmaster.trainer.selfcheck.spoiled import Spoil, SpoiledTrainer, SpoilPlan

SPOILT: Final = 2
"""The batch that goes wrong, from 0: neither the first nor the last."""
REASONS: Final = {
    Spoil.NAN_IMAGE: "nonfinite_loss",
    Spoil.NAN_GRADIENT: "nonfinite_gradient",
    Spoil.NAN_BUFFER: "nonfinite_batchnorm",
}


def rows(part: str, folder: Path, device: str | None) -> Iterator[Row]:
    """One row for the undisturbed training, one a fault, one for memory that runs out."""
    yield from _like_stock(part, folder, device)
    for fault, reason in REASONS.items():
        yield leaves_no_trace(part, fault, reason, settings(folder, device, name=fault.name.lower()))
    yield _out_of_memory(part, folder, device)


def leaves_no_trace(part: str, fault: Spoil, reason: str, overrides: dict[str, Any]) -> Row:
    """Every tensor of a trainer is the same before and after the spoilt batch, which is told by its reason."""
    trainer = trained(fault, overrides)
    changed = differing(trainer.before, trainer.after)
    told = [(row["batch"], row["reason"], row["action"]) for row in events(trainer.save_dir, "bad_batch")]
    broken = not_finite(trainer)
    as_it_should = told == [(SPOILT + 1, reason, "skipped")]
    good = bool(trainer.before) and not changed and not broken and as_it_should
    problems = [
        *(["the batch was never seen"] if not trainer.before else []),
        *([f"changed: {some(changed)}"] if changed else []),
        *([f"not finite at the end: {some(broken)}"] if broken else []),
        *([f"told: {told}"] if not as_it_should else []),
    ]
    return Row(
        part=part,
        name=str(fault),
        status=Status.OK if good else Status.FAILED,
        value=f"{len(trainer.before)} tensors compared, {len(changed)} changed",
        limit="0",
        detail="; ".join(problems),
    )


def trained(fault: Spoil, overrides: dict[str, Any]) -> SpoiledTrainer:
    """A trainer after its training, in which batch :data:`SPOILT` went wrong."""
    kind = type("Spoiled", (SpoiledTrainer,), {"plan": SpoilPlan(fault=fault, batch=SPOILT)})
    trainer: SpoiledTrainer = kind(overrides=overrides)
    with quiet():
        trainer.train()
    return trainer


def _like_stock(part: str, folder: Path, device: str | None) -> Iterator[Row]:
    with quiet():
        guarded = GuardedDetectionTrainer(overrides=settings(folder, device, name="guarded", level="guard"))
        guarded.train()
        stock = _stock(guarded, "stock")
    changed = differing(tensors(guarded), stock)
    detail = ""
    status = Status.OK
    if changed:
        with quiet():
            again = _stock(guarded, "stock-again")
        own = differing(stock, again)
        # Not the guard's doing where stock does not repeat itself either.
        status = Status.UNDECIDED if own else Status.FAILED
        detail = f"differ: {some(changed)}" + (f"; stock differs from itself in {len(own)} too" if own else "")
    yield Row(
        part=part,
        name="undisturbed, guarded and stock end with the same bits",
        status=status,
        value=f"{len(stock)} tensors compared, {len(changed)} differ",
        limit="0",
        detail=detail,
    )


def _stock(like: Any, name: str) -> dict[str, torch.Tensor]:
    given = {key: value for key, value in vars(like.args).items() if key not in {"save_dir", "resume"}}
    trainer = DetectionTrainer(overrides={**given, "name": name})
    trainer.train()
    return tensors(trainer)


def _out_of_memory(part: str, folder: Path, device: str | None) -> Row:
    """In the first epoch Ultralytics goes on with half the batch; the guard must not be in the way."""
    name = "out of memory in the first epoch"
    try:
        trainer = trained(Spoil.OUT_OF_MEMORY, settings(folder, device, name="oom"))
    except torch.OutOfMemoryError as error:
        return Row(part=part, name=name, status=Status.SKIPPED, value="ends the run here", detail=str(error))
    num_seen = trainer.guard.position.batches
    good = trainer.batch_size == trainer.args.nbs // 2 and num_seen == 2 * BATCHES
    return Row(
        part=part,
        name=name,
        status=Status.OK if good else Status.FAILED,
        value=f"went on with batches of {trainer.batch_size}, {num_seen} an epoch",
    )
