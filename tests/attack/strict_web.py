"""Slack's Web API as its documentation tells it: what is refused there is refused here, and noted in ``breaches``."""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Json = dict[str, Any]
TEAM, BOT, BOT_USER, CHANNEL, OTHER_CHANNEL, GROUP = "T0STRICT", "B0BOT", "U0BOT", "C0ALERTS", "C0OTHER", "S0ONCALL"
ACK_S = 3.0
MAX_TEXT_CHARS, MAX_UPDATE_BYTES, MAX_BLOCKS, MAX_SECTION, MAX_VALUE = 40_000, 4_000, 50, 3_000, 2_000


@dataclass(kw_only=True)
class Post:
    """A message in a channel as it stands now; ``versions`` are all its texts, first to last."""

    channel: str
    ts: str
    thread_ts: str | None
    text: str
    blocks: list[Json]
    metadata: Json
    versions: list[str] = field(default_factory=list)
    at_s: float = field(default_factory=time.monotonic)
    """When it was taken."""

    @property
    def shown(self) -> str:
        """All that a person reads in it."""
        return self.text + "\n" + json.dumps(self.blocks, ensure_ascii=False)

    def buttons(self) -> list[Json]:
        """Its buttons, top to bottom."""
        rows = [block["elements"] for block in self.blocks if block.get("type") == "actions"]
        return [element for row in rows for element in row if element.get("type") == "button"]

    def button(self, action: str) -> Json:
        """The button with that action id; KeyError when it is not there."""
        for button in self.buttons():
            if button["action_id"] == action:
                return button
        raise KeyError(f"{action} is no button of {self.text!r}")


@dataclass(frozen=True, kw_only=True)
class Whisper:
    """What one person alone was told, and by which way."""

    user: str
    text: str
    via: str


Serve = Callable[[web.Request], Awaitable[web.StreamResponse]]
Trouble = Callable[[web.Request, Serve], Awaitable[web.StreamResponse]]
"""Answers a call in place of Slack, or lets Slack answer it."""


