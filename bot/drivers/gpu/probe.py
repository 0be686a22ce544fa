"""What a look at the GPUs of one maker is."""

from __future__ import annotations

from typing import Protocol

from trainmaster.bot.core.health.host import GpuFact


class GpuProbe(Protocol):
    """GPUs of one maker. It may hang, and is asked in a thread of its own."""

    name: str
    """As people call them: ``NVIDIA GPUs``."""

    def look(self) -> tuple[GpuFact, ...]:
        """Those that are visible; none is an answer."""
        ...
