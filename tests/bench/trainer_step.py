"""Step time and device-to-host reads of the guard at level standard against stock Ultralytics at equal settings.

``python -m tests.bench.trainer_step [pairs=5] [images=480] [imgsz=160] [batch=16]``. Runs alternate, one thread each;
a step is the processor time from one batch's start to its end (wall time on a shared machine tells more about the
neighbours), the first two of a run left out.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("YOLO_CONFIG_DIR", tempfile.mkdtemp())

from trainer import GuardedDetectionTrainer

import torch  # isort: skip - after the environment is set
from torch.utils._python_dispatch import TorchDispatchMode  # isort: skip
from ultralytics.models.yolo.detect import DetectionTrainer  # isort: skip

from trainer.digits import make
from trainer.levels import GUARD_ONLY, settings_of

READS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::is_nonzero")


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


def timed(kind: type, overrides: dict[str, Any], *, count: bool) -> tuple[list[float], list[int]]:
    """Seconds and reads of each step."""
    trainer = kind(overrides=overrides)
    seconds: list[float] = []
    reads: list[int] = []
    state: dict[str, Any] = {}

    def begin(_: Any) -> None:
        if count:
            state["mode"] = Reads(trainer)
            state["mode"].__enter__()
        state["began"] = time.process_time()

    def end(_: Any) -> None:
        seconds.append(time.process_time() - state["began"])
        if count:
            state["mode"].__exit__(None, None, None)
            reads.append(state["mode"].count)

    trainer.add_callback("on_train_batch_start", begin)
    trainer.add_callback("on_train_batch_end", end)
    plain = torch.Tensor.tolist
    if count and kind is GuardedDetectionTrainer:

        def tolist(tensor: torch.Tensor) -> Any:
            if "mode" in state and tensor.ndim:
                state["mode"].count += 1
            return plain(tensor)

        torch.Tensor.tolist = tolist  # type: ignore[method-assign]
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            trainer.train()
    finally:
        torch.Tensor.tolist = plain  # type: ignore[method-assign]
    return seconds[2:], reads[2:]


RATIO_LIMIT = 1.01


def main() -> int:
    """Print the ratio with its spread, and the reads; 1 when a mark was missed."""
    given = dict(word.split("=") for word in sys.argv[1:])
    pairs, images = int(given.get("pairs", 5)), int(given.get("images", 480))
    imgsz, batch = int(given.get("imgsz", 160)), int(given.get("batch", 16))
    torch.set_num_threads(1)
    logging.getLogger("ultralytics").setLevel(logging.ERROR)
    root = Path(tempfile.mkdtemp())
    data = make(root / "digits", images=images, imgsz=max(imgsz, 96), digits=min(4 * images, 1797), progress=False)
    level = {key: value for key, value in settings_of("standard").items() if key not in GUARD_ONLY}
    common = {
        "model": "yolo11n.yaml", "data": str(data), "imgsz": imgsz, "epochs": 1, "batch": batch, "nbs": batch,
        "project": str(root / "runs"), "exist_ok": True, "plots": False, "device": "cpu", "verbose": False, **level,
    }  # fmt: skip
    ratios, times = [], []
    for pair in range(pairs + 1):
        stock, _ = timed(DetectionTrainer, {**common, "name": f"stock{pair}"}, count=False)
        guarded, _ = timed(GuardedDetectionTrainer, {**common, "name": f"guarded{pair}"}, count=False)
        if pair:  # the first pair warms caches
            ratios.append(statistics.median(guarded) / statistics.median(stock))
            times.append((statistics.median(stock), statistics.median(guarded)))
    stock_s, guarded_s = (statistics.median(column) * 1e3 for column in zip(*times, strict=True))
    print(f"step: stock {stock_s:.1f} ms, guarded {guarded_s:.1f} ms")
    ratio = statistics.median(ratios)
    print(f"ratio: {ratio:.4f} (pairs: {min(ratios):.4f} to {max(ratios):.4f}, limit {RATIO_LIMIT})")
    _, stock_reads = timed(DetectionTrainer, {**common, "name": "reads-stock"}, count=True)
    _, guarded_reads = timed(GuardedDetectionTrainer, {**common, "name": "reads-guarded"}, count=True)
    left, right = statistics.median(stock_reads), statistics.median(guarded_reads)
    print(f"device-to-host reads a step: stock {left:g}, guarded {right:g}, more {right - left:+g} (limit 0)")
    return int(ratio > RATIO_LIMIT or right > left)


if __name__ == "__main__":
    raise SystemExit(main())
