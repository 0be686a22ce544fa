"""Pieces of console logs in the formats of the wheels, for tests to put together."""

from __future__ import annotations

import os
from pathlib import Path

DETECT = ("box_loss", "cls_loss", "dfl_loss")
HEALTHY = ("1.218", "4.65", "4.425")
NAN = ("nan", "nan", "nan")
TRACEBACK = 'Traceback (most recent call last):\n  File "train.py", line 3, in <module>\n    main()\n    ~~~~^^\n'
BANNER = "Ultralytics 8.4.190 🚀 Python-3.11.7 torch-2.14.1 CUDA:0 (NVIDIA A100, 81920MiB)\n"
SHARED_LOGS = Path(os.environ.get("TRAINMASTER_SHARED", Path(__file__).parents[5] / "shared")) / "logs"


def header(losses: tuple[str, ...] = DETECT) -> str:
    """As trainer.progress_string() of 8.0.200 to 8.4.190."""
    return "\n" + "".join(f"{name:>11}" for name in ("Epoch", "GPU_mem", *losses, "Instances", "Size")) + "\n"


def start(epochs: int = 10, losses: tuple[str, ...] = DETECT) -> str:
    """From the banner to the first header."""
    return f"{BANNER}Starting training for {epochs} epochs...\n{header(losses)}"


def description(epoch: int, epochs: int, losses: tuple[str, ...]) -> str:
    """What stands before the bar."""
    cells = (f"{epoch}/{epochs}", "2.67G", *losses, "267", "640")
    return "".join(f"{cell:>11}" for cell in cells)


def frame(epoch: int, batch: int, *, batches: int = 20, epochs: int = 10, losses: tuple[str, ...] = HEALTHY) -> str:
    """A frame of Ultralytics' own bar, 8.3.230 and later."""
    done = 12 * batch // batches
    bar = "━" * done + "─" * (12 - done)
    time = "2.5it/s 1.2s<3.4s" if 0 < batch < batches else ("2.5it/s 1.2s" if batch else " 1.2s")
    return f"\r\x1b[K{description(epoch, epochs, losses)}: {100 * batch // batches}% {bar} {batch}/{batches} {time}"


def tqdm_frame(
    epoch: int, batch: int, *, batches: int = 20, epochs: int = 10, losses: tuple[str, ...] = HEALTHY
) -> str:
    """A frame of tqdm, up to 8.3.200."""
    bar = f"{'█' * (10 * batch // batches):10}"
    share = 100 * batch / batches
    return f"\r{description(epoch, epochs, losses)}: {share:3.0f}%|{bar}| {batch}/{batches} [00:10<00:03,  4.35it/s]"


def validation(map50: str = "0.712", map50_95: str = "0.523") -> str:
    """Bar and ``all`` row of a validation."""
    names = ("Class", "Images", "Instances", "Box(P", "R", "mAP50", "mAP50-95)")
    head = f"{names[0]:>22}" + "".join(f"{name:>11}" for name in names[1:])
    row = f"{'all':>22}" + "".join(f"{cell:>11}" for cell in ("128", "929", "0.9", "0.8", map50, map50_95))
    return f"\r\x1b[K{head}: 100% {'━' * 12} 4/4 5.4it/s 0.7s\n{row}\n"


def raised(exception: str) -> str:
    """A traceback that ends with ``exception``."""
    return f"\n{TRACEBACK}{exception}\n"
