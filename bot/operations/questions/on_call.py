"""Who may decide, looked up at the moment of the decision."""

from __future__ import annotations

import logging

from trainmaster.bot.core.conversation.tokens import person
from trainmaster.bot.errors import ChatError, CommandError
from trainmaster.bot.ports import Chat

_LOG = logging.getLogger(__name__)


class OnCall:
    """``seen`` are the people of the last look-up: good enough to address a message, never to decide."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self.seen: tuple[str, ...] = ()

    async def now(self) -> frozenset[str]:
        """The people on call.

        Raises:
            ChatError: that could not be found out.
        """
        on_call = await self._chat.on_call()
        self.seen = tuple(sorted(on_call))
        return on_call

    async def deciders(self) -> list[str]:
        """The people on call, of whom there are some.

        Raises:
            CommandError: there is nobody.
            ChatError: that could not be found out.
        """
        if on_call := sorted(await self.now()):
            return on_call
        raise CommandError(
            "nobody-on-call", "nobody could approve: no one is on call.", "set ONCALL_USERS or ONCALL_USERGROUP"
        )

    async def or_seen(self) -> frozenset[str]:
        """The people to tell; those of the last look-up when there is no answer now."""
        try:
            return await self.now()
        except ChatError as error:
            _LOG.warning("who is on call could not be found out: %s", error)
            return frozenset(self.seen)

    async def require(self, user: str, what: str) -> None:
        """``user`` is on call.

        Raises:
            CommandError: they are not; says who is.
            ChatError: that could not be found out.
        """
        on_call = await self.now()
        if user not in on_call:
            names = ", ".join(map(person, sorted(on_call))) or "nobody: ONCALL_USERS is empty"
            raise CommandError("not-on-call", f"only people on call may {what}. On call: {names}.", "/train help")
