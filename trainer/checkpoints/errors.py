"""What the checkpoint commands refuse, in words for the person who asked."""

from __future__ import annotations


class CheckpointError(Exception):
    """It can't be done now; nothing was changed, or what was begun is finished by asking again. ``hint`` says how."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class CheckpointRefusedError(CheckpointError):
    """The checkpoint is not clean, or the run is not in a state to be touched: exit code 5."""


class NoSuchRunError(CheckpointError):
    """There is no run, or no archive of that name: exit code 2."""
