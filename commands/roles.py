"""Who may do what: looked at here for every command and button, before anything is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Protocol

from trainmaster.bot.core.conversation.standing import Standing
from trainmaster.bot.core.conversation.tokens import person
from trainmaster.bot.errors import CommandError
from trainmaster.bot.ports import Clock


class Roles(Protocol):
    """What the workspace knows of people and channels."""

    async def standing(self, user: str) -> Standing:
        """What the person is to the workspace."""
        ...

    async def is_member(self, user: str) -> bool:
        """Whether the person is in the alert channel; False when that can't be told."""
        ...

    async def zone(self, user: str) -> tzinfo | None:
        """The zone of the person's own clock; None when that can't be told."""
        ...

    async def reaches(self, channel: str) -> bool:
        """Whether what the bot posts in ``channel`` is seen by everybody there."""
        ...


class NoRoles:
    """Where nothing tells of people: whoever is on call acts, nobody else."""

    async def standing(self, user: str) -> Standing:  # noqa: ARG002 - part of the Protocol
        """Nothing is known of anybody."""
        return Standing.UNKNOWN

    async def is_member(self, user: str) -> bool:  # noqa: ARG002
        """Nothing is known of anybody."""
        return False

    async def zone(self, user: str) -> tzinfo | None:  # noqa: ARG002
        """Nothing is known of anybody: UTC."""
        return UTC

    async def reaches(self, channel: str) -> bool:
        """Everywhere but in a direct message."""
        return not channel.startswith("D")


class OnCallNow(Protocol):
    """Who may decide, as asked now."""

    async def now(self) -> frozenset[str]:
        """The people on call.

        Raises:
            ChatError: that could not be found out.
        """
        ...


class AuditTrail(Protocol):
    """The part of the audit log that this needs."""

    def append(self, actor: str, action: str, subject: str, detail: Mapping[str, object], now: float) -> None:
        """Written and synced before this returns."""
        ...

    def append_later(self, actor: str, action: str, subject: str, detail: Mapping[str, object], now: float) -> None:
        """Written as soon as that is possible."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """``members_care``: members of the alert channel may take and silence alerts, not only people on call."""

    on_call: OnCallNow
    roles: Roles
    clock: Clock
    audit: AuditTrail | None = None
    members_care: bool = False

    def refuse_foreign(self, user: str, team: str, what: str) -> None:
        """The person belongs to the bot's own workspace.

        Raises:
            CommandError: they do not; it is on record.
        """
        if team:
            self.note(user, "person.refused", what, outcome=f"of workspace {team}")
            raise CommandError(
                "other-workspace",
                f"only people of this workspace may talk to me; you are of workspace {team}.",
                "ask somebody of this workspace",
            )

    async def require_on_call(self, user: str, what: str) -> None:
        """The person is on call now, and no guest.

        Raises:
            CommandError: they are not; says who is.
            ChatError: who is on call could not be found out.
        """
        on_call = await self.on_call.now()
        if user not in on_call:
            self.note(user, "person.refused", what, outcome="not on call")
            raise CommandError("not-on-call", f"only people on call may {what}.", f"on call: {_names(on_call)}")
        await self._require_standing(user, what)

    async def require_care(self, user: str, what: str) -> None:
        """The person may take, silence and unsilence alerts.

        Raises:
            CommandError: they may not; says who may.
            ChatError: who is on call could not be found out.
        """
        on_call = await self.on_call.now()
        if user not in on_call and not (self.members_care and await self._is_full_member(user)):
            who = "people on call and members of the alert channel" if self.members_care else "people on call"
            self.note(user, "person.refused", what, outcome=f"not among {who}")
            raise CommandError("not-on-call", f"only {who} may {what}.", f"on call: {_names(on_call)}")
        await self._require_standing(user, what)

    async def require_voice(self, user: str, what: str, *, direct: bool) -> None:
        """The person may ask for something that others decide: no guest, and in a direct message one of the alert
        channel.

        Raises:
            CommandError: they may not.
            ChatError: who is on call could not be found out.
        """
        await self._require_standing(user, what)
        if not direct or user in await self.on_call.now() or await self.roles.is_member(user):
            return
        self.note(user, "person.refused", what, outcome="direct message of somebody who is not in the alert channel")
        raise CommandError(
            "not-a-member",
            f"only members of the alert channel may {what} in a direct message.",
            "join it, or ask there",
        )

    async def _is_full_member(self, user: str) -> bool:
        return await self.roles.standing(user) is Standing.MEMBER and await self.roles.is_member(user)

    async def require_member(self, user: str, what: str) -> None:
        """The person is no guest, no bot and not of elsewhere; whether they are on call is looked at by who acts.

        Raises:
            CommandError: they are.
        """
        if user in await self.on_call.now():  # only they get any further, and only of them the workspace is asked
            await self._require_standing(user, what)

    async def _require_standing(self, user: str, what: str) -> None:
        standing = await self.roles.standing(user)
        if not standing.acts:
            self.note(user, "person.refused", what, outcome=standing.value)
            raise CommandError(
                "no-member",
                f"only full members of this workspace may {what}; your account is {_standing_text(standing)}.",
                "ask somebody on call",
            )

    def note(self, user: str, action: str, subject: str, **detail: object) -> None:
        """It stands in the audit log, where there is one.

        Raises:
            StoreError: it could not be written.
        """
        if self.audit is not None:
            self.audit.append(user, action, subject, detail, self.clock.now())

    def note_later(self, user: str, action: str, subject: str, **detail: object) -> None:
        """It stands in the audit log as soon as that takes it, where there is one.

        Raises:
            StoreError: it can't even wait.
        """
        if self.audit is not None:
            self.audit.append_later(user, action, subject, detail, self.clock.now())


def _standing_text(standing: Standing) -> str:
    return f"a {standing.value}" if standing in {Standing.GUEST, Standing.BOT} else standing.value


def _names(people: frozenset[str]) -> str:
    return ", ".join(map(person, sorted(people))) or "nobody: ONCALL_USERS is empty"
