"""Regular expressions that are compiled when they are first needed: most logs need few, and a scan starts in
milliseconds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator


class LazyPattern:
    """As a compiled pattern. Where ``hints`` are given, a text without any of them is not even tried."""

    __slots__ = ("_compiled", "_flags", "_hints", "_pattern")

    def __init__(self, pattern: str, flags: int = 0, *, hints: tuple[str, ...] = ()) -> None:
        self._pattern, self._flags, self._hints = pattern, flags, hints
        self._compiled: re.Pattern[str] | None = None

    @property
    def hints(self) -> tuple[str, ...]:
        """The words of which a text must have one to be tried."""
        return self._hints

    def search(self, text: str) -> re.Match[str] | None:
        """As :func:`re.search`, compiled at the first use."""
        return self._known.search(text) if self._may_match(text) else None

    def match(self, text: str) -> re.Match[str] | None:
        """As :func:`re.match`, compiled at the first use."""
        return self._known.match(text) if self._may_match(text) else None

    def fullmatch(self, text: str) -> re.Match[str] | None:
        """As :func:`re.fullmatch`, compiled at the first use."""
        return self._known.fullmatch(text) if self._may_match(text) else None

    def sub(self, by: Callable[[re.Match[str]], str], text: str) -> str:
        """As :func:`re.sub`, compiled at the first use."""
        return self._known.sub(by, text)

    def finditer(self, text: str) -> Iterator[re.Match[str]]:
        """As :func:`re.finditer`, compiled at the first use."""
        return self._known.finditer(text)

    @property
    def _known(self) -> re.Pattern[str]:
        if self._compiled is None:
            self._compiled = re.compile(self._pattern, self._flags)
        return self._compiled

    def _may_match(self, text: str) -> bool:
        return not self._hints or any_in(self._hints, text)


def any_in(words: tuple[str, ...], text: str) -> bool:
    """Whether one of ``words`` stands in ``text``. A loop, since ``any`` of a generator takes twice the time."""
    for word in words:  # noqa: SIM110 - see above
        if word in text:
            return True
    return False
