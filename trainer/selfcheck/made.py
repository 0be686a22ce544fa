"""What the parts train: a tiny model, made images, settings without chance; and every tensor of a trainer."""

from __future__ import annotations

import contextlib
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from ultralytics.engine import trainer as engine
from ultralytics.utils.torch_utils import unwrap_model

from trainmaster.trainer.contract import RunLayout

TINY_MODEL: Final = """
nc: 4
scales:
  n: [1.0, 1.0, 1024]
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [24, 3, 2]]
  - [-1, 1, Conv, [32, 3, 2]]
head:
  - [[2, 3, 4], 1, Detect, [nc]]
"""
NUM_CLASSES: Final = 4
BATCHES: Final = 6
"""Batches of an epoch of the tiny training."""
BATCH: Final = 4
IMGSZ: Final = 64
NO_CHANCE: Final = dict.fromkeys(
    ("mosaic", "mixup", "hsv_h", "hsv_s", "hsv_v", "translate", "scale", "fliplr", "erasing", "close_mosaic"), 0
)
"""Augmentation off: every trainer sees the same pixels."""


def make_data(folder: Path, *, images: int = BATCHES * BATCH, imgsz: int = IMGSZ, repeat: int = 1) -> Path:
    """A data set of ``images`` noisy pictures with bright squares, listed ``repeat`` times; its YAML file."""
    chance = np.random.default_rng(0)
    listed: dict[str, list[str]] = {"train": [], "val": []}
    for split, number in (("train", images), ("val", BATCH)):
        (folder / "images" / split).mkdir(parents=True, exist_ok=True)
        (folder / "labels" / split).mkdir(parents=True, exist_ok=True)
        for index in range(number):
            picture = chance.integers(0, 90, (imgsz, imgsz, 3), dtype=np.uint8)
            rows = []
            for _ in range(3):
                side = int(chance.integers(imgsz // 6, imgsz // 3))
                x, y = (int(value) for value in chance.integers(0, imgsz - side, 2))
                kind = int(chance.integers(NUM_CLASSES))
                picture[y : y + side, x : x + side] = 120 + 40 * kind
                rows.append(f"{kind} {(x + side / 2) / imgsz} {(y + side / 2) / imgsz} {side / imgsz} {side / imgsz}")
            path = folder / "images" / split / f"{index:04}.png"
            if not cv2.imwrite(str(path), picture):
                raise OSError(f"{path} could not be written")
            (folder / "labels" / split / f"{index:04}.txt").write_text("\n".join(rows), encoding="utf-8")
            listed[split].append(str(path))
    for split, paths in listed.items():
        (folder / f"{split}.txt").write_text("\n".join(paths * (repeat if split == "train" else 1)), encoding="utf-8")
    given = {
        "path": str(folder),
        "train": "train.txt",
        "val": "val.txt",
        "names": [f"k{n}" for n in range(NUM_CLASSES)],
    }
    (folder / "data.yaml").write_text(json.dumps(given), encoding="utf-8")  # which is YAML, whatever a path holds
    return folder / "data.yaml"


def settings(folder: Path, device: str | None, **changes: Any) -> dict[str, Any]:
    """Overrides of a tiny training of one epoch below ``folder``, for a stock trainer or a guarded one."""
    if not (folder / "tiny.yaml").is_file():
        (folder / "tiny.yaml").write_text(TINY_MODEL, encoding="utf-8")
    data = folder / "data" / "data.yaml"
    return {
        **NO_CHANCE, "model": str(folder / "tiny.yaml"),
        "data": str(data if data.is_file() else make_data(folder / "data")), "imgsz": IMGSZ, "epochs": 1,
        "batch": BATCH, "nbs": BATCH, "project": str(folder / "runs"), "name": "run", "exist_ok": True,
        "device": chosen(device), "plots": False, "verbose": False, "val": False, "workers": 0, "lr0": 0.01,
        "warmup_epochs": 0, "optimizer": "SGD", "amp": False, **changes,
    }  # fmt: skip


def chosen(device: str | None) -> str:
    """The device to use: the one asked for, else the first that is there."""
    if device:
        return device
    if torch.cuda.is_available():
        return "0"
    mps = getattr(torch.backends, "mps", None)
    return "mps" if mps is not None and mps.is_available() else "cpu"


def kind_of(device: str | None) -> str:
    """``cuda`` (ROCm too), ``mps`` or ``cpu``."""
    name = chosen(device)
    return name if name in {"cpu", "mps"} else "cuda"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No output of Ultralytics, and no weights downloaded to see whether the device can do half precision."""
    names = vars(engine)
    before = names["check_amp"]
    names["check_amp"] = lambda _: True
    logger = logging.getLogger("ultralytics")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        names["check_amp"] = before
        logger.setLevel(level)


def tensors(trainer: Any) -> dict[str, torch.Tensor]:
    """A copy on the CPU of every tensor of model, EMA, optimizer and gradient scaler, buffers included, by name."""
    found = {f"model {name}": value for name, value in unwrap_model(trainer.model).state_dict().items()}
    found |= {f"ema {name}": value for name, value in trainer.ema.ema.state_dict().items()}
    for index, state in enumerate(trainer.optimizer.state.values()):
        found |= {f"optimizer {index} {key}": value for key, value in state.items() if isinstance(value, torch.Tensor)}
    found |= {f"scaler {name}": torch.as_tensor(value) for name, value in trainer.scaler.state_dict().items()}
    return {name: value.detach().to("cpu", copy=True) for name, value in found.items()}


def not_finite(trainer: Any) -> list[str]:
    """Names of the tensors of ``trainer`` with a number that is not finite."""
    found = tensors(trainer).items()
    return [name for name, value in found if value.is_floating_point() and not value.isfinite().all()]


def differing(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> list[str]:
    """Names of the tensors that are not the same to the bit, or that only one side has."""
    names = sorted(left.keys() | right.keys())
    return [name for name in names if name not in left or name not in right or not _same(left[name], right[name])]


def events(save_dir: Any, kind: str) -> list[dict[str, Any]]:
    """The events of that kind of a run."""
    path = RunLayout(Path(save_dir)).events
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []
    return [row for row in rows if row["kind"] == kind]


def _same(left: torch.Tensor, right: torch.Tensor) -> bool:
    return left.dtype == right.dtype and left.shape == right.shape and torch.equal(_bits(left), _bits(right))


def _bits(value: torch.Tensor) -> torch.Tensor:
    """NaN equals NaN when its bits do."""
    kinds = {2: torch.int16, 4: torch.int32, 8: torch.int64}
    size = value.element_size()
    return value.contiguous().view(kinds[size]) if value.is_floating_point() and value.ndim and size in kinds else value
