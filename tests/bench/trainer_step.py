"""What the guard costs a step at level standard, against stock Ultralytics at equal settings: time, reads, memory.

``python -m tests.bench.trainer_step [steps=60] [imgsz=160] [batch=16]``. On a shared machine two runs one after the
other differ by more than a guard costs. So both trainers run in one process, each in a thread of its own, and take
turns step by step (A B B A): the same batches, the same weights to the last bit, never both at once. A step is all that
the loop does from getting a batch to asking for the next, in processor time of that thread, with one thread for
arithmetic and no garbage collection. Then the two change threads. What counts is the difference within each pair; its
median has an interval from 10,000 bootstrap samples.

What the guard adds hardly depends on the size of a batch, and the noise does: so the same is measured with small
batches, which tells the milliseconds more sharply, and against which a step of any size can be held.
"""

from __future__ import annotations

import contextlib
import gc
import io
import logging
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("YOLO_CONFIG_DIR", tempfile.mkdtemp())
os.environ["OMP_NUM_THREADS"] = "1"  # torch.set_num_threads holds for the thread that calls it only

from trainmaster import GuardedDetectionTrainer

import torch  # isort: skip - after the environment is set
from torch.utils._python_dispatch import TorchDispatchMode  # isort: skip
from ultralytics.models.yolo.detect import DetectionTrainer  # isort: skip

from tests.bench._guard_memory import bytes_held
from trainmaster.trainer.data.digits import make
from trainmaster.trainer.levels import GUARD_ONLY, settings_of

RATIO_LIMIT: Final = 1.01
NUM_WARMING: Final = 4
"""Steps of each trainer left out: allocators and caches fill."""
SMALL_IMGSZ: Final = 32
SMALL_BATCH: Final = 4
NUM_RESAMPLES: Final = 10_000
COLLECT_EVERY: Final = 20
READS: Final = ("aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::is_nonzero")
NO_CHANCE: Final = dict.fromkeys(
    ("mosaic", "mixup", "hsv_h", "hsv_s", "hsv_v", "translate", "scale", "fliplr", "erasing", "close_mosaic"), 0
)
"""Augmentation off: both trainers see the same pixels."""


class Turns:
    """Lets two threads run one at a time, in the order A B, then A B B A for ever."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._number = 0
        self._over: set[int] = set()

    def wait(self, me: int) -> None:
        """Return when it is the turn of ``me``."""
        with self._changed:
            self._changed.wait_for(lambda: self._over or self._whose() == me)

    def give(self, me: int) -> None:
        """The turn of ``me`` is over; return when its next one begins."""
        with self._changed:
            self._number += 1
            self._changed.notify_all()
        self.wait(me)

    def leave(self, me: int) -> None:
        """``me`` takes no turns any more."""
        with self._changed:
            self._over.add(me)
            self._changed.notify_all()

    def _whose(self) -> int:
        return (0, 1)[self._number] if self._number < 2 else (0, 1, 1, 0)[(self._number - 2) % 4]


class Metered:
    """A data loader's iterator that times what the loop does between two batches, and takes turns in between."""

    def __init__(self, iterator: Any, meter: Meter) -> None:
        self._iterator = iterator
        self._meter = meter

    def __next__(self) -> Any:
        self._meter.end()
        batch = next(self._iterator)
        self._meter.begin()
        return batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._iterator, name)


class Meter:
    """Processor seconds of each step of one trainer."""

    def __init__(self, turns: Turns, me: int) -> None:
        self._turns = turns
        self._me = me
        self._began: float | None = None
        self.seconds: list[float] = []

    def begin(self) -> None:
        """A step begins."""
        self._began = time.thread_time()

    def end(self) -> None:
        """It is over, unless none had begun; the other trainer's turn."""
        now = time.thread_time()
        if self._began is not None:
            self.seconds.append(now - self._began)
        self._began = None
        if not len(self.seconds) % COLLECT_EVERY:
            gc.collect()
        self._turns.give(self._me)

    def attach(self, trainer: Any) -> None:
        """``trainer`` is metered from its first batch on; its end of an epoch is no step."""
        loader = trainer.train_loader
        plain = loader._get_iterator
        loader._get_iterator = lambda: Metered(plain(), self)

    def forget(self, _: Any) -> None:
        """What runs now is no step."""
        if self._began is not None:
            self.seconds.append(time.thread_time() - self._began)
            self._began = None


