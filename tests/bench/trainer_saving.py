"""What saving costs: Ultralytics' checkpoint with its copy, the full state, and the attestations of one epoch.

``python -m tests.bench.trainer_saving [model=yolo11n.yaml] [epochs=4]``; the limit is one hundredth of an epoch of ten
minutes. Wall time, since most of it is spent waiting for the disk.
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

from trainmaster import GuardedDetectionTrainer
from trainmaster.trainer.data.digits import make

EPOCH_S = 600.0
LIMIT_SHARE = 0.01


class Timed(GuardedDetectionTrainer):
    """Takes the time of each save."""

    def save_model(self) -> bool:
        """As in the base class."""
        began = time.perf_counter()
        saved = super().save_model()
        seconds.append(time.perf_counter() - began)
        return saved


seconds: list[float] = []


def main() -> None:
    """Print the share with its spread."""
    given = dict(word.split("=") for word in sys.argv[1:])
    logging.getLogger("ultralytics").setLevel(logging.ERROR)
    root = Path(tempfile.mkdtemp())
    data = make(root / "digits", images=10, imgsz=64, digits=20, progress=False)
    overrides: dict[str, Any] = {
        "model": given.get("model", "yolo11n.yaml"), "data": str(data), "imgsz": 64, "batch": 4, "nbs": 4,
        "epochs": int(given.get("epochs", 4)), "project": str(root / "runs"), "plots": False, "device": "cpu",
    }  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        Timed(overrides=overrides).train()
    share = statistics.median(seconds) / EPOCH_S
    print(f"one epoch's saving: {statistics.median(seconds):.2f} s (from {min(seconds):.2f} to {max(seconds):.2f})")
    print(f"share of an epoch of ten minutes: {share:.4%} (<= {LIMIT_SHARE:.0%})")


if __name__ == "__main__":
    main()
