"""When people are told once more that a question waits. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol


class ReminderLimits(Protocol):
    """How often people are asked; :class:`trainmaster.bot.operations.limits.OperationLimits` says why."""

    @property
    def reminder_s(self) -> float:
        """Seconds that people are given before they are asked once more."""
        ...

    @property
    def max_reminders(self) -> int:
        """So many stand in the thread of the question; the one after them goes to the channel, and is the last."""
        ...

    @property
    def escalate_to(self) -> tuple[str, ...]:
        """Whom the last one mentions beside the people on call."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Reminder:
    """``number`` counts from 1. A ``loud`` one stands in the channel, where those look who do not follow the thread."""

    number: int
    loud: bool
    mentions: tuple[str, ...]


def reminder_due(
    *,
    asked_ts: float,
    reminded_ts: float | None,
    num_reminders: int,
    on_call: Sequence[str],
    voted: Iterable[str],
    limits: ReminderLimits,
    now: float,
) -> Reminder | None:
    """The reminder that is due now; None while it is too early, and when there were enough. Who has voted is not asked
    again."""
    last_ts = reminded_ts or asked_ts
    if now - last_ts < limits.reminder_s or num_reminders > limits.max_reminders:
        return None
    loud = num_reminders + 1 > limits.max_reminders
    done = set(voted)
    told = dict.fromkeys([user for user in on_call if user not in done] + [*(limits.escalate_to if loud else ())])
    return Reminder(number=num_reminders + 1, loud=loud, mentions=tuple(told))