class StrictWeb:
    """State of the workspace, and the methods that the bot may call. ``faults`` answers in place of a method."""

    def __init__(self) -> None:
        self.bot_token, self.app_token = f"xoxb-{secrets.token_hex(12)}", f"xapp-1-{secrets.token_hex(12)}"
        self.port = 0
        self.people = {"U0ANN", "U0BOB", "U0CYD", "U0DEE"}
        self.groups: dict[str, list[str]] = {}
        self.profiles: dict[str, Json] = {}
        """What ``users.info`` tells of who is no ordinary member."""
        self.posts: dict[tuple[str, str], Post] = {}
        self.pins: list[tuple[str, str]] = []
        """Channel and time stamp of what is pinned, the oldest pin first."""
        self.whispers: list[Whisper] = []
        self.views: list[Json] = []
        self.homes: dict[str, Json] = {}
        """By person, what their Home shows."""
        self.calls: list[tuple[str, Json]] = []
        self.breaches: list[str] = []
        self.faults: dict[str, Callable[[], web.Response | None]] = {}
        self.trouble: Trouble | None = None
        """Stands between the bot and every method."""
        self.changed = asyncio.Event()
        self.tickets: set[str] = set()
        self._triggers: dict[str, float] = {}
        self._urls: dict[str, tuple[str, int, float]] = {}
        self._stamp = itertools.count(1)

    def calls_of(self, method: str) -> list[Json]:
        """The arguments of every call of that method so far."""
        return [args for called, args in self.calls if called == method]

    def response_url(self, user: str) -> str:
        key = secrets.token_hex(8)
        self._urls[key] = (user, 5, time.monotonic())
        return f"http://127.0.0.1:{self.port}/hook/{key}"

    def trigger(self) -> str:
        key = secrets.token_hex(8)
        self._triggers[key] = time.monotonic()
        return key

    async def api(self, request: web.Request) -> web.StreamResponse:
        """A call, as Slack or its trouble answers it."""
        return await (self.serve(request) if self.trouble is None else self.trouble(request, self.serve))

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """A call, as Slack answers it."""
        method = request.match_info["method"]
        try:
            args = await _arguments(request)
        except ValueError as error:
            return self._no("invalid_json", f"{method}: {error}")
        self.calls.append((method, args))
        wanted = self.app_token if method == "apps.connections.open" else self.bot_token
        if request.headers.get("Authorization") != f"Bearer {wanted}":
            return self._no("invalid_auth", f"{method} with a wrong token")
        fault = self.faults.get(method)
        answer = fault() if fault else None
        if answer is None:
            handler = getattr(self, "_" + method.replace(".", "_").lower(), None)
            answer = self._no("unknown_method", method) if handler is None else handler(args)
        self.changed.set()
        return answer

    def _no(self, error: str, why: str = "") -> web.Response:
        if why:
            self.breaches.append(f"{error}: {why}")
        return web.json_response({"ok": False, "error": error})

    def _yes(self, **values: Any) -> web.Response:
        return web.json_response({"ok": True, **values})

    def _auth_test(self, args: Json) -> web.Response:
        return self._yes(url="https://strict.slack.com/", team="Strict", team_id=TEAM, user_id=BOT_USER, bot_id=BOT)

    def _apps_connections_open(self, args: Json) -> web.Response:
        ticket = secrets.token_hex(8)
        self.tickets.add(ticket)
        return self._yes(url=f"ws://127.0.0.1:{self.port}/link?ticket={ticket}")

    def _files_getuploadurlexternal(self, args: Json) -> web.Response:
        return self._no("missing_scope")  # an app that was not given files:write: pictures are left out

    def _conversations_info(self, args: Json) -> web.Response:
        if args.get("channel") not in {CHANNEL, OTHER_CHANNEL}:
            return self._no("channel_not_found")
        return self._yes(channel={"id": args["channel"], "name": "alerts", "is_channel": True, "is_member": True})

    def _conversations_open(self, args: Json) -> web.Response:
        user = str(args.get("users"))
        return self._yes(channel={"id": "D" + user[1:]}) if user in self.people else self._no("user_not_found", user)

    def _conversations_history(self, args: Json) -> web.Response:
        return self._found(args, lambda post: post.thread_ts is None)

    def _conversations_replies(self, args: Json) -> web.Response:
        return self._found(args, lambda post: args.get("ts") in {post.ts, post.thread_ts})

    def _found(self, args: Json, wanted: Callable[[Post], bool]) -> web.Response:
        """Newest first, metadata only for who asks for it."""
        if args.get("channel") not in {CHANNEL, OTHER_CHANNEL}:
            return self._no("channel_not_found")
        shown = str(args.get("include_all_metadata")).lower() in {"1", "true"}
        after = float(args.get("oldest") or 0)
        messages = [
            {"type": "message", "bot_id": BOT, "ts": one.ts, "text": one.text}
            | ({"metadata": one.metadata} if shown else {})
            for one in reversed(self.posts.values())
            if one.channel == args["channel"] and float(one.ts) > after and wanted(one)
        ]
        return self._yes(messages=messages[: int(args.get("limit") or 100)], has_more=False)

    def _conversations_members(self, args: Json) -> web.Response:
        return self._yes(members=sorted({"U0ANN", "U0BOB", "U0CYD"} & self.people))

    def _users_info(self, args: Json) -> web.Response:
        user = str(args.get("user"))
        return self._yes(user={"id": user, "name": "x", "profile": {}, **self.profiles.get(user, {})})

    def _files_getuploadurlexternal(self, args: Json) -> web.Response:
        file = "F" + secrets.token_hex(4)
        return self._yes(upload_url=f"http://127.0.0.1:{self.port}/upload/{file}", file_id=file)

    def _files_completeuploadexternal(self, args: Json) -> web.Response:
        return self._yes(files=args.get("files"))

    def _pins_add(self, args: Json) -> web.Response:
        place = (str(args.get("channel")), str(args.get("timestamp")))
        if place[0] not in {CHANNEL, OTHER_CHANNEL}:
            return self._no("channel_not_found", f"pinning in {place[0]}")
        if place not in self.posts:
            return self._no("message_not_found")
        if place in self.pins:
            return self._no("already_pinned")
        if sum(one[0] == place[0] for one in self.pins) >= 100:
            return self._no("too_many_pins")
        self.pins.append(place)
        return self._yes()

    def _pins_remove(self, args: Json) -> web.Response:
        place = (str(args.get("channel")), str(args.get("timestamp")))
        if place not in self.pins:
            return self._no("no_pin")
        self.pins.remove(place)
        return self._yes()

    def _pins_list(self, args: Json) -> web.Response:
        pinned = [place for place in self.pins if place[0] == args.get("channel")]
        return self._yes(items=[{"type": "message", "channel": one, "message": {"ts": ts}} for one, ts in pinned])

    def _usergroups_users_list(self, args: Json) -> web.Response:
        members = self.groups.get(str(args.get("usergroup")))
        return self._no("no_such_subteam") if members is None else self._yes(users=members)

    def _views_open(self, args: Json) -> web.Response:
        given = self._triggers.pop(str(args.get("trigger_id")), None)
        if given is None or time.monotonic() - given > ACK_S:
            return self._no("expired_trigger_id")
        view = args.get("view") if isinstance(args.get("view"), dict) else json.loads(str(args.get("view")))
        if len(view["title"]["text"]) > 24 or len(view.get("private_metadata", "")) > MAX_SECTION:
            return self._no("invalid_arguments", "a form with a title or metadata that is too long")
        self.views.append(view)
        return self._yes(view={**view, "id": "V0"})

    def _views_publish(self, args: Json) -> web.Response:
        view = args.get("view") if isinstance(args.get("view"), dict) else json.loads(str(args.get("view")))
        self.homes[str(args.get("user_id"))] = view
        return self._yes(view={**view, "id": "V1"})

    def _chat_postmessage(self, args: Json) -> web.Response:
        target = str(args.get("channel"))
        if target not in {CHANNEL, OTHER_CHANNEL} and target not in self.people and not target.startswith("D"):
            return self._no("channel_not_found", f"posting to {target}")
        if (refused := self._refuse(args, MAX_TEXT_CHARS)) is not None:
            return refused
        ts = f"{int(time.time())}.{next(self._stamp):06d}"
        if target in self.people or target.startswith("D"):
            user = target if target in self.people else "U" + target[1:]
            self.whispers.append(Whisper(user=user, text=_shown(args), via="direct"))
            return self._yes(channel="D" + user[1:], ts=ts, message={})
        post = Post(
            channel=target,
            ts=ts,
            thread_ts=args.get("thread_ts"),
            text=str(args.get("text")),
            blocks=list(args.get("blocks") or ()),
            metadata=args.get("metadata") or {},
        )
        post.versions.append(post.shown)
        self.posts[target, ts] = post
        return self._yes(channel=target, ts=ts, message={})

    def _chat_update(self, args: Json) -> web.Response:
        post = self.posts.get((str(args.get("channel")), str(args.get("ts"))))
        if post is None:
            return self._no("message_not_found")
        if len(str(args.get("text") or "").encode()) > MAX_UPDATE_BYTES:
            return self._no("msg_too_long", "an edit with more than 4,000 bytes of text")
        if (refused := self._refuse(args, MAX_TEXT_CHARS)) is not None:
            return refused
        post.text, post.blocks = str(args.get("text")), list(args.get("blocks") or ())
        post.versions.append(post.shown)
        return self._yes(channel=post.channel, ts=post.ts, text=post.text)

    def _chat_postephemeral(self, args: Json) -> web.Response:
        if args.get("user") not in self.people:
            return self._no("user_not_in_channel")
        if args.get("channel") not in {CHANNEL, OTHER_CHANNEL}:
            return self._no("channel_not_found")
        if (refused := self._refuse(args, MAX_TEXT_CHARS)) is not None:
            return refused
        self.whispers.append(Whisper(user=str(args["user"]), text=_shown(args), via="ephemeral"))
        return self._yes(message_ts="1.1")

    def _refuse(self, args: Json, limit: int) -> web.Response | None:
        if not args.get("text"):
            return self._no("no_text", "a message without top-level text: nothing for a screen reader")
        if len(str(args["text"])) > limit:
            return self._no("msg_too_long", "text")
        faults = list(_block_faults(list(args.get("blocks") or ())))
        return self._no("invalid_blocks", "; ".join(faults)) if faults else None

    async def hook(self, request: web.Request) -> web.Response:
        key = request.match_info["key"]
        user, uses, given = self._urls.get(key, ("", 0, 0.0))
        if not user or uses == 0 or time.monotonic() - given > 1800:
            self.breaches.append("a response_url used too often or too late")
            return web.json_response({"ok": False, "error": "used_url"}, status=404)
        self._urls[key] = (user, uses - 1, given)
        args = await request.json()
        if (refused := self._refuse(args, MAX_TEXT_CHARS)) is not None:
            return refused
        self.whispers.append(Whisper(user=user, text=_shown(args), via="response_url"))
        self.changed.set()
        return web.Response(text="ok")


