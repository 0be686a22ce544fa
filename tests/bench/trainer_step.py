"""What the guard costs a step at level standard, against stock Ultralytics at equal settings: time, reads, memory.

``python -m tests.bench.trainer_step [steps=60] [small=240] [imgsz=160] [batch=16] [copies=0] [every=0]``. How the two
are held side by side, step by step, is told in :mod:`trainmaster.trainer.selfcheck.paired`. With ``copies=1`` the
guarded training saves a state as often as it chooses itself, or ``every`` so many seconds, and a process of its own
copies them elsewhere meanwhile. A save is no step: what it takes is left out of the step that it follows and told
apart, as a share of the interval that a training chooses. (With one in ten seconds it would be in every eighth step,
and move the median of all.)

What the guard adds hardly depends on the size of a batch, and the noise does: so the same is measured with small
batches, which tells the milliseconds more sharply, and against which a step of any size can be held. Both trainers take
their memory from one place that gives nothing back: which of two threads' heaps is trimmed more often is chance, and
weighs more than a guard.
"""

from __future__ import annotations

import logging
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Final

os.environ.setdefault("YOLO_CONFIG_DIR", tempfile.mkdtemp())
os.environ["OMP_NUM_THREADS"] = "1"  # torch.set_num_threads holds for the thread that calls it only

from trainmaster import GuardedDetectionTrainer

import torch  # isort: skip - after the environment is set
from ultralytics.models.yolo.detect import DetectionTrainer  # isort: skip

from trainmaster.trainer.data.digits import make
from trainmaster.trainer.levels import GUARD_ONLY, settings_of
from trainmaster.trainer.selfcheck.made import NO_CHANCE
from trainmaster.trainer.selfcheck.memory import bytes_held
from trainmaster.trainer.selfcheck.paired import Cost, Watch, both_ways, interval
from trainmaster.trainer.selfcheck.reads import counted
from trainmaster.trainer.state.cadence import Cadence
from trainmaster.trainer.state.saver import Saver

RATIO_LIMIT: Final = 1.01
NUM_WARMING: Final = 4
"""Steps of each trainer left out: allocators and caches fill."""
SMALL_IMGSZ: Final = 32
SMALL_BATCH: Final = 4
STEADY: Final = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_TRIM_THRESHOLD_": str(8 << 30),
    "MALLOC_MMAP_THRESHOLD_": str(4 << 30),
}
"""For glibc, which reads them when a process starts."""


class Saves(threading.local):
    """What the saves of states have taken of a thread's processor time."""

    seconds = 0.0
    all_s: ClassVar[list[float]] = []

    def time(self) -> None:
        """From now on."""
        plain = Saver.save_within_epoch

        def save(*args: Any, **named: Any) -> Path | None:
            began_s = time.thread_time()
            try:
                return plain(*args, **named)
            finally:
                self.all_s.append(time.thread_time() - began_s)
                self.seconds += self.all_s[-1]

        Saver.save_within_epoch = save

    def text(self) -> str:
        """One line."""
        if not self.all_s:
            return "no state was saved within an epoch"
        middle_s, cadence = statistics.median(self.all_s), Cadence(None)
        cadence.saved(middle_s)
        assert cadence.interval_s is not None
        return (
            f"states saved: {len(self.all_s)}, {middle_s * 1e3:.0f} ms each ({min(self.all_s) * 1e3:.0f} to "
            f"{max(self.all_s) * 1e3:.0f}); one in {cadence.interval_s:.0f} s, as a training chooses, is "
            f"{middle_s / cadence.interval_s:.2%} of its time"
        )


SAVES: Final = Saves()


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """Pairs of steps, stock and guarded, of one size."""

    imgsz: int
    batch: int
    cost: Cost

    @classmethod
    def of(cls, root: Path, *, steps: int, imgsz: int, batch: int, guard: Mapping[str, Any]) -> Steps:
        """Measured twice, with the threads exchanged. ``guard``: settings of the guarded training alone."""
        common = training(root, batches=steps + NUM_WARMING, imgsz=imgsz, batch=batch)
        stock = {**common, "name": f"stock{imgsz}"}
        guarded = {**common, **guard, "name": f"guarded{imgsz}"}
        watch = replace(Watch.of("cpu"), clock=lambda: time.thread_time() - SAVES.seconds)
        kinds = (DetectionTrainer, GuardedDetectionTrainer)
        pairs = both_ways(kinds, (stock, guarded), watch, warming=NUM_WARMING)
        return cls(imgsz=imgsz, batch=batch, cost=Cost.of(pairs))

    def text(self) -> str:
        """One line."""
        cost = self.cost
        low, high = cost.bounds
        low_s, high_s = ((bound - 1) * cost.stock_s for bound in (low, high))
        return (
            f"{self.batch} of {self.imgsz} px, {len(cost.differences_s)} pairs: stock {cost.stock_s * 1e3:.1f} ms, "
            f"guarded {cost.added_s * 1e3:+.2f} ms ({low_s * 1e3:+.2f} to {high_s * 1e3:+.2f}), "
            f"ratio {cost.ratio:.4f} ({low:.4f} to {high:.4f})"
        )


