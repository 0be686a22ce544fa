"""The card of a run is pinned while the run goes on, and comes off when it is over."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Final, Protocol

from trainmaster.bot.core.alerts.alert import card_key
from trainmaster.bot.core.conversation.pin import Pin, PinState
from trainmaster.bot.core.run.state import RunState
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import ChatError
from trainmaster.bot.ports import ChatRefused, Clock, MessageGone, RateLimited, Runs

_LOG = logging.getLogger(__name__)

OVER_S: Final = 30.0
"""A run that ended before its end may be resumed at once: its pin does not flap, since Slack says each one in the
channel."""
MAX_PINS: Final = 30
"""Slack takes 100 a channel, and people have their own."""
CALLS_A_TICK: Final = 5
"""Of methods that Slack takes about 20 times a minute (docs.slack.dev, rate limits, tier 2)."""
OFF_S: Final = 3600.0
"""So long nothing is pinned after Slack refused."""
AGAIN_S: Final = 60.0
"""The pause after a fault that may pass."""


class PinCards(StrEnum):
    """Whether cards are pinned: ``PIN_CARDS``."""

    AUTO = "auto"
    """Where Slack says that the app has the permission."""
    ON = "on"
    """Also where Slack does not say; a permission that is lacking is told."""
    OFF = "off"


class PinBook(Protocol):
    """Pins, remembered across restarts."""

    def all(self) -> Collection[Pin]:
        """Every pin that is there or may be, oldest message first."""
        ...

    def note(self, pin: Pin) -> None:
        """From now on so much is known of it."""
        ...

    def forget(self, pin: Pin) -> None:
        """It is certainly not there any more."""
        ...

    def standing(self, keys: Collection[str]) -> Collection[Pin]:
        """Those of the messages that stand in a channel, as pins to be."""
        ...


class Pinboard(Protocol):
    """The heads of the channels. Both raise :class:`ChatError`: as :class:`MessageGone` where this message can't be
    pinned, as :class:`ChatRefused` where none can until somebody mends something."""

    async def pin(self, pin: Pin) -> None:
        """The message is pinned, now or already."""
        ...

    async def unpin(self, pin: Pin) -> None:
        """The message is not pinned, now or already."""
        ...


class PinnedCards:
    """What is pinned follows what runs: written down first, then done, and done again where an earlier process was
    killed over it. A pin that a person takes off stays off."""

    def __init__(
        self,
        *,
        book: PinBook,
        board: Pinboard,
        runs: Runs,
        clock: Clock,
        may_pin: Callable[[], bool | None],
        switch: PinCards,
    ) -> None:
        """``may_pin`` tells whether the app has the permission; None where Slack does not say."""
        self._book = book
        self._board = board
        self._runs = runs
        self._clock = clock
        self._may_pin = may_pin
        self._switch = switch
        self._over_since: dict[str, float] = {}
        self._off_until = float("-inf")
        self._said: set[str] = set()

    async def tick(self) -> None:
        """Every run that goes on has its card pinned, and no other, as far as Slack lets that happen now.

        Raises:
            StoreError: what is pinned can't be read or written; the next tick does it.
        """
        now = self._clock.now()
        if now < self._off_until or not self._able():
            return
        pins = self._book.all()
        views = {card_key(one.run): one for one in self._runs.all() if one.record is not None}
        standing = {one.key: one for one in self._book.standing(views)}
        off = [pin for pin in pins if self._is_over(pin, views, standing, now)]
        for pin in [*off, *self._to_pin(views, standing, pins)][:CALLS_A_TICK]:
            await (self._take_off(pin) if pin in off else self._put_up(pin))
            if self._clock.now() < self._off_until:
                break

    def _able(self) -> bool:
        may = self._may_pin()
        if may is False and self._switch is PinCards.ON:
            self._say_once("PIN_CARDS is on, but the app lacks pins:write; trainmaster manifest has it")
        return may is True or (may is None and self._switch is PinCards.ON)

    def _to_pin(self, views: Mapping[str, RunView], standing: Mapping[str, Pin], pins: Collection[Pin]) -> list[Pin]:
        if self._switch is PinCards.OFF:
            return []
        done = {pin.place for pin in pins if pin.state is not PinState.WANTED}
        room = MAX_PINS - sum(pin.state is PinState.PINNED for pin in pins)
        wanted = [one for key, one in standing.items() if views[key].state.goes_on and one.place not in done]
        return wanted[: max(0, room)]

    def _is_over(self, pin: Pin, views: Mapping[str, RunView], standing: Mapping[str, Pin], now: float) -> bool:
        """Whether the message is to be pinned no more: its run is over or gone, or it was posted anew elsewhere."""
        if self._switch is PinCards.OFF or standing.get(pin.key, pin).place != pin.place:
            return True
        state = views[pin.key].state if pin.key in views else None
        if state is not None and (state.goes_on or state is RunState.UNKNOWN):
            self._over_since.pop(pin.key, None)
            return False
        since = self._over_since.setdefault(pin.key, now)
        return state is RunState.FINISHED or not 0 <= now - since < OVER_S

    async def _put_up(self, pin: Pin) -> None:
        self._book.note(pin)
        try:
            await self._board.pin(pin)
        except MessageGone as error:
            _LOG.info("%s: %s", pin.key, error)
            self._book.note(replace(pin, state=PinState.REFUSED))
        except ChatError as error:
            self._pause(error)
        else:
            self._book.note(replace(pin, state=PinState.PINNED))

    async def _take_off(self, pin: Pin) -> None:
        try:
            if pin.state is not PinState.REFUSED:
                await self._board.unpin(pin)
        except MessageGone as error:  # it never was
            _LOG.info("%s: %s", pin.key, error)
        except ChatError as error:
            self._pause(error)
            return
        self._book.forget(pin)
        self._over_since.pop(pin.key, None)

    def _pause(self, error: ChatError) -> None:
        pause_s = AGAIN_S
        if isinstance(error, RateLimited):
            pause_s = error.retry_after_s
        elif isinstance(error, ChatRefused):
            pause_s = OFF_S
            self._say_once(f"cards are not pinned: {error}")
        self._off_until = self._clock.now() + pause_s

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            _LOG.warning("%s", text)
