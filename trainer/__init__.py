"""The GPU process: a guarded trainer for Ultralytics YOLO.

Importing this package loads neither torch nor ultralytics: the supervisor imports :mod:`trainer.contract` from it, and
``python -m trainer verify`` must start in a blink. The guarded classes load on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainer.guard import (
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


def __getattr__(name: str) -> Any:
    if name in __all__:
        from trainer import guard  # noqa: PLC0415 - torch loads here and not before

        return getattr(guard, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
