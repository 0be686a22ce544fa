"""The losses that a console log shows, kept as a curve: a run that writes no series has no other."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from trainmaster.bot.reading.console.facts import TrainFrame
from trainmaster.bot.reading.console.follow import ConsoleFollower, ConsoleLook

_MAX_FRAMES: Final = 256
"""Of the newest epoch; when full, every other one goes."""


class CurveFollower(ConsoleFollower):
    """A follower that keeps, of what it hands on, the losses of each epoch's newest frame and the sums of the frames of
    the newest epoch. An epoch that comes again takes back what followed it."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        super().__init__(path, max_bytes=max_bytes)
        self.epoch_losses: dict[int, dict[str, float]] = {}
        self.frame_losses: list[float] = []
        self.more = True
        """Whether the last look left bytes unread."""

    def look(self, max_bytes: int | None = None) -> ConsoleLook:
        """The facts of the new bytes, whose losses are kept. Never raises."""
        look = super().look(max_bytes)
        for fact in look.facts:
            if isinstance(fact, TrainFrame) and fact.losses:
                self._take(fact)
        self.more = look.more
        return look

    def _take(self, frame: TrainFrame) -> None:
        if max(self.epoch_losses, default=None) != frame.epoch:
            self.epoch_losses = {epoch: kept for epoch, kept in self.epoch_losses.items() if epoch < frame.epoch}
            self.frame_losses = []
        self.epoch_losses[frame.epoch] = dict(frame.losses)
        self.frame_losses.append(sum(value for _, value in frame.losses))
        if len(self.frame_losses) > _MAX_FRAMES:
            del self.frame_losses[1::2]
