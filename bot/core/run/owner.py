"""Whose a run is, as far as people are concerned: who is mentioned in its alerts. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from trainmaster.bot.core.run.view import RunView

_MEMBER_ID: Final = re.compile(r"[UW][A-Z0-9]{1,20}")


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerRule:
    """An entry of ``RUN_OWNERS``: whose runs are ``user``'s. ``pattern`` is a name with ``*`` and ``?``, or ``@LOGIN``
    of whoever the run's files belong to."""

    pattern: str
    user: str

    def names(self, view: RunView) -> bool:
        """Whether the run is among them. What a stranger calls a run makes it nobody's: only its files count there."""
        if self.pattern.startswith("@"):
            return view.login == self.pattern[1:]
        return not view.watched_only and fnmatchcase(view.name, self.pattern)


def told_owner(view: RunView) -> str | None:
    """The member id that the run's own file names; None where it names none, and in a stranger's run: what stands there
    is not even asked about."""
    told = view.record.owner if view.record is not None and not view.watched_only else None
    return told if told is not None and _MEMBER_ID.fullmatch(told) else None


def owner_of(view: RunView, rules: Sequence[OwnerRule], vouched: Collection[str]) -> str | None:
    """The member id of the run's owner; None when it has none.

    Who started the run knows best (``owner=``), but that is text in a file: it counts where the bot acts on the run and
    the id is one of ``vouched``. Then the rules, names before logins: a shared account says little.
    """
    told = told_owner(view)
    if told in vouched:
        return told
    by_login = [rule for rule in rules if rule.pattern.startswith("@")]
    by_name = [rule for rule in rules if not rule.pattern.startswith("@")]
    return next((rule.user for rule in (*by_name, *by_login) if rule.names(view)), None)
