"""Times as people say them: ``at 22:00``, ``until 7:30 am``, ``in 2h``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from trainmaster.bot.errors import CommandError

WHEN: Final = (
    r"(?:(?:at|until|till) (?P<hour>\d{1,2})(?:[:.h](?P<minute>\d{2}))?(?:\s*(?P<half>am|pm))?"
    r"|(?:in|for) (?P<amount>\d{1,3})\s*(?P<unit>m(?:in(?:ute)?s?)?|h(?:(?:ou)?rs?)?|d(?:ays?)?))"
)
_DAY_S: Final = 86_400.0
_UNITS: Final = {"m": 60.0, "h": 3600.0, "d": _DAY_S}


def due_ts(words: Mapping[str, str], now: float, offset_s: float) -> float | None:
    """When that is next, by a clock ``offset_s`` ahead of UTC; None when no time was said.

    Raises:
        CommandError: no clock shows that.
    """
    if words.get("amount"):
        return now + int(words["amount"]) * _UNITS[words["unit"][0].lower()]
    if not words.get("hour"):
        return None
    hour, minute, half = int(words["hour"]), int(words.get("minute", "0")), words.get("half", "").lower()
    if half:
        hour = hour % 12 + (12 if half == "pm" else 0) if 1 <= hour <= 12 else 99
    if hour > 23 or minute > 59:
        raise CommandError("no-such-time", "no clock shows that time.", "for example: 22:00, or 7:30 am")
    local = now + offset_s
    due = local - local % _DAY_S + hour * 3600 + minute * 60
    return (due if due > local else due + _DAY_S) - offset_s
