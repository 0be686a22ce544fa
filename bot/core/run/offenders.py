"""Images that come back in bad batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from trainmaster.bot.core.run.view import RunView

REPEATS: Final = 2
"""Bad batches from which on an image is listed, as the trainer counts them (trainer/data/quarantine.py). One convicts
nobody: the same data did not spike again from another checkpoint (PaLM)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offender:
    """An image and the bad batches that it stood in, as (epoch, batch), oldest first."""

    image: str
    places: tuple[tuple[int, int], ...]


def offenders_of(view: RunView) -> tuple[tuple[Offender, ...], int]:
    """The images of at least :data:`REPEATS` bad batches over all attempts, those of most first; and how many images
    stood in any. Batches of a drill count for nothing. Of an epoch with many bad batches the newest are known."""
    places: dict[str, list[tuple[int, int]]] = {}
    for _, epoch in sorted(view.epochs.items()):
        for bad in epoch.bad_batches:
            for image in dict.fromkeys(bad.images if not bad.drill else ()):
                places.setdefault(image, []).append((bad.epoch, bad.batch))
    found = [Offender(image=image, places=tuple(at)) for image, at in places.items() if len(at) >= REPEATS]
    return tuple(sorted(found, key=lambda one: (-len(one.places), one.image))), len(places)


def num_of_drills(view: RunView) -> int:
    """How many of the bad batches that are known were those of a drill."""
    return sum(bad.drill for epoch in view.epochs.values() for bad in epoch.bad_batches)
