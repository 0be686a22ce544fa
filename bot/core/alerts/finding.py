"""What one check saw now."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from trainmaster.bot.core.check_name import AnyCheck
from trainmaster.bot.core.conversation.message import Button, Item


class Severity(StrEnum):
    """Decides where and how loudly an alert is told."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class Nature(StrEnum):
    """How a finding ends."""

    CONDITION = "condition"
    """Holds until a check no longer finds it; then its alert is resolved."""
    OCCURRENCE = "occurrence"
    """Happened, is told once, and has nothing to resolve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing worth telling about one run.

    ``key`` tells apart findings of the same check (an epoch, an attempt); the same thing seen again must have the same
    key. ``ts`` is when it happened, which may be long before it was read. ``resolution`` is the sentence that replaces
    ``title`` once the condition has passed.
    """

    run: str
    check: AnyCheck
    key: str
    severity: Severity
    nature: Nature
    ts: float
    title: str
    body: tuple[str, ...] = ()
    fields: tuple[tuple[str, str], ...] = ()
    items: tuple[Item, ...] = ()
    excerpt: str = ""
    hint: str = ""
    resolution: str = ""
    buttons: tuple[Button, ...] = ()
    over: bool = False
    """Of an occurrence: what it told no longer holds, since the run recovered."""

    @property
    def fingerprint(self) -> str:
        """Identity of the alert that this finding belongs to."""
        return f"{self.run}/{self.check}/{self.key}"
