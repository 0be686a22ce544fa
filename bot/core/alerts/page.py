"""One call beyond Slack, about one firing of one alert."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class PageKind(StrEnum):
    """What a page says."""

    FIRED = "fired"
    RESOLVED = "resolved"
    HELD = "held"
    """That more pages are held back than this target is sent in an hour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """There is one of a kind for each firing of an alert and each target, however often it is decided. ``target`` is
    the digest of an address. ``sent_ts`` is when the target took it; None while it waits. ``tries`` counts those that
    failed, ``unsure`` those of them that got no answer: the phone may have rung."""

    fingerprint: str
    times_fired: int
    target: str
    kind: PageKind
    title: str
    body: str
    made_ts: float
    next_try_ts: float
    tries: int = 0
    unsure: int = 0
    sent_ts: float | None = None
