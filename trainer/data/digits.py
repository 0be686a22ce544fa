"""A small real data set: the 1,797 handwritten digits that scikit-learn ships, pasted on canvases with their boxes.

``python -m trainmaster.trainer.data.digits OUT_DIR [images=400] [imgsz=96] [seed=0] [digits=1797]``. Every digit
is used exactly once. Made once: a second call finds it finished, and two at the same time don't disturb each other.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from trainmaster.terminal import complain
from trainmaster.trainer.arguments import ArgumentsError, is_number, reject_unknown, split_arguments

MARKER: Final = "digits.json"
VAL_SHARE: Final = 0.2
SIZES_PX: Final = (18, 32)
"""Side of a pasted digit, drawn evenly: 8 x 8 originals are still themselves at two to four times."""
TRIES: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A pasted digit: class and square, in pixels."""

    digit: int
    left: int
    top: int
    size: int

    def overlaps(self, other: Box) -> bool:
        """Whether the squares share a pixel."""
        return (
            abs(self.left + self.size / 2 - other.left - other.size / 2) < (self.size + other.size) / 2
            and abs(self.top + self.size / 2 - other.top - other.size / 2) < (self.size + other.size) / 2
        )


def make(
    out: Path, *, images: int = 400, imgsz: int = 96, seed: int = 0, digits: int = 1797, progress: bool = True
) -> Path:
    """The data set in ``out``, made now or before; its ``data.yaml``.

    Raises:
        ArgumentsError: ``out`` holds something else, or so many digits don't fit.
    """
    wanted = {"images": images, "imgsz": imgsz, "seed": seed, "digits": digits}
    if _is_made(out, wanted):
        return out / "data.yaml"
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        _fill(work, images=images, imgsz=imgsz, seed=seed, num_digits=digits, progress=progress)
        (work / MARKER).write_text(json.dumps(wanted), encoding="utf-8")
        work.chmod(0o755)
        try:
            work.rename(out)
        except OSError:  # somebody else was first
            if not _is_made(out, wanted):
                raise ArgumentsError(f"{out} holds something else", "name an empty or a new directory") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return out / "data.yaml"


def _is_made(out: Path, wanted: dict[str, int]) -> bool:
    try:
        made = json.loads((out / MARKER).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return False
    if made != wanted:
        raise ArgumentsError(f"{out} holds digits made with {made}, not {wanted}", "name another directory")
    return True


def _fill(work: Path, *, images: int, imgsz: int, seed: int, num_digits: int, progress: bool) -> None:
    from sklearn.datasets import load_digits  # noqa: PLC0415 - an extra that only this command needs

    digits = load_digits()
    rng = random.Random(seed)
    order = list(range(len(digits.images)))
    rng.shuffle(order)
    del order[num_digits:]
    num_val = max(round(images * VAL_SHARE), 1)
    shares = np.array_split(np.array(order), images)
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (work / kind / split).mkdir(parents=True)
    for number, share in enumerate(shares):
        split = "val" if number < num_val else "train"
        canvas, boxes = _compose(digits, [int(index) for index in share], imgsz, rng)
        name = f"{number:04d}"
        cv2.imwrite(str(work / "images" / split / f"{name}.png"), canvas)
        lines = [
            f"{box.digit} {(box.left + box.size / 2) / imgsz:.6f} {(box.top + box.size / 2) / imgsz:.6f} "
            f"{box.size / imgsz:.6f} {box.size / imgsz:.6f}"
            for box in boxes
        ]
        (work / "labels" / split / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        if progress and sys.stdout.isatty() and (number + 1) % max(images // 20, 1) == 0:
            print(f"\rdigits: {number + 1}/{images} images", end="", flush=True)
    if progress:
        print(f"\rdigits: {len(order)} digits on {images} images", flush=True)
    names = "\n".join(f"  {digit}: '{digit}'" for digit in range(10))
    text = f"train: images/train\nval: images/val\nnames:\n{names}\n"  # no path: relative to this file
    (work / "data.yaml").write_text(text, encoding="utf-8")


def _compose(digits: Any, indices: list[int], imgsz: int, rng: random.Random) -> tuple[np.ndarray, list[Box]]:
    """A canvas of uneven grey with these digits on it, none over another."""
    base = rng.randint(10, 60)
    noise = np.random.default_rng(rng.getrandbits(32)).normal(0, 6, (imgsz, imgsz))
    canvas = np.clip(base + noise, 0, 255)
    boxes: list[Box] = []
    for index in indices:
        box = _place(int(digits.target[index]), boxes, imgsz, rng)
        glyph = cv2.resize(digits.images[index].astype(np.float32) / 16, (box.size, box.size))
        ink = rng.randint(170, 255)
        spot = canvas[box.top : box.top + box.size, box.left : box.left + box.size]
        spot += np.clip(glyph, 0, 1) * (ink - spot)
        boxes.append(box)
    return cv2.cvtColor(canvas.astype(np.uint8), cv2.COLOR_GRAY2BGR), boxes


def _place(digit: int, boxes: list[Box], imgsz: int, rng: random.Random) -> Box:
    low, high = SIZES_PX
    for _ in range(TRIES):
        size = rng.randint(low, min(high, imgsz))
        box = Box(digit=digit, left=rng.randint(0, imgsz - size), top=rng.randint(0, imgsz - size), size=size)
        if not any(box.overlaps(other) for other in boxes):
            return box
        high = max(low, high - 1)
    raise ArgumentsError(f"{len(boxes) + 1} digits don't fit on {imgsz} pixels", "more images, or a larger imgsz")


def main(argv: list[str] | None = None) -> int:
    """Carry out a command line; the exit code."""
    try:
        arguments = split_arguments(sys.argv[1:] if argv is None else argv)
        reject_unknown(arguments.settings, ("images", "imgsz", "seed", "digits"), "key")
        if len(arguments.words) != 1:
            raise ArgumentsError(
                "one directory is needed", "python -m trainmaster.trainer.data.digits OUT_DIR [images=400] [imgsz=96]"
            )
        bad = [f"{key}={text}" for key, text in arguments.settings.items() if not is_number(text)]
        if bad:
            raise ArgumentsError(f"no whole number: {', '.join(bad)}")
        numbers: dict[str, Any] = {key: int(text) for key, text in arguments.settings.items()}
        if numbers.get("images", 2) < 2 or numbers.get("imgsz", 32) < 32:
            raise ArgumentsError("at least images=2 and imgsz=32 are needed")
        print(make(Path(arguments.words[0]), **numbers))
    except ArgumentsError as error:
        complain(error.message + (f"\nHint: {error.hint}" if error.hint else ""))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
