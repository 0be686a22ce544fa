"""Who is mentioned in the alerts of a run, and when an id that a run's file names is believed."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence
from typing import Final, Protocol

from trainmaster.bot.alerting.notices import Memory
from trainmaster.bot.core.conversation.standing import Standing
from trainmaster.bot.core.conversation.tokens import person
from trainmaster.bot.core.run.owner import OwnerRule, owner_of, told_owner
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import StoreError

_BELIEVED_S: Final = 60.0
_UNKNOWN_S: Final = 15.0
"""How often Slack is asked again about an id that it vouched for, and about one that it did not."""
_FOUND: Final = "owners"


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
    full member of the workspace who is in the alert channel: nobody else is ever called by what a file says. Who was
    believed is remembered, so that the first alert after a restart calls them too."""

    def __init__(
        self, *, rules: Sequence[OwnerRule], trusted: Collection[str], people: Directory, memory: Memory | None = None
    ) -> None:
        self._rules = tuple(rules)
        self._trusted = frozenset((*trusted, *(rule.user for rule in rules)))
        self._people = people
        self._memory = memory
        self._found = self._remembered()
        self._asked_ts: dict[str, float] = {}
        """When Slack was asked about an id."""
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

    async def learn(self, views: Sequence[RunView], now: float) -> None:
        """The ids in the files of these runs were looked up: a new one at once, others now and then. An owner who left
        is believed no more."""
        told = {owner for one in views if (owner := told_owner(one)) is not None} - self._trusted
        found = {user for user in self._found if user in told}
        for user in sorted(told):
            pause_s = _BELIEVED_S if user in found else _UNKNOWN_S
            if 0 <= now - self._asked_ts.get(user, now - pause_s) < pause_s:
                continue
            self._asked_ts[user] = now
            is_one = await self._people.standing(user) is Standing.MEMBER and await self._people.is_member(user)
            found = found | {user} if is_one else found - {user}
        self._keep(frozenset(found))
        for user in sorted({one for one in self._of.values() if one is not None} - self._people.names.keys()):
            if 0 <= now - self._asked_ts.get(user, now - _UNKNOWN_S) < _UNKNOWN_S:
                continue
            self._asked_ts[user] = now
            await self._people.standing(user)
        for view in views:
            self.note(view)
        for run in self._of.keys() - {view.run for view in views}:
            del self._of[run]

    def _keep(self, found: frozenset[str]) -> None:
        if found != self._found and self._memory is not None:
            with contextlib.suppress(StoreError):  # they are asked about anew after a restart
                self._memory.put(_FOUND, " ".join(sorted(found)))
        self._found = found

    def _remembered(self) -> frozenset[str]:
        try:
            return frozenset((self._memory.get(_FOUND) or "").split()) if self._memory is not None else frozenset()
        except StoreError:
            return frozenset()