async def _arguments(request: web.Request) -> Json:
    if request.method == "GET":
        return dict(request.query)
    if request.content_type == "application/json":
        text = await request.text()
        return dict(json.loads(text)) if text else {}
    args: Json = dict(await request.post())
    for name in ("blocks", "metadata", "view"):
        if isinstance(args.get(name), str):
            args[name] = json.loads(args[name])
    return args


def _shown(args: Json) -> str:
    return str(args.get("text")) + "\n" + json.dumps(args.get("blocks") or [], ensure_ascii=False)


def _block_faults(blocks: list[Json]) -> Iterator[str]:
    if len(blocks) > MAX_BLOCKS:
        yield f"{len(blocks)} blocks"
    if len(json.dumps(blocks, ensure_ascii=False)) > 4 * 13_200:
        yield "blocks too long together"
    for block in blocks:
        kind = block.get("type")
        if kind == "section":
            texts = [block["text"]["text"]] if "text" in block else []
            if any(not text or len(text) > MAX_SECTION for text in texts):
                yield "a section's text is empty or too long"
            fields = block.get("fields", ())
            if len(fields) > 10 or any(not one["text"] or len(one["text"]) > 2_000 for one in fields):
                yield "a section's fields"
        elif kind == "header" and not 0 < len(block["text"]["text"]) <= 150:
            yield "a header's length"
        elif kind == "context" and not 0 < len(block["elements"]) <= 10:
            yield "a context's elements"
        elif kind == "actions":
            ids = [element["action_id"] for element in block["elements"]]
            if len(ids) != len(set(ids)) or not 0 < len(ids) <= 25:
                yield "an action id twice in one block"
            for element in block["elements"]:
                if len(element.get("value", "")) > MAX_VALUE or len(element["text"]["text"]) > 75:
                    yield "a button's value or text"
                if len(element.get("confirm", {}).get("text", {}).get("text", "")) > 300:
                    yield "a confirmation's text"
