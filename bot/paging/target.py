"""Where a page goes: an Apprise URL, maybe that of a person with quiet hours. Pure; loads no Apprise."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field, replace
from typing import Final

_BETWEEN: Final = re.compile(r"[\s,;]+(?=(?:[UW][A-Z0-9_]{1,30}(?:/[0-9:]+-[0-9:]+)?=)?[A-Za-z][A-Za-z0-9+.-]*://)")
"""An Apprise URL may itself hold a comma."""
_TARGET: Final = re.compile(
    r"(?:(?P<user>[UW][A-Z0-9_]{1,30})(?:/(?P<quiet>[0-9:]+-[0-9:]+))?=)?(?P<url>(?P<kind>[A-Za-z][A-Za-z0-9+.-]*)://\S+)"
)
_QUIET: Final = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)-([01]?\d|2[0-3]):([0-5]\d)")


@dataclass(frozen=True, slots=True, kw_only=True)
class PageTarget:
    """``url`` holds secrets and shows in no ``repr``. ``user`` is the Slack member whose phone it is; None for a
    service that calls by rules of its own (PagerDuty, a team's mailbox), which gets every page. ``quiet`` are minutes
    of the day on this host's clock, from and until. It is ``number`` among ``count`` of them."""

    url: str = field(repr=False)
    kind: str
    user: str | None = None
    quiet: tuple[int, int] | None = None
    number: int = 1
    count: int = 1

    @property
    def label(self) -> str:
        """Which one of PAGE_URLS it is, as the doctor numbers them: two of one kind are two."""
        which = f" {self.number} of {self.count}" if self.count > 1 else ""
        return f"page target{which} ({self.name})"

    @property
    def name(self) -> str:
        """For people and logs: kind and person, without a secret."""
        return f"{self.kind} of {self.user}" if self.user else self.kind

    @property
    def key(self) -> str:
        """What the database knows it by: nothing can be told from it."""
        return hashlib.sha256(self.url.encode("utf-8")).hexdigest()[:16]

    def is_quiet(self, minute: int) -> bool:
        """Whether the person wants no call at that minute of the day, 0 to 1439."""
        if self.quiet is None:
            return False
        begin, end = self.quiet
        return begin <= minute < end if begin <= end else minute >= begin or minute < end


def read_targets(text: str) -> tuple[PageTarget, ...]:
    """The targets in their order, which is that in which people are called.

    Raises:
        ValueError: says which one, by its number, can't be read; its text may be a secret.
    """
    targets: list[PageTarget] = []
    for number, part in enumerate(_BETWEEN.split(text.strip()), 1):
        found = _TARGET.fullmatch(part)
        if found is None:
            raise ValueError(f"number {number} is no URL")
        quiet = None
        if found["quiet"] is not None:
            hours = _QUIET.fullmatch(found["quiet"])
            if hours is None:
                raise ValueError(f"the quiet hours of number {number} are not as in 22:00-07:00")
            from_h, from_min, until_h, until_min = map(int, hours.groups())
            quiet = (60 * from_h + from_min, 60 * until_h + until_min)
        target = PageTarget(
            url=found["url"], kind=found["kind"].lower(), user=found["user"], quiet=quiet, number=number
        )
        if target.key in {one.key for one in targets}:
            raise ValueError(f"number {number} stands there twice")
        targets.append(target)
    return tuple(replace(one, count=len(targets)) for one in targets)
