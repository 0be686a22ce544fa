"""Runs as nobody hopes to have them, for the messages that are made of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tests.support.message_kinds import EPOCH_S, written
from tests.support.run_dirs import WrittenRun

BROKEN: Final = "nan"
"""As a record holds it."""


def many_epochs(folder: Path) -> WrittenRun:
    """In its fourth epoch of 400."""
    return written(folder, "night", epochs=400)


def one_point(folder: Path) -> WrittenRun:
    """It has trained one batch, and one row of its series is written."""
    run = WrittenRun(folder, "night", epochs=40, batches=5000)
    run.start_epoch(1, 0)
    run.series(epoch=1, batch=1, loss=4.0)
    run.beat(3.4 * EPOCH_S, epoch=1, batch=1)
    return run


def nan_everywhere(folder: Path) -> WrittenRun:
    """Every number that a training tells is none."""
    run = WrittenRun(folder, "night", epochs=40, batches=5000)
    nothing: dict[str, Any] = {"box_loss": BROKEN, "cls_loss": BROKEN}
    figures: dict[str, Any] = {"metrics/mAP50(B)": BROKEN, "metrics/mAP50-95(B)": BROKEN}
    for epoch in range(1, 4):
        run.start_epoch(epoch, (epoch - 1) * EPOCH_S)
        run.series(epoch=epoch, batch=1, loss=float("nan"), lr=BROKEN, grad_norm_max=BROKEN, grad_norm_p50=BROKEN)
        run.finish_epoch(
            epoch, epoch * EPOCH_S, losses=nothing, metrics=figures, fitness=BROKEN, lr=BROKEN, seconds=EPOCH_S
        )
        run.save_checkpoint(epoch, epoch * EPOCH_S, fitness=BROKEN)
    run.start_epoch(4, 3 * EPOCH_S)
    for number in range(12):
        run.bad_batch(4, 1000 + number, 3.3 * EPOCH_S, losses=nothing, grad_norm=BROKEN, lr=BROKEN, images=[])
    run.beat(
        3.4 * EPOCH_S,
        epoch=4,
        batch=1040,
        losses=nothing,
        lr=BROKEN,
        grad_norm=BROKEN,
        images_per_s=BROKEN,
        memory_gib=BROKEN,
        epoch_elapsed_s=BROKEN,
    )
    return run


def hostile_images(folder: Path) -> WrittenRun:
    """Bad batches whose images have names that mean something to Slack, or too much of a name."""
    run = written(folder, "night")
    names = ["<!channel>.jpg", "@everyone *bold*.png", "x" * 255, "\u05ea\u05de\u05d5\u202e.jpg", "`a` _b_ ~c~.jpg"]
    for number in range(3):
        run.bad_batch(4, 1100 + number, 3.35 * EPOCH_S, images=names * 4)
    return run


def long_name(folder: Path) -> WrittenRun:
    """A name of 200 characters."""
    return written(folder, "n" * 200)


def right_to_left(folder: Path) -> WrittenRun:
    """A name in Hebrew, with a mark that turns the direction of writing round."""
    return written(folder, "\u05dc\u05d9\u05dc\u05d4-\u202e7")


ODD_RUNS: Final[dict[str, Callable[[Path], WrittenRun]]] = {
    "400 epochs": many_epochs,
    "one point only": one_point,
    "NaN everywhere": nan_everywhere,
    "hostile images": hostile_images,
    "200 characters": long_name,
    "right to left": right_to_left,
}
