"""A message at the head of its channel."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class PinState(StrEnum):
    """What is known of a pin."""

    WANTED = "wanted"
    """Asked for, or about to be: it may be there."""
    PINNED = "pinned"
    REFUSED = "refused"
    """Slack never pins this message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """The message ``key`` as it stands at ``ts`` of ``channel``: pinned, or maybe."""

    key: str
    channel: str
    ts: str
    state: PinState = PinState.WANTED

    @property
    def place(self) -> tuple[str, str]:
        """Channel and time stamp, by which Slack knows the message."""
        return self.channel, self.ts
