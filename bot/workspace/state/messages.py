"""A message, and how it reads on the wire."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from trainmaster.bot.workspace.state.people import APP_ID, BOT_ID, BOT_NAME, BOT_USER_ID, TEAM_ID


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What a message shows."""

    text: str = ""
    blocks: tuple[dict[str, Any], ...] = ()
    attachments: tuple[dict[str, Any], ...] = ()
    files: tuple[dict[str, Any], ...] = ()
    metadata: dict[str, Any] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show, which Slack answers with ``no_text``."""
        return not (self.text or self.blocks or self.attachments or self.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class PostedMessage:
    """One message as it stands now.

    ``visible_to`` makes it ephemeral: only that person sees it, and no history has it.
    """

    ts: str
    channel_id: str
    user_id: str
    body: Body = field(default_factory=Body)
    thread_ts: str | None = None
    visible_to: str | None = None
    edited_ts: str | None = None
    client_msg_id: str | None = None
    reactions: tuple[tuple[str, str], ...] = ()
    """Pairs of emoji name and user id."""
    pinned_by: str | None = None
    """Who pinned it in its channel."""
    earlier: tuple[Body, ...] = ()
    """What it showed before its last edits, oldest first: somebody may still look at that and press its buttons."""

    @property
    def is_from_bot(self) -> bool:
        """Whether the app posted it."""
        return self.user_id == BOT_USER_ID

    @property
    def is_reply(self) -> bool:
        """Whether it stands in a thread and is not the root of it."""
        return self.thread_ts is not None and self.thread_ts != self.ts

    def wire(self, *, replies: tuple[PostedMessage, ...] = ()) -> dict[str, Any]:
        """Return the message object of Web API answers, events and action payloads."""
        out: dict[str, Any] = {"type": "message", "user": self.user_id, "ts": self.ts, "text": self.body.text}
        if self.is_from_bot:
            out["bot_id"] = BOT_ID
            out["app_id"] = APP_ID
            out["bot_profile"] = {"id": BOT_ID, "app_id": APP_ID, "name": BOT_NAME, "team_id": TEAM_ID}
        if self.client_msg_id:
            out["client_msg_id"] = self.client_msg_id
        out["team"] = TEAM_ID
        for name in ("blocks", "attachments", "files"):
            if items := getattr(self.body, name):
                out[name] = list(items)
        if self.body.metadata is not None:
            out["metadata"] = self.body.metadata
        if self.reactions:
            names = dict.fromkeys(name for name, _ in self.reactions)
            users = {name: [user for other, user in self.reactions if other == name] for name in names}
            out["reactions"] = [{"name": n, "users": who, "count": len(who)} for n, who in users.items()]
        if self.pinned_by is not None:
            out |= {
                "pinned_to": [self.channel_id],
                "pinned_info": {"channel": self.channel_id, "pinned_by": self.pinned_by},
            }
        if self.edited_ts:
            out["edited"] = {"user": self.user_id, "ts": self.edited_ts}
        if replies:
            out |= {
                "thread_ts": self.ts,
                "reply_count": len(replies),
                "reply_users": sorted({reply.user_id for reply in replies}),
                "latest_reply": replies[-1].ts,
            }
        elif self.thread_ts is not None:
            out["thread_ts"] = self.thread_ts
        return json.loads(json.dumps(out))  # type: ignore[no-any-return]  # a copy: nobody may reach into the state

    def page(self, *, num_replies: int = 0) -> dict[str, Any]:
        """Return what the page needs on top of :meth:`wire`."""
        return self.wire() | {
            "channel": self.channel_id,
            "visible_to": self.visible_to,
            "reply_count": num_replies,
        }
