"""Times as people say them: ``at 22:00``, ``until 7:30 am``, ``in 2h``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, time, timedelta, tzinfo
from typing import Final

from trainmaster.bot.errors import CommandError

WHEN: Final = (
    r"(?:(?:at|until|till) (?P<hour>\d{1,2})(?:[:.h](?P<minute>\d{2}))?(?:\s*(?P<half>am|pm))?"
    r"|(?:in|for) (?P<amount>\d{1,3})\s*(?P<unit>m(?:in(?:ute)?s?)?|h(?:(?:ou)?rs?)?|d(?:ays?)?))"
)
_UNITS: Final = {"m": 60.0, "h": 3600.0, "d": 86_400.0}


def due_ts(words: Mapping[str, str], now: float, zone: tzinfo) -> float | None:
    """When a clock of ``zone`` next shows that, also where it is put forward or back before then; None when no time was
    said.

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
    today = datetime.fromtimestamp(now, zone).date()
    days = (datetime.combine(today + timedelta(days=ahead), time(hour, minute)) for ahead in (0, 1, 2))
    return min(due for day in days for due in _moments(day, zone) if due > now)


def _moments(wall: datetime, zone: tzinfo) -> Sequence[float]:
    """When clocks of ``zone`` show ``wall``: twice where they are put back over it. Where they are put forward over it,
    once, as late as if they had not been."""
    both = [wall.replace(tzinfo=zone, fold=fold).timestamp() for fold in (0, 1)]
    return [ts for ts in both if datetime.fromtimestamp(ts, zone).replace(tzinfo=None) == wall] or both[:1]