def side_by_side(kinds: Sequence[type], overrides: Sequence[dict[str, Any]]) -> list[list[float]]:
    """Seconds of each step of two trainers that take turns."""
    turns = Turns()
    meters = [Meter(turns, number) for number in range(2)]
    failed: list[BaseException] = []

    def run(me: int) -> None:
        try:
            torch.set_num_threads(1)
            turns.wait(me)
            trainer = kinds[me](overrides=overrides[me])
            trainer.add_callback("on_train_start", meters[me].attach)
            trainer.add_callback("on_train_epoch_end", meters[me].forget)
            trainer.train()
        except BaseException as error:  # noqa: BLE001 - raised again where the threads are joined
            failed.append(error)
        finally:
            turns.leave(me)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    gc.collect()
    gc.disable()
    with quiet():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    gc.enable()
    if failed:
        raise failed[0]
    return [meter.seconds for meter in meters]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No output."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


class Reads(TorchDispatchMode):
    """Counts operations that make the host wait for a device. On a CPU all tensors are host tensors, so those that
    would be on the host anyway (the guard's running mean) are told by identity, and the guard's own ``tolist`` of a
    tensor on the device, which a CPU does without an operation, is counted by hand."""

    def __init__(self, trainer: Any) -> None:
        super().__init__()
        self.trainer = trainer
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._schema.name in READS:
            guard = getattr(self.trainer, "guard", None)
            on_host = guard is not None and any(args[0] is value for value in guard.running.shown.values())
            self.count += not on_host
        return func(*args, **(kwargs or {}))


def counted(kind: type, overrides: dict[str, Any]) -> tuple[list[int], Any]:
    """Reads of each step, and the trainer after them."""
    trainer = kind(overrides=overrides)
    reads: list[int] = []
    state: dict[str, Any] = {}

    def begin(_: Any) -> None:
        state["mode"] = Reads(trainer)
        state["mode"].__enter__()

    def end(_: Any) -> None:
        state["mode"].__exit__(None, None, None)
        reads.append(state["mode"].count)

    trainer.add_callback("on_train_batch_start", begin)
    trainer.add_callback("on_train_batch_end", end)
    plain = torch.Tensor.tolist

    def tolist(tensor: torch.Tensor) -> Any:
        if "mode" in state and tensor.ndim:
            state["mode"].count += 1
        return plain(tensor)

    if kind is GuardedDetectionTrainer:
        torch.Tensor.tolist = tolist  # type: ignore[method-assign]
    try:
        with quiet():
            trainer.train()
    finally:
        torch.Tensor.tolist = plain  # type: ignore[method-assign]
    return reads[2:], trainer


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """Pairs of steps, stock and guarded, of one size."""

    imgsz: int
    batch: int
    stock_s: float
    differences_s: tuple[float, ...]

    @classmethod
    def of(cls, root: Path, *, steps: int, imgsz: int, batch: int) -> Steps:
        """Measured twice, with the threads exchanged."""
        common = training(root, batches=steps + NUM_WARMING, imgsz=imgsz, batch=batch)
        kinds = (DetectionTrainer, GuardedDetectionTrainer)
        overrides = [{**common, "name": f"{kind.__name__}{imgsz}"} for kind in kinds]
        stock, guarded = side_by_side(kinds, overrides)
        guarded_first, stock_second = side_by_side(kinds[::-1], overrides[::-1])
        pairs = [
            *list(zip(stock, guarded, strict=True))[NUM_WARMING:],
            *list(zip(stock_second, guarded_first, strict=True))[NUM_WARMING:],
        ]
        return cls(
            imgsz=imgsz,
            batch=batch,
            stock_s=statistics.median(theirs for theirs, _ in pairs),
            differences_s=tuple(mine - theirs for theirs, mine in pairs),
        )

    @property
    def added_s(self) -> float:
        """What the guard adds to a step."""
        return statistics.median(self.differences_s)

    @property
    def ratio(self) -> float:
        """A guarded step to a stock one."""
        return 1 + self.added_s / self.stock_s

    @property
    def bounds(self) -> tuple[float, float]:
        """Of the ratio, 95 %."""
        low_s, high_s = interval(self.differences_s)
        return 1 + low_s / self.stock_s, 1 + high_s / self.stock_s

    def text(self) -> str:
        """One line."""
        low, high = self.bounds
        low_s, high_s = ((bound - 1) * self.stock_s for bound in (low, high))
        return (
            f"{self.batch} of {self.imgsz} px, {len(self.differences_s)} pairs: stock {self.stock_s * 1e3:.1f} ms, "
            f"guarded {self.added_s * 1e3:+.2f} ms ({low_s * 1e3:+.2f} to {high_s * 1e3:+.2f}), "
            f"ratio {self.ratio:.4f} ({low:.4f} to {high:.4f})"
        )


