"""Who is mentioned in the alerts of a run, and when an id that a run's file names is believed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from trainmaster.bot.core.conversation.standing import Standing
from trainmaster.bot.core.conversation.tokens import person
from trainmaster.bot.core.run.owner import OwnerRule, owner_of
from trainmaster.bot.core.run.view import RunView


class Directory(Protocol):
    """The people of the workspace, as Slack tells them; what it does not tell in time counts as no."""

    @property
    def names(self) -> Mapping[str, str]:
        """What people are called, by id, of those who were looked up."""
        ...

    async def standing(self, user: str) -> Standing:
        """What the person is."""
        ...

    async def is_member(self, user: str) -> bool:
        """Whether the person is in the alert channel."""
        ...


class Owners:
    """``trusted`` are the ids that the settings name. Another one that stands in a run's file is believed when it is a
    full member of the workspace who is in the alert channel: nobody else is ever called by what a file says."""

    def __init__(self, *, rules: Sequence[OwnerRule], trusted: Collection[str], people: Directory) -> None:
        self._rules = tuple(rules)
        self._trusted = frozenset((*trusted, *(rule.user for rule in rules)))
        self._people = people
        self._found: frozenset[str] = frozenset()
        self._of: dict[str, str | None] = {}

    def note(self, view: RunView) -> None:
        """The run's alerts mention its owner from now on."""
        self._of[view.run] = owner_of(view, self._rules, self._trusted | self._found)

    def of(self, run: str) -> str | None:
        """The owner of the run that :meth:`note` saw last under that id."""
        return self._of.get(run)

    def name(self, run: str) -> str:
        """The owner in words that call nobody, where Slack told a name; empty when the run has none."""
        owner = self.of(run)
        return (self._people.names.get(owner) or person(owner)) if owner is not None else ""

    async def learn(self, views: Sequence[RunView]) -> None:
        """The ids in the files of these runs were looked up. An owner who left is believed no more."""
        told = {one.record.owner for one in views if one.record is not None and one.record.owner}
        found = set()
        for user in sorted(told - self._trusted):
            if await self._people.standing(user) is Standing.MEMBER and await self._people.is_member(user):
                found.add(user)
        self._found = frozenset(found)
        for user in sorted({one for one in self._of.values() if one is not None} - self._people.names.keys()):
            await self._people.standing(user)
        for view in views:
            self.note(view)
        for run in self._of.keys() - {view.run for view in views}:
            del self._of[run]