def training(root: Path, *, batches: int, imgsz: int, batch: int) -> dict[str, Any]:
    """One epoch of so many batches at level standard's settings, for a stock trainer or a guarded one."""
    level = {key: value for key, value in settings_of("standard").items() if key not in GUARD_ONLY}
    return {
        **level, **NO_CHANCE, "model": "yolo11n.yaml", "imgsz": imgsz, "batch": batch, "nbs": batch, "epochs": 1,
        "data": str(one_epoch(root, batches=batches, batch=batch, imgsz=max(imgsz, 96))), "device": "cpu", "amp": False,
        "project": str(root / "runs"), "exist_ok": True, "plots": False, "verbose": False, "val": False, "workers": 0,
    }  # fmt: skip


def one_epoch(root: Path, *, batches: int, batch: int, imgsz: int) -> Path:
    """A data set of so many batches, which are few images again and again; what is validated with is four of them."""
    root = root / f"{batches}x{batch}"
    data = make(root, images=100, imgsz=imgsz, digits=400, progress=False)
    images = sorted((root / "images" / "train").iterdir())
    listed = [str(images[number % len(images)]) for number in range(batches * batch)]
    text = data.read_text(encoding="utf-8")
    for split, paths in {"train": listed, "val": map(str, images[:4])}.items():
        (root / f"{split}.txt").write_text("\n".join(paths), encoding="utf-8")
        assert f"{split}: images/{split}\n" in text
        text = text.replace(f"{split}: images/{split}\n", f"{split}: {split}.txt\n")
    data.write_text(text, encoding="utf-8")
    return data


def verdict(low: float, high: float) -> str:
    """What an interval of the ratio says of the limit."""
    return "MISSED" if low > RATIO_LIMIT else "ok" if high <= RATIO_LIMIT else "not decided"


def main() -> int:
    """Print the ratio with its spread, the reads and the memory; 1 when a mark was missed."""
    if not STEADY.items() <= os.environ.items():
        os.execve(sys.executable, [*sys.orig_argv], {**os.environ, **STEADY})
    given = {"steps": 60, "small": 240, "imgsz": 160, "batch": 16, "copies": 0, "every": 0} | {
        key: int(value) for key, value in (word.split("=") for word in sys.argv[1:])
    }
    if given["copies"]:
        os.environ["COPY_TO"] = tempfile.mkdtemp()
    torch.set_num_threads(1)
    logging.getLogger("ultralytics").setLevel(logging.ERROR)
    root = Path(tempfile.mkdtemp())
    SAVES.time()
    guard = {"snapshot_s": float(given["every"])} if given["every"] else {}
    small = Steps.of(root, steps=given["small"], imgsz=SMALL_IMGSZ, batch=SMALL_BATCH, guard=guard)
    print(f"small batches: {small.text()}", flush=True)
    asked = Steps.of(root, steps=given["steps"], imgsz=given["imgsz"], batch=given["batch"], guard=guard)
    direct_low, direct_high = asked.cost.bounds
    print(f"as asked for:  {asked.text()}, limit {RATIO_LIMIT}: {verdict(direct_low, direct_high)}", flush=True)
    ratio, low, high = (
        1 + added_s / asked.cost.stock_s for added_s in (small.cost.added_s, *interval(small.cost.differences_s))
    )
    told = f"{ratio:.4f} ({low:.4f} to {high:.4f}), limit {RATIO_LIMIT}: {verdict(low, high)}"
    print(f"what small batches tell of a step as asked for: ratio {told}", flush=True)
    if given["copies"]:
        print(SAVES.text())
        copied = [path for path in Path(os.environ["COPY_TO"]).rglob("*") if path.is_file()]
        print(f"copied meanwhile: {len(copied)} files, {sum(path.stat().st_size for path in copied) / 1e6:.0f} MB")
    short = training(root, batches=12, imgsz=given["imgsz"], batch=given["batch"])
    stock_reads, _ = counted(DetectionTrainer, {**short, "name": "reads-stock"}, "cpu")
    guarded_reads, trainer = counted(GuardedDetectionTrainer, {**short, "name": "reads-guarded"}, "cpu")
    left, right = statistics.median(stock_reads), statistics.median(guarded_reads)
    print(f"device-to-host reads a step: stock {left:g}, guarded {right:g}, more {right - left:+g} (limit 0)")
    held = bytes_held(trainer)
    print(
        f"memory beside the model: {held.guard / 1e6:.3f} MB in {held.num_tensors} tensors; the weights are "
        f"{held.weights / 1e6:.1f} MB, batch-norm statistics {held.statistics / 1e6:.3f} MB (limit: four of these)"
    )
    # A median above the limit may be a busy neighbour's; an interval above it is not.
    return int(max(low, direct_low) > RATIO_LIMIT or ratio > RATIO_LIMIT or right > left or held.guard > held.limit)


if __name__ == "__main__":
    raise SystemExit(main())
