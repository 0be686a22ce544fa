"""Errors that reach a person: fact, value, limit, and what to do."""

from __future__ import annotations


class TrainmasterError(Exception):
    """Something a person must read. ``slug`` is stable and searchable, ``hint`` says what to do next."""

    def __init__(self, slug: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.slug = slug
        self.message = message
        self.hint = hint

    @property
    def told(self) -> str:
        """What people read in the channel: fact and hint, without the slug, which is for logs and searches."""
        gap = "" if self.message.endswith("\n") else " "
        return self.message + (f"{gap}Hint: {self.hint}" if self.hint else "")

    def __str__(self) -> str:
        return f"{self.slug}: {self.told}"


class SettingsError(TrainmasterError):
    """The environment or ``.env`` is not usable; the message lists every fault."""


class CommandError(TrainmasterError):
    """A command that cannot be carried out as asked."""


class ChatError(TrainmasterError):
    """Slack refused or did not answer. ``content``: this one message is at fault, so that a plainer one may pass."""

    content: bool = False


class StoreError(TrainmasterError):
    """The database cannot be read or written."""


class OperationError(TrainmasterError):
    """A step of a stop or a rollback failed."""


class DriverError(TrainmasterError):
    """The process of a run could not be inspected, stopped or started."""


class ClusterSilentError(DriverError):
    """A cluster's controller gave no answer: nothing is known, which is not the same as nothing there."""
