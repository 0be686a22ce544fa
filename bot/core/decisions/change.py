"""The question whether a running training shall go on with other settings. Pure."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One setting. ``before`` is text for people; ``after`` goes to the trainer."""

    key: str
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """The question whether the run shall be stopped and go on with other settings; bound to its attempt and process."""

    id: str
    run: str
    name: str
    attempt: int
    process: str
    changes: tuple[Change, ...]
    requester: str
    channel: str | None
    thread_of: str | None
    created_ts: float
    expires_ts: float
    votes: tuple[str, ...] = ()
    reminded_ts: float | None = None
    num_reminders: int = 0

    @property
    def words(self) -> str:
        """As the trainer is given them."""
        return " ".join(f"{one.key}={one.after}" for one in self.changes)

    @property
    def text(self) -> str:
        """What changes from what to what, for people."""
        return ", ".join(f"{one.key} {one.before} → {one.after}" for one in self.changes)

    @property
    def card(self) -> str:
        """The key of its message."""
        return f"approval/{self.id}"

    def as_text(self) -> str:
        """The whole question, for a database."""
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, text: str) -> Proposal | None:
        """What :meth:`as_text` gave; None of anything else."""
        try:
            record: dict[str, Any] = json.loads(text)
            changes = tuple(Change(**one) for one in record.pop("changes"))
            return cls(**{**record, "changes": changes, "votes": tuple(record.pop("votes", ()))})
        except (ValueError, TypeError, KeyError, AttributeError):
            return None
