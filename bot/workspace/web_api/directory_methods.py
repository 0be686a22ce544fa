"""``auth.*``, ``conversations.*``, ``users.*`` and ``usergroups.*``: who and what is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trainmaster.bot.workspace.refusal import MethodRefusedError
from trainmaster.bot.workspace.state.people import (
    APP_ID,
    BOT_ID,
    BOT_NAME,
    BOT_USER_ID,
    TEAM_DOMAIN,
    TEAM_ID,
    Channel,
    ChannelKind,
    Person,
)
from trainmaster.bot.workspace.state.state import WorkspaceState
from trainmaster.bot.workspace.web_api.args import Args, Methods

_NO_MORE = {"response_metadata": {"next_cursor": ""}}


class DirectoryMethods:
    """Looking things up. ``usergroups`` None is a workspace on the free plan, where there are none."""

    def __init__(self, *, state: WorkspaceState, usergroups: Mapping[str, Sequence[str]] | None) -> None:
        self._state = state
        self._usergroups = usergroups

    def methods(self) -> Methods:
        """Return the methods by name."""
        return {
            "auth.test": self.auth_test,
            "api.test": lambda _args: {},
            "conversations.open": self.open_conversation,
            "conversations.info": self.info,
            "conversations.list": self.list_conversations,
            "conversations.join": self.join,
            "conversations.history": self.history,
            "conversations.replies": self.replies,
            "conversations.members": self.members,
            "users.info": self.user_info,
            "users.list": self.list_users,
            "usergroups.users.list": self.usergroup_users,
        }

    def auth_test(self, _args: Args) -> dict[str, Any]:
        """Say who the token belongs to."""
        return {
            "url": f"https://{TEAM_DOMAIN}.slack.com/",
            "team": "Local workspace",
            "user": BOT_NAME,
            "team_id": TEAM_ID,
            "user_id": BOT_USER_ID,
            "bot_id": BOT_ID,
            "is_enterprise_install": False,
        }

    def open_conversation(self, args: Args) -> dict[str, Any]:
        """Return the direct conversation with one person."""
        if channel_id := args.text("channel"):
            return {"channel": {"id": self._channel_by_id(channel_id).channel_id}}
        user_ids = [word.strip() for word in str(args.required("users")).split(",")]
        if len(user_ids) != 1:
            raise MethodRefusedError("not_enough_users" if not user_ids else "method_not_supported_for_channel_type")
        person = self._state.people.get(user_ids[0])
        if person is None:
            raise MethodRefusedError("user_not_found")
        return {"channel": {"id": "D" + person.user_id[1:]}}

    def info(self, args: Args) -> dict[str, Any]:
        """Describe one channel as ``conversations.info`` does."""
        return {"channel": self._describe(self._channel(args))}

    def list_conversations(self, args: Args) -> dict[str, Any]:
        """List public channels, and direct conversations when ``types`` has ``im``."""
        wanted = {word.strip() for word in (args.text("types") or "public_channel").split(",")}
        kinds = {"public_channel": ChannelKind.PUBLIC, "im": ChannelKind.DIRECT}
        chosen = {kinds[word] for word in wanted if word in kinds}
        found = [self._describe(c) for c in self._state.channels.values() if c.kind in chosen]
        return {"channels": found} | _NO_MORE

    def join(self, args: Args) -> dict[str, Any]:
        """The bot is in the public channel."""
        channel = self._channel(args)
        if channel.kind is not ChannelKind.PUBLIC:
            raise MethodRefusedError("method_not_supported_for_channel_type")
        if channel.is_archived:
            raise MethodRefusedError("is_archived")
        return {"channel": self._describe(self._state.set_membership(channel.channel_id, bot_is_member=True))}

    def history(self, args: Args) -> dict[str, Any]:
        """Return messages outside threads, newest first."""
        channel = self._channel(args)
        self._want_member(channel)
        roots = [m for m in self._state.history(channel.channel_id) if not m.is_reply]
        oldest, latest = _read_ts(args, "oldest", "0"), _read_ts(args, "latest", "9" * 10)
        is_inclusive = args.flag("inclusive")
        chosen = [
            m
            for m in reversed(roots)
            if float(oldest) < float(m.ts) < float(latest) or (is_inclusive and m.ts in {oldest, latest})
        ]
        limit = _read_limit(args)
        return {
            "messages": [self._wire(channel, m.ts, args) for m in chosen[:limit]],
            "has_more": len(chosen) > limit,
        } | _NO_MORE

    def replies(self, args: Args) -> dict[str, Any]:
        """Return the root of a thread and its replies, oldest first."""
        channel = self._channel(args)
        self._want_member(channel)
        root = self._state.get(channel.channel_id, str(args.required("ts")))
        if root is None or root.visible_to is not None:
            raise MethodRefusedError("thread_not_found")
        root_ts = root.thread_ts or root.ts
        replies = self._state.replies(channel.channel_id, root_ts)
        thread = [self._wire(channel, ts, args) for ts in (root_ts, *(reply.ts for reply in replies))]
        return {"messages": thread, "has_more": False} | _NO_MORE

    def members(self, args: Args) -> dict[str, Any]:
        """List who is in a channel: everybody, and the bot when it has joined."""
        channel = self._channel(args)
        people = [channel.person_id] if channel.person_id else list(self._state.people)
        return {"members": people + [BOT_USER_ID] * channel.bot_is_member} | _NO_MORE

    def user_info(self, args: Args) -> dict[str, Any]:
        """Describe one person, or the bot."""
        user_id = str(args.required("user"))
        if user_id == BOT_USER_ID:
            return {"user": self._describe_bot()}
        person = self._state.people.get(user_id)
        if person is None:
            raise MethodRefusedError("user_not_found")
        return {"user": _describe_person(person)}

    def list_users(self, _args: Args) -> dict[str, Any]:
        """Describe everybody as ``users.list`` does."""
        people = [_describe_person(person) for person in self._state.people.values()]
        return {"members": [*people, self._describe_bot()], "cache_ts": int(self._state.clock())} | _NO_MORE

    def usergroup_users(self, args: Args) -> dict[str, Any]:
        """List the people of a user group."""
        if self._usergroups is None:
            raise MethodRefusedError("plan_upgrade_required")
        users = self._usergroups.get(str(args.required("usergroup")))
        if users is None:
            raise MethodRefusedError("no_such_subteam")
        return {"users": list(users)}

    def _wire(self, channel: Channel, ts: str, args: Args) -> dict[str, Any]:
        message = self._state.messages[channel.channel_id, ts]
        wire = message.wire(replies=self._state.replies(channel.channel_id, ts))
        # Metadata comes along only on request (docs.slack.dev, conversations.history).
        return {name: value for name, value in wire.items() if name != "metadata" or args.flag("include_all_metadata")}

    def _channel(self, args: Args) -> Channel:
        return self._channel_by_id(str(args.required("channel")))

    def _channel_by_id(self, channel_id: str) -> Channel:
        channel = self._state.channels.get(channel_id)
        if channel is None:
            raise MethodRefusedError("channel_not_found")
        return channel

    def _want_member(self, channel: Channel) -> None:
        if not channel.bot_is_member:
            raise MethodRefusedError("not_in_channel")

    def _describe(self, channel: Channel) -> dict[str, Any]:
        is_direct = channel.kind is ChannelKind.DIRECT
        common = {
            "id": channel.channel_id,
            "is_channel": not is_direct,
            "is_im": is_direct,
            "is_private": is_direct,
            "is_archived": channel.is_archived,
            "context_team_id": TEAM_ID,
        }
        if is_direct:
            return common | {"user": channel.person_id}
        return common | {
            "name": channel.name,
            "name_normalized": channel.name,
            "is_member": channel.bot_is_member,
            "is_general": False,
            "topic": {"value": channel.topic, "creator": "", "last_set": 0},
            "num_members": len(self._state.people) + channel.bot_is_member,
        }

    def _describe_bot(self) -> dict[str, Any]:
        profile = {"real_name": "Trainmaster", "display_name": BOT_NAME, "bot_id": BOT_ID, "api_app_id": APP_ID}
        return {
            "id": BOT_USER_ID,
            "team_id": TEAM_ID,
            "name": BOT_NAME,
            "deleted": False,
            "is_bot": True,
            "profile": profile,
        }


def _read_limit(args: Args) -> int:
    limit = args.text("limit") or "100"
    if not limit.isdigit() or not 0 < int(limit) < 1_000:
        raise MethodRefusedError("invalid_limit")
    return int(limit)


def _read_ts(args: Args, name: str, fallback: str) -> str:
    ts = args.text(name) or fallback
    if not ts.replace(".", "", 1).isdigit():
        raise MethodRefusedError(f"invalid_ts_{name}")
    return ts


def _describe_person(person: Person) -> dict[str, Any]:
    real_name = person.real_name or person.name
    return {
        "id": person.user_id,
        "team_id": TEAM_ID,
        "name": person.name,
        "real_name": real_name,
        "deleted": False,
        "is_bot": False,
        "tz": "UTC",
        "tz_offset": 0,
        "profile": {"real_name": real_name, "display_name": person.name},
    }
