"""Times as people say them: ``at 22:00``, ``until tomorrow 7:30 a.m.``, ``in 1.5h``, ``for half an hour``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Final

from trainmaster.bot.errors import CommandError
from trainmaster.commands.base import Context, Invocation

_AMOUNT: Final = r"(?:\d{1,4}(?:[.,]\d{1,2})?|(?:half an?|an?)(?=\s))"
_UNIT: Final = r"(?:m(?:in(?:ute)?s?)?|h(?:(?:ou)?rs?)?|d(?:ays?)?)"
CLOCK: Final = (
    r"(?:(?P<day>today|tomorrow) (?:at )?)?"
    r"(?:(?P<named>noon|midnight)|(?P<hour>\d{1,2})(?:[:.h](?P<minute>\d{2}))?(?:\s*(?P<half>[ap]\.?m\.?))?)"
    r"(?: (?P<said_day>today|tomorrow))?"
)
SPAN: Final = (
    rf"(?P<amount>{_AMOUNT})\s*(?P<unit>{_UNIT})(?:(?: and)?\s*(?P<more>\d{{1,3}})\s*(?P<more_unit>{_UNIT})?)?"
)
UNTIL: Final = rf"(?:(?:until|till) {CLOCK}|for {SPAN})"
"""What begins now ends then."""
AT: Final = rf"(?:at {CLOCK}|in {SPAN})"
"""When something begins."""
_CLOCK_WORDS: Final = frozenset({"hour", "named"})
"""Groups of :data:`CLOCK` that tell of a clock on a wall, and so of its zone."""
_UNITS_S: Final = {"m": 60.0, "h": 3600.0, "d": 86_400.0}
_SMALLER: Final = {"h": "m", "d": "h"}
_NAMED: Final = {"midnight": time(0), "noon": time(12)}


async def said_ts(invocation: Invocation, context: Context) -> float | None:
    """When the time that was said is, by the clock of whoever said it; None when none was.

    Raises:
        CommandError: no clock shows it, today's no more, or nobody knows which zone the clock is of.
    """
    by_clock = _CLOCK_WORDS & set(invocation.words)
    zone = await context.roles.zone(invocation.request.user) if by_clock else UTC
    if zone is None:  # 22:00 of another zone would be hours off
        raise CommandError("zone-unknown", "Slack does not say which zone your clock is of.", "in 2h, or for 2h")
    return due_ts(invocation.words, context.clock.now(), zone)


def due_ts(words: Mapping[str, str], now: float, zone: tzinfo) -> float | None:
    """When a clock of ``zone`` next shows that, also where it is put forward or back before then; None when no time was
    said.

    Raises:
        CommandError: no clock shows that, or today's no more.
    """
    if words.get("amount"):
        return now + _span_s(words)
    wall = _wall(words)
    if wall is None:
        return None
    today = datetime.fromtimestamp(now, zone).date()
    day = (words.get("day") or words.get("said_day") or "").lower()
    days_ahead = {"today": (0,), "tomorrow": (1,)}.get(day, (0, 1, 2))
    days = (datetime.combine(today + timedelta(days=ahead), wall) for ahead in days_ahead)
    if not (due := [ts for one in days for ts in _moments(one, zone) if ts > now]):
        raise CommandError("past", f"{wall:%H:%M} of today is past.", "for example: tomorrow 8:00, or in 2h")
    return min(due)


def _wall(words: Mapping[str, str]) -> time | None:
    """What the clock shows then."""
    if name := words.get("named"):
        return _NAMED[name.lower()]
    if not words.get("hour"):
        return None
    hour, minute = int(words["hour"]), int(words.get("minute", "0"))
    half = words.get("half", "").lower().replace(".", "")
    if half:
        hour = hour % 12 + (12 if half == "pm" else 0) if 1 <= hour <= 12 else 99
    if hour > 23 or minute > 59:
        raise CommandError("no-such-time", "no clock shows that time.", "for example: 22:00, or 7:30 am")
    return time(hour, minute)


def _span_s(words: Mapping[str, str]) -> float:
    """Of ``1.5h``, ``half an hour``, ``1 h 30 min``, ``2h30``."""
    said, unit = words["amount"].lower(), words["unit"][0].lower()
    amount = 0.5 if said.startswith("half") else 1.0 if said.startswith("a") else float(said.replace(",", "."))
    more_unit = words.get("more_unit", _SMALLER.get(unit, "m"))[0].lower()
    return amount * _UNITS_S[unit] + int(words.get("more", "0")) * _UNITS_S[more_unit]


def _moments(wall: datetime, zone: tzinfo) -> Sequence[float]:
    """When clocks of ``zone`` show ``wall``: twice where they are put back over it. Where they are put forward over it,
    once, as late as if they had not been."""
    both = [wall.replace(tzinfo=zone, fold=fold).timestamp() for fold in (0, 1)]
    return [ts for ts in both if datetime.fromtimestamp(ts, zone).replace(tzinfo=None) == wall] or both[:1]
