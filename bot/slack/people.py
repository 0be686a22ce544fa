"""Who somebody is, asked of the workspace: member, guest, bot, of elsewhere; and who is in the alert channel."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from trainmaster.bot.core.conversation.standing import Standing
from trainmaster.bot.errors import ChatError
from trainmaster.bot.slack.faults import error_name, translated

_LOG = logging.getLogger(__name__)

CACHE_S: Final = 300.0
"""A guest who becomes a member, or the other way round, counts within five minutes."""
ASK_S: Final = 2.0
"""An emergency stop does not wait longer for who somebody is."""
_NOT_OURS: Final = {"user_not_found", "user_not_visible", "users_not_found"}
"""Answers of ``users.info`` of whom the workspace does not know (docs.slack.dev): strangers of a shared channel."""
_SLACKBOT: Final = "USLACKBOT"
"""Slack's own account, which ``users.info`` calls no bot: reminders and automatic answers speak through it."""
_MAX_OFFSET_S: Final = 14 * 3600
_PAGE: Final = 1000
_MAX_PAGES: Final = 20
_MAX_NAME_CHARS: Final = 60
"""Of a name in a notification; Slack takes 80."""


class SlackPeople:
    """The one that implements :class:`trainmaster.commands.roles.Roles`."""

    def __init__(self, client: AsyncWebClient, channel: Callable[[], str]) -> None:
        self._client = client
        self._channel = channel
        self.team: str | None = None
        """The bot's own workspace, once it has signed in."""
        self._known: dict[str, tuple[float, Standing]] = {}
        self.names: dict[str, str] = {}
        """What people are called, by id, of those who were looked up."""
        self._members: tuple[float, frozenset[str]] = (float("-inf"), frozenset())

    async def standing(self, user: str) -> Standing:
        """What the person is; ``UNKNOWN`` when Slack does not say in time."""
        until, known = self._known.get(user, (float("-inf"), Standing.UNKNOWN))
        if time.monotonic() < until:
            return known
        try:
            described = await self._described(user, f"looking up {user}")
        except (ChatError, TimeoutError) as error:
            _LOG.warning("who %s is could not be found out: %s", user, error or "no answer in time")
            told = error.__cause__
            is_nobody = isinstance(told, SlackApiError) and error_name(told) in _NOT_OURS
            return Standing.NOBODY if is_nobody else Standing.UNKNOWN
        found = standing_of(described, self.team)
        if name := name_of(described):
            self.names[user] = name
        self._known[user] = (time.monotonic() + CACHE_S, found)
        return found

    async def zone(self, user: str) -> tzinfo | None:
        """The zone of the person's own clock, as their profile has it; None when Slack gives no answer."""
        try:
            described = await self._described(user, f"looking up the clock of {user}")
        except (ChatError, TimeoutError) as error:
            _LOG.warning("the clock of %s could not be found out: %s", user, error or "no answer in time")
            return None
        return zone_of(described, time.time())

    async def _described(self, user: str, what: str) -> dict[str, Any]:
        """The object that ``users.info`` tells of the person, in time.

        Raises:
            ChatError: Slack refused ``what``.
            TimeoutError: it gave no answer in time.
        """
        async with asyncio.timeout(ASK_S), translated(what):
            answer = await self._client.users_info(user=user)
        described: Any = answer.get("user")
        return described if isinstance(described, dict) else {}

    async def is_muted(self, user: str) -> bool | None:
        """Whether the person's own Slack makes no sound now (snoozed, or outside their hours); None when Slack does not
        say."""
        try:
            async with asyncio.timeout(ASK_S), translated(f"looking up the quiet hours of {user}"):
                answer = await self._client.dnd_info(user=user)
        except (ChatError, TimeoutError):
            return None
        now = time.time()
        if answer.get("snooze_enabled") is True and now < _number(answer.get("snooze_endtime")):
            return True
        begin, end = _number(answer.get("next_dnd_start_ts")), _number(answer.get("next_dnd_end_ts"))
        return answer.get("dnd_enabled") is True and begin <= now < end

    async def learn(self, users: Iterable[str]) -> None:
        """The names of these people are known, as far as Slack tells them in time."""
        for user in users:
            if user not in self.names:
                await self.standing(user)

    async def is_member(self, user: str) -> bool:
        """Whether the person is in the alert channel; False when Slack does not say."""
        until, members = self._members
        if time.monotonic() >= until:
            try:
                async with asyncio.timeout(2 * ASK_S), translated("looking up the members of the alert channel"):
                    members = await self._list_members()
            except (ChatError, TimeoutError) as error:
                _LOG.warning("who is in the alert channel could not be found out: %s", error or "no answer in time")
                return False
            self._members = (time.monotonic() + ASK_S, members)
        return user in members

    async def reaches(self, channel: str) -> bool:
        """Whether the bot is in ``channel``, so that everybody there sees what it posts. A direct message is none."""
        if channel == self._channel():
            return True
        if channel.startswith("D"):
            return False
        try:
            async with asyncio.timeout(ASK_S), translated(f"looking up {channel}"):
                answer = await self._client.conversations_info(channel=channel)
        except (ChatError, TimeoutError):
            return False
        found: Any = answer.get("channel")
        return (
            isinstance(found, dict)
            and found.get("is_member") is True
            and not (found.get("is_im") or found.get("is_mpim"))
        )

    async def _list_members(self) -> frozenset[str]:
        found: set[str] = set()
        cursor = ""
        for _ in range(_MAX_PAGES):
            answer = await self._client.conversations_members(channel=self._channel(), limit=_PAGE, cursor=cursor)
            listed: Any = answer.get("members")
            found |= {one for one in listed if isinstance(one, str)} if isinstance(listed, list) else set()
            after: Any = answer.get("response_metadata")
            cursor = str(after.get("next_cursor") or "") if isinstance(after, dict) else ""
            if not cursor:
                break
        return frozenset(found)


