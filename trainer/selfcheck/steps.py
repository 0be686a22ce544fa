"""What the guard costs a step at level guard, against stock at the same settings: time, device waits, memory."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import torch
from ultralytics.models.yolo.detect import DetectionTrainer

from trainmaster.trainer.guard import GuardedDetectionTrainer
from trainmaster.trainer.selfcheck.made import kind_of, make_data, quiet, settings
from trainmaster.trainer.selfcheck.memory import bytes_held
from trainmaster.trainer.selfcheck.paired import Cost, Watch, both_ways
from trainmaster.trainer.selfcheck.reads import counted
from trainmaster.trainer.selfcheck.report import Row, Status

RATIO_LIMIT: Final = 1.01
BUDGET_S: Final = 60.0
"""For the paired steps of both orders, both trainers."""
WARMING: Final = 3
MIN_TURNS, MAX_TURNS = 6, 200
KEPT: Final = 4
MODEL: Final = "yolo11n.yaml"
SIZES: Final = {"cuda": (640, 16), "mps": (320, 8), "cpu": (160, 16)}
"""Image size and batch: of a usual training on a device, and of one that a CPU can do in the time there is."""


def rows(part: str, folder: Path, device: str | None) -> Iterator[Row]:
    """What a step costs: time, waits for the device, memory."""
    kind = kind_of(device)
    if kind == "cpu":
        torch.set_num_threads(1)
    imgsz, batch = SIZES[kind]
    few = settings(folder, device, **_size(folder, imgsz, batch, batches=5))
    yield from _waits(part, few, kind)
    step_s = _calibrated(few)
    watch = Watch.of(kind)
    turns = int(BUDGET_S / (4 * step_s * watch.steps))
    turns = max(MIN_TURNS, min(MAX_TURNS, turns)) + WARMING
    many = settings(folder, device, **_size(folder, imgsz, batch, batches=turns * watch.steps))
    pairs = both_ways(
        (DetectionTrainer, GuardedDetectionTrainer),
        ({**many, "name": "stock"}, {**many, "name": "guarded", "level": "guard", "snapshot_s": 0}),
        watch,
        warming=WARMING,
        kept=KEPT,
    )
    yield _time(part, Cost.of(pairs), f"{MODEL}, {batch} of {imgsz} px")


def _size(folder: Path, imgsz: int, batch: int, *, batches: int) -> dict[str, Any]:
    images = KEPT * batch
    data = make_data(folder / f"data{batches}", images=images, imgsz=imgsz, repeat=-(-batches * batch // images))
    return {"model": MODEL, "data": str(data), "imgsz": imgsz, "batch": batch, "nbs": batch, "name": f"few{batches}"}


def _calibrated(overrides: dict[str, Any]) -> float:
    """Seconds a step of stock takes here, once warm."""
    trainer = DetectionTrainer(overrides=overrides)
    starts: list[float] = []
    trainer.add_callback("on_train_batch_start", lambda _: starts.append(time.perf_counter()))
    with quiet():
        trainer.train()
    return statistics.median(later - earlier for earlier, later in itertools.pairwise(starts[1:]))


def _waits(part: str, overrides: dict[str, Any], kind: str) -> Iterator[Row]:
    peaks: list[int] = []
    medians: list[float] = []
    for name, trainer_class in (("stock", DetectionTrainer), ("guarded", GuardedDetectionTrainer)):
        given = {**overrides, "name": f"waits-{name}"}
        if trainer_class is GuardedDetectionTrainer:
            given |= {"level": "guard", "snapshot_s": 0}
        if kind == "cuda":
            torch.cuda.reset_peak_memory_stats()
        found, trainer = counted(trainer_class, given, kind)
        medians.append(statistics.median(found))
        peaks.append(torch.cuda.max_memory_allocated() if kind == "cuda" else 0)
        if kind == "cuda":
            del trainer
            torch.cuda.empty_cache()
    more = medians[1] - medians[0]
    yield Row(
        part=part,
        name="waits for the device a step",
        status=Status.OK if more <= 0 else Status.FAILED,
        value=f"stock {medians[0]:g}, guarded {medians[1]:g}",
        limit="0 more",
        detail="" if kind == "cuda" else "counted as operations that would wait on a device",
    )
    if kind == "cuda":
        yield Row(
            part=part,
            name="peak device memory",
            status=Status.TOLD,
            value=f"stock {peaks[0] / 2**20:.0f} MiB, guarded {(peaks[1] - peaks[0]) / 2**20:+.1f} MiB",
        )
        return
    held = bytes_held(trainer)
    yield Row(
        part=part,
        name="memory beside the model",
        status=Status.OK if held.guard <= held.limit else Status.FAILED,
        value=f"{held.guard / 1e6:.3f} MB in {held.num_tensors} tensors",
        limit=f"{held.limit / 1e6:.3f} MB",
        detail=f"the weights are {held.weights / 1e6:.1f} MB",
    )


def _time(part: str, cost: Cost, what: str) -> Row:
    low, high = cost.bounds
    status = Status.FAILED if low > RATIO_LIMIT else Status.OK if high <= RATIO_LIMIT else Status.UNDECIDED
    return Row(
        part=part,
        name="step time, guarded to stock",
        status=status,
        value=f"{cost.ratio:.4f} (95 %: {low:.4f} to {high:.4f})",
        limit=f"{RATIO_LIMIT}",
        detail=f"{what}; {len(cost.differences_s)} pairs; stock {cost.stock_s * 1e3:.1f} ms, "
        f"guarded {cost.added_s * 1e3:+.2f} ms",
    )
