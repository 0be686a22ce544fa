"""A model small enough that a test may train it: a batch takes a few milliseconds."""

from __future__ import annotations

from pathlib import Path
from typing import Final

TINY_MODEL: Final = """
nc: 10
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
head:
  - [[1, 2], 1, Detect, [nc]]
"""
"""As Ultralytics reads it. Two levels of anchors, as the loss of 8.4.0 wants at least."""


def write_tiny_model(folder: Path) -> Path:
    """``tiny.yaml`` in ``folder``."""
    path = folder / "tiny.yaml"
    path.write_text(TINY_MODEL, encoding="utf-8")
    return path
