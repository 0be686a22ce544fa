"""Data sets as small as they come."""

from __future__ import annotations

from pathlib import Path


def noise(root: Path, *, num_images: int = 8, side_px: int = 32) -> Path:
    """``data.yaml`` of a set of noise with a box in each image, for training and validation alike."""
    import cv2
    import numpy as np

    random = np.random.default_rng(0)
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    for number in range(num_images):
        picture = random.integers(0, 255, (side_px, side_px, 3), dtype=np.uint8)
        assert cv2.imwrite(str(root / "images" / f"{number}.png"), picture)
        (root / "labels" / f"{number}.txt").write_text("0 0.5 0.5 0.4 0.4\n", encoding="utf-8")
    (root / "data.yaml").write_text(f"path: {root}\ntrain: images\nval: images\nnames: [thing]\n", encoding="utf-8")
    return root / "data.yaml"
