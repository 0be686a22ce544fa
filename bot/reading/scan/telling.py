"""The bytes by which a skimmed log is searched, and what can be told without one of them."""

from __future__ import annotations

from trainmaster.bot.reading.console.facts import ConsoleFact, FatalError
from trainmaster.bot.reading.console.frames import TELLING

__all__ = ["TELLING", "is_quiet"]

_TELLING_CHARACTERS = frozenset(TELLING.decode())


def is_quiet(fact: ConsoleFact) -> bool:
    """Whether ``fact`` is an error in words without a telling byte, as shells of other languages have ("已杀死").

    Skimming sees it only where the log or an attempt ends with it. Elsewhere it ended nothing, so it is not told.
    """
    return isinstance(fact, FatalError) and _TELLING_CHARACTERS.isdisjoint(fact.text)
