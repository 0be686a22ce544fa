"""Logs that were exported with the newest line first, as Grafana, logcli, gcloud and ``journalctl -r`` do, put into the
order of time. Nothing is put anywhere unless all times that it names fall. Loaded only for what may be such a log."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

Moment = tuple[float, ...]
"""To be compared with others of the same log."""

_MONTHS: Final = "JanFebMarAprMayJunJulAugSepOctNovDec"
_MOMENT: Final = re.compile(
    r"(?P<date>\d{4}[-/]\d\d[-/]\d\d)[T ](?P<clock>\d\d:\d\d:\d\d(?:[.,]\d+)?)"
    # journald and syslog; with a year Kibana
    r"|\b(?P<month>[A-Z][a-z]{2}) +(?P<day>\d{1,2})(?:, (?P<year>\d{4}) @)? (?P<time>\d\d:\d\d:\d\d(?:\.\d+)?)"
    r"|(?<![\w.])(?P<number>\d{10,19}(?:\.\d+)?)(?![\w.])"
)
_TIME_KEY: Final = r"(?i).*(?:time|date)|.*\bts"
_FEWEST: Final = 3
"""Fewer times may fall by chance."""
_MOST_LINES: Final = 2
"""A record has so many at most, on average."""
_MAX_DEPTH: Final = 8
_MAX_KEY_DEPTH: Final = 3


def moment_of(text: str) -> Moment | None:
    """The first time that ``text`` names."""
    found = _MOMENT.search(text)
    return _moment(found) if found else None


def falls(moments: Iterable[Moment | None]) -> bool:
    """Whether all of ``moments`` are known and go from the newest to the oldest; as many are looked at as it takes."""
    newest = last = None
    known = 0
    for moment in moments:
        if moment is None or (last is not None and moment > last):
            return False
        newest, last, known = newest or moment, moment, known + 1
    return known >= _FEWEST and newest != last


def put_in_order(document: Any, depth: int = 0) -> bool:
    """Turn each list of records in ``document`` whose times fall; whether there was one."""
    turned = False
    if isinstance(document, list) and len(document) >= _FEWEST:
        keys = _times(document[0])
        turned = any(falls(_column(document, key)) for key in keys) and not any(
            falls(_column(reversed(document), key)) for key in keys
        )
        if turned:
            document.reverse()
    if depth < _MAX_DEPTH and isinstance(document, dict | list):
        for inner in document.values() if isinstance(document, dict) else document:
            turned = (isinstance(inner, dict | list) and put_in_order(inner, depth + 1)) or turned
    return turned


def lines_in_order(text: str) -> str | None:
    """``text`` with its lines in the order of time; None when they are, or tell none. A line without a time belongs to
    the one before it."""
    if not falls(moment_of(record) for record in _records(text)):
        return None
    records = list(_records(text))
    if len(records) * _MOST_LINES < text.count("\n"):  # the times are of what the log says, such as when it will end
        return None
    return "\n".join(reversed(records)) + "\n"


def _records(text: str) -> Iterator[str]:
    record: list[str] = []
    for line in text.removesuffix("\n").split("\n"):
        if record and _MOMENT.search(line):
            yield "\n".join(record)
            record = []
        record.append(line)
    yield "\n".join(record)


def _moment(found: re.Match[str]) -> Moment:
    if found["number"]:
        return (float(found["number"]) if "." in found["number"] else int(found["number"]),)
    day = found["date"] or f"{found['year'] or 0}-{_MONTHS.find(found['month']) + 1}-{found['day']}"
    clock = found["clock"] or found["time"]
    return tuple(float(part) for part in re.split(r"[-/:]", f"{day}:{clock.replace(',', '.')}"))


def _column(records: Iterable[Any], key: str) -> Iterator[Moment | None]:
    return (_times(record).get(key) for record in records)


def _times(record: Any) -> dict[str, Moment]:
    """The times that ``record`` has, by where they stand in it."""
    return dict(_named_times(record, "", 0))


def _named_times(value: Any, key: str, depth: int) -> Iterator[tuple[str, Moment]]:
    if isinstance(value, str | int | float):
        if re.match(_TIME_KEY, key) and (moment := moment_of(str(value))) is not None:
            yield key, moment
    elif isinstance(value, dict) and depth < _MAX_KEY_DEPTH:
        for name, inner in value.items():
            yield from _named_times(inner, f"{key}.{name}", depth + 1)
    elif isinstance(value, list) and depth == 0 and value:  # Loki's pairs of time and line
        yield from _named_times(value[0], "time", depth + 1)
