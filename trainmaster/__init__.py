"""Keeps long Ultralytics YOLO trainings alive: the guarded trainers, for use in a script of one's own.

Importing this package loads neither torch nor ultralytics: the bot and the torch-free commands live in it too. The
classes load on first use::

    from trainmaster import GuardedDetectionTrainer, guarded
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainmaster.trainer.guard import (
        GuardedClassificationTrainer,
        GuardedDetectionTrainer,
        GuardedOBBTrainer,
        GuardedPoseTrainer,
        GuardedSegmentationTrainer,
        guarded,
    )

__all__ = [
    "GuardedClassificationTrainer",
    "GuardedDetectionTrainer",
    "GuardedOBBTrainer",
    "GuardedPoseTrainer",
    "GuardedSegmentationTrainer",
    "guarded",
]

if not (Path(__file__).parent / "trainer").is_dir():
    # In a checkout the folders of the product stand beside this one, in a wheel below it.
    __path__.append(str(Path(__file__).resolve().parent.parent))


def __getattr__(name: str) -> Any:
    if name in __all__:
        from trainmaster.loading import loading  # noqa: PLC0415 - as below

        with loading():
            from trainmaster.trainer import guard  # noqa: PLC0415 - torch loads here and not before

        return getattr(guard, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
