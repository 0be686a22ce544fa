"""What may be used a few times or for a while only: response URLs, trigger ids, connection tickets; and rate limits."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from trainmaster.bot.workspace.blocks import limits
from trainmaster.bot.workspace.refusal import MethodRefusedError


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseTarget:
    """Where a ``response_url`` leads. ``message_ts`` is the message whose button was pressed, if any."""

    channel_id: str
    user_id: str
    message_ts: str | None = None
    thread_ts: str | None = None


@dataclass(slots=True, kw_only=True)
class _ResponsePass:
    target: ResponseTarget
    expires_at: float
    uses_left: int = limits.RESPONSE_URL_USES


class ResponseUrls:
    """Five uses within thirty minutes each."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._passes: dict[str, _ResponsePass] = {}

    def issue(self, target: ResponseTarget) -> str:
        """Return the secret last part of a new response URL."""
        code = secrets.token_urlsafe(18)
        self._passes[code] = _ResponsePass(target=target, expires_at=self._clock() + limits.RESPONSE_URL_TTL_S)
        return code

    def check(self, code: str) -> ResponseTarget:
        """Return where it leads, using nothing up; raises :class:`MethodRefusedError` (404) when spent or unknown."""
        found = self._passes.get(code)
        if found is None or self._clock() > found.expires_at:
            raise MethodRefusedError("expired_url", status=404)
        if found.uses_left <= 0:
            raise MethodRefusedError("used_url", status=404)
        return found.target

    def use(self, code: str) -> None:
        """The address has one use less."""
        self._passes[code].uses_left -= 1


class TriggerIds:
    """Three seconds, one use each."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._issued: dict[str, tuple[str, float]] = {}
        self._used: set[str] = set()

    def issue(self, user_id: str) -> str:
        """Return a trigger id that opens a modal in front of ``user_id``."""
        trigger_id = f"{secrets.randbelow(10**13)}.{secrets.randbelow(10**13)}.{secrets.token_hex(16)}"
        self._issued[trigger_id] = (user_id, self._clock() + limits.TRIGGER_TTL_S)
        return trigger_id

    def exchange(self, trigger_id: str) -> str:
        """Return whose trigger it was; raises :class:`MethodRefusedError` when it is unknown, used or too old."""
        if trigger_id in self._used:
            raise MethodRefusedError("exchanged_trigger_id")
        if trigger_id not in self._issued:
            raise MethodRefusedError("invalid_trigger_id")
        user_id, expires_at = self._issued[trigger_id]
        if self._clock() > expires_at:
            raise MethodRefusedError("expired_trigger_id")
        self._used.add(trigger_id)
        return user_id


class Tickets:
    """Single-use permission to open one Socket Mode connection."""

    def __init__(self) -> None:
        self._open: set[str] = set()

    def issue(self) -> str:
        """Return a new ticket."""
        ticket = secrets.token_urlsafe(18)
        self._open.add(ticket)
        return ticket

    def take(self, ticket: str) -> bool:
        """Whether the ticket was good; it no longer is."""
        if ticket not in self._open:
            return False
        self._open.discard(ticket)
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """So many calls a second in the long run, ``burst`` at once."""

    per_s: float
    burst: int


POST_RATE = Rate(per_s=1.0, burst=20)
"""About one message a second a channel (docs.slack.dev, rate limits); short bursts pass, how long is not documented."""
METHOD_RATE = Rate(per_s=50 / 60, burst=50)
"""Tier 3, 50 calls a minute: ``chat.update`` and its like, for the whole workspace."""


class RateLimit:
    """One token bucket for each key."""

    def __init__(self, rate: Rate, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def spend(self, key: str) -> None:
        """Take one; raises :class:`MethodRefusedError` (429, with the seconds to wait) when the bucket is empty."""
        now = self._clock()
        tokens, since = self._buckets.get(key, (float(self._rate.burst), now))
        tokens = min(float(self._rate.burst), tokens + (now - since) * self._rate.per_s)
        if tokens < 1.0:
            self._buckets[key] = (tokens, now)
            wait_s = max(1, round((1.0 - tokens) / self._rate.per_s + 0.5))
            raise MethodRefusedError("ratelimited", status=429, retry_after_s=wait_s)
        self._buckets[key] = (tokens - 1.0, now)