def name_of(user: dict[str, Any]) -> str:
    """What the person is called, of the object that ``users.info`` tells; empty when it does not say."""
    profile: Any = user.get("profile")
    told = (*((profile.get("display_name"), profile.get("real_name")) if isinstance(profile, dict) else ()),)
    named = (one for one in (*told, user.get("real_name"), user.get("name")) if isinstance(one, str))
    return next((one for one in (" ".join(named_.split()) for named_ in named) if one), "")[:_MAX_NAME_CHARS]


def zone_of(user: dict[str, Any], now: float) -> tzinfo:
    """The person's zone, of the object that ``users.info`` tells: with its summer time where this host knows it by its
    name, else as far from UTC as Slack says it is ``now``."""
    offset, name = user.get("tz_offset"), user.get("tz")
    known = isinstance(offset, int) and abs(offset) <= _MAX_OFFSET_S
    fixed = timezone(timedelta(seconds=offset)) if isinstance(offset, int) and known else UTC
    try:
        named = ZoneInfo(name) if isinstance(name, str) and name else fixed
    except (OSError, ValueError, ZoneInfoNotFoundError):
        return fixed
    at = datetime.fromtimestamp(now, named)
    return fixed if known and at.utcoffset() != at.astimezone(fixed).utcoffset() else named


def standing_of(user: dict[str, Any], team: str | None) -> Standing:
    """From the object that ``users.info`` tells (docs.slack.dev, user object)."""
    theirs = user.get("team_id")
    if user.get("is_stranger") or (team and isinstance(theirs, str) and theirs and theirs != team):
        return Standing.FOREIGN
    if user.get("deleted"):
        return Standing.GONE
    if user.get("is_bot") or user.get("is_workflow_bot") or user.get("id") == _SLACKBOT:
        return Standing.BOT
    if user.get("is_restricted") or user.get("is_ultra_restricted") or user.get("is_invited_user"):
        return Standing.GUEST
    return Standing.MEMBER


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