def training(root: Path, *, batches: int, imgsz: int, batch: int) -> dict[str, Any]:
    """One epoch of so many batches at level standard's settings, for a stock trainer or a guarded one."""
    level = {key: value for key, value in settings_of("standard").items() if key not in GUARD_ONLY}
    return {
        **level, **NO_CHANCE, "model": "yolo11n.yaml", "imgsz": imgsz, "batch": batch, "nbs": batch, "epochs": 1,
        "data": str(one_epoch(root, batches=batches, batch=batch, imgsz=max(imgsz, 96))), "device": "cpu",
        "project": str(root / "runs"), "exist_ok": True, "plots": False, "verbose": False, "val": False, "workers": 0,
    }  # fmt: skip


def one_epoch(root: Path, *, batches: int, batch: int, imgsz: int) -> Path:
    """A data set of so many batches, which are few images again and again."""
    root = root / f"{batches}x{batch}"
    data = make(root, images=100, imgsz=imgsz, digits=400, progress=False)
    images = sorted((root / "images" / "train").iterdir())
    listed = [str(images[number % len(images)]) for number in range(batches * batch)]
    (root / "train.txt").write_text("\n".join(listed), encoding="utf-8")
    text = data.read_text(encoding="utf-8")
    assert "train: images/train\n" in text
    data.write_text(text.replace("train: images/train\n", "train: train.txt\n"), encoding="utf-8")
    return data


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Of the median, 95 %, by the bootstrap."""
    chance = random.Random(0)
    medians = sorted(statistics.median(chance.choices(values, k=len(values))) for _ in range(NUM_RESAMPLES))
    return medians[NUM_RESAMPLES // 40], medians[-NUM_RESAMPLES // 40]


def main() -> int:
    """Print the ratio with its spread, the reads and the memory; 1 when a mark was missed."""
    given = {"steps": 60, "imgsz": 160, "batch": 16} | {
        key: int(value) for key, value in (word.split("=") for word in sys.argv[1:])
    }
    torch.set_num_threads(1)
    logging.getLogger("ultralytics").setLevel(logging.ERROR)
    root = Path(tempfile.mkdtemp())
    small = Steps.of(root, steps=2 * given["steps"], imgsz=SMALL_IMGSZ, batch=SMALL_BATCH)
    asked = Steps.of(root, steps=given["steps"], imgsz=given["imgsz"], batch=given["batch"])
    print(f"small batches: {small.text()}")
    low, high = asked.bounds
    verdict = "MISSED" if low > RATIO_LIMIT else "ok" if high <= RATIO_LIMIT else "not decided"
    print(f"as asked for:  {asked.text()}, limit {RATIO_LIMIT}: {verdict}")
    ratio = 1 + small.added_s / asked.stock_s
    print(f"what small batches tell of these: ratio {ratio:.4f}")
    short = training(root, batches=12, imgsz=given["imgsz"], batch=given["batch"])
    stock_reads, _ = counted(DetectionTrainer, {**short, "name": "reads-stock"})
    guarded_reads, trainer = counted(GuardedDetectionTrainer, {**short, "name": "reads-guarded"})
    left, right = statistics.median(stock_reads), statistics.median(guarded_reads)
    print(f"device-to-host reads a step: stock {left:g}, guarded {right:g}, more {right - left:+g} (limit 0)")
    held = bytes_held(trainer)
    print(
        f"memory beside the model: {held.guard / 1e6:.3f} MB in {held.num_tensors} tensors; the weights are "
        f"{held.weights / 1e6:.1f} MB, batch-norm statistics {held.statistics / 1e6:.3f} MB (limit: four of these)"
    )
    # A median above the limit may be a busy neighbour's; an interval above it is not.
    return int(low > RATIO_LIMIT or ratio > RATIO_LIMIT or right > left or held.guard > held.limit)


if __name__ == "__main__":
    raise SystemExit(main())
