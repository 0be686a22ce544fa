"""How fast ``verify`` is as a whole process, beside loading the file with torch and looking for NaN.

Run with ``python -m tests.bench.verify``. The other way runs whatever code the file holds and calls a scrubbed file
clean; it stands here for the time only.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROUNDS: Final = 9
LIMIT_S: Final = 0.3
LIMIT_MB_PER_S: Final = 500.0
LARGE_BYTES: Final = 500_000_000

VERIFY: Final = (
    "import sys; from trainmaster.trainer.checkpoints.cli import main; "
    "sys.exit(main('verify', [sys.argv[1], '--json']))"
)
LOAD: Final = (
    "import sys, torch; content = torch.load(sys.argv[1], map_location='cpu', weights_only=False); "
    "print(all(bool(t.isfinite().all()) for t in content['ema'].state_dict().values()))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Times of whole processes, in seconds: wall, and what the processor worked, which a busy machine changes less."""

    median_s: float
    best_s: float
    worst_s: float
    cpu_s: float


def spread_of(walls_s: Sequence[float], cpus_s: Sequence[float]) -> Spread:
    """Median and extremes."""
    return Spread(
        median_s=statistics.median(walls_s),
        best_s=min(walls_s),
        worst_s=max(walls_s),
        cpu_s=statistics.median(cpus_s),
    )


def timed(programs: Sequence[str], path: Path, rounds: int) -> list[Spread]:
    """Each of ``programs`` run on ``path``, in turn, so that a busy machine is as unkind to all."""
    walls_s: list[list[float]] = [[] for _ in programs]
    cpus_s: list[list[float]] = [[] for _ in programs]
    for _ in range(rounds):
        for index, program in enumerate(programs):
            before, start = os.times(), time.perf_counter()
            subprocess.run([sys.executable, "-c", program, path], stdout=subprocess.DEVNULL, check=True)
            walls_s[index].append(time.perf_counter() - start)
            after = os.times()
            worked = after.children_user + after.children_system - before.children_user - before.children_system
            cpus_s[index].append(worked)
    return [spread_of(walls, cpus) for walls, cpus in zip(walls_s, cpus_s, strict=True)]


def write_yolo11n(path: Path) -> None:
    """A checkpoint as stock Ultralytics writes it in training, with AdamW's two moments in full precision."""
    import torch
    from ultralytics.cfg import get_cfg
    from ultralytics.nn.tasks import DetectionModel

    model = DetectionModel("yolo11n.yaml", verbose=False)
    model.args = get_cfg()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.001)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    torch.save(checkpoint(model, optimizer), path)


def write_large(path: Path) -> None:
    """The same layout with one convolution so wide that the file reaches half a gigabyte."""
    import torch

    channels = 1792
    model = torch.nn.Sequential(torch.nn.Conv2d(channels, channels, 3, bias=False), torch.nn.BatchNorm2d(channels))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.001)
    copies = LARGE_BYTES // (channels * channels * 9 * 10)
    model.extend(torch.nn.Conv2d(channels, channels, 3, bias=False) for _ in range(copies))
    optimizer.add_param_group({"params": list(model[2:].parameters())})
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    torch.save(checkpoint(model, optimizer), path)


def checkpoint(model: object, optimizer: object) -> dict[str, object]:
    """What ``save_model`` puts into a file."""
    return {
        "epoch": 0,
        "best_fitness": 0.0,
        "model": None,
        "ema": deepcopy(model).half(),
        "updates": 1,
        "optimizer": optimizer.state_dict(),
        "scaler": {},
        "train_args": {},
        "train_metrics": {"val/box_loss": 1.0, "fitness": 0.0},
        "version": "8.4.190",
    }


def main() -> int:
    """Print the table; 1 when a limit is missed."""
    missed = False
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("YOLO_CONFIG_DIR", folder)
        for name, write, rounds in (("yolo11n", write_yolo11n, ROUNDS), ("large", write_large, 3)):
            path = Path(folder) / f"{name}.pt"
            write(path)
            size_mb = path.stat().st_size / 1e6
            verify, load = timed([VERIFY, LOAD], path, rounds)
            rate = size_mb / verify.median_s
            ok = verify.median_s <= LIMIT_S if name == "yolo11n" else rate >= LIMIT_MB_PER_S
            missed |= not ok
            print(f"{name}: {size_mb:.1f} MB, {rounds} rounds, whole processes")
            for what, spread in (("verify", verify), ("torch.load + isfinite", load)):
                extremes = f"({spread.best_s:.3f} to {spread.worst_s:.3f})"
                print(f"  {what:22} median {spread.median_s:.3f} s  {extremes}, processor {spread.cpu_s:.3f} s")
            limit = f"<= {LIMIT_S} s" if name == "yolo11n" else f">= {LIMIT_MB_PER_S:.0f} MB/s"
            print(f"  {rate:.0f} MB/s, ratio {verify.median_s / load.median_s:.2f}, limit {limit}: ", end="")
            print("ok" if ok else "MISSED")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
