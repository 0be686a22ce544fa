"""What somebody is to the workspace that the bot works in: it decides whether their words do anything."""

from __future__ import annotations

from enum import StrEnum


class Standing(StrEnum):
    """Of a person, as the workspace tells it."""

    MEMBER = "member"
    GUEST = "guest"
    """Invited to some channels only: reads along, never acts."""
    BOT = "bot"
    GONE = "deactivated"
    FOREIGN = "of another workspace"
    NOBODY = "unknown to this workspace"
    """It says that it has nobody of that id, or nobody whom the bot may see: a stranger of a shared channel."""
    UNKNOWN = "unknown"
    """The workspace did not say in time."""

    @property
    def acts(self) -> bool:
        """Whether what they say may do something, once it is known that they are on call; an answer that did not come
        must not keep them from an emergency stop."""
        return self in {Standing.MEMBER, Standing.UNKNOWN}
