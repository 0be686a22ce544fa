"""When the alert channel takes nothing any more, the people on call are told directly."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from trainmaster.bot.core.conversation.message import Message, Tone
from trainmaster.bot.core.run.forecast import duration
from trainmaster.bot.ports import Clock, Outbox

TOLD_AFTER_S = 120.0
"""Somebody who renames, archives or moves channels may be about to mend it."""
_MAX_FAULTS_SHOWN = 3


class Waiting(Protocol):
    """What waits to be sent."""

    def num_pending(self) -> int:
        """Messages whose newest version Slack has not taken yet."""
        ...


class Undelivered:
    """One direct message to each person on call for each time that the channel is lost: archived, the bot removed
    from it, no longer allowed to post there. While Slack itself is away, or the tokens are revoked, nothing gets out
    this way either; that is what WATCHDOG_URL is for."""

    def __init__(
        self,
        *,
        faults: Callable[[], tuple[str, ...]],
        waiting: Waiting,
        outbox: Outbox,
        on_call: Callable[[], Awaitable[Iterable[str]]],
        clock: Clock,
        held_back_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """``faults``: what a person must mend before everything can be delivered. ``held_back_s``: how long Slack
        wants nothing in the alert channel, if that is longer than is normal; told at once. ``on_call``: whom to tell;
        while it names nobody, the next tick asks again."""
        self._held_back_s = held_back_s
        self._held_until_ts = 0.0
        self._faults = faults
        self._waiting = waiting
        self._outbox = outbox
        self._on_call = on_call
        self._clock = clock
        self._since_ts: float | None = None
        self._told = False

    async def tick(self) -> bool:
        """Whether they are told now.

        Raises:
            StoreError: nothing was stored; the next tick repeats it.
        """
        now, faults = self._clock.now(), self._faults()
        held = await self._tell_held_back(now)
        if not faults:
            self._since_ts, self._told = None, False
            return held
        if self._since_ts is None or now < self._since_ts:
            self._since_ts = now
        if self._told or now - self._since_ts < TOLD_AFTER_S:
            return held
        message = Message(
            title="Alerts can't be posted to their channel",
            tone=Tone.CRITICAL,
            body=(
                *faults[:_MAX_FAULTS_SHOWN],
                f"For {duration(now - self._since_ts)}. {_count(self._waiting.num_pending())} until it is mended.",
            ),
            context=("/train alerts shows here what fires",),
        )
        self._told = await self._tell("undelivered", self._since_ts, message)
        return self._told or held

    async def _tell_held_back(self, now: float) -> bool:
        """Whether a pause that nobody was told of yet is told now. One that is merely prolonged is not news."""
        wait_s = self._held_back_s()
        if wait_s <= 0:
            return False
        until_ts = max(self._held_until_ts, now + wait_s + 1.0)
        if now <= self._held_until_ts:
            self._held_until_ts = until_ts
            return False
        message = Message(
            title=f"Slack takes no alerts in their channel for {duration(wait_s)}",
            tone=Tone.CRITICAL,
            body=(
                f"It asked for a pause of {wait_s:.0f} s (Retry-After).",
                f"{_count(self._waiting.num_pending())}; the most urgent goes first.",
            ),
            context=("/train alerts shows here what fires",),
        )
        told = await self._tell("held-back", now, message)
        if told:
            self._held_until_ts = until_ts
        return told

    async def _tell(self, kind: str, since_ts: float, message: Message) -> bool:
        """Whether there is anybody to tell, directly."""
        users = sorted(await self._on_call())
        for user in users:
            self._outbox.put(f"{kind}/{since_ts:.0f}/{user}", message, channel=user)
        return bool(users)


def _count(number: int) -> str:
    return "1 message is kept" if number == 1 else f"{number:,} messages are kept"
