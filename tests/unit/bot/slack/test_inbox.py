"""Between Slack and the handler: in time, once, in the right place, and never silent."""

from __future__ import annotations

import ast
import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest
from slack_sdk.web.async_client import AsyncWebClient

from trainmaster.bot.core.conversation.message import Message, Reply
from trainmaster.bot.core.conversation.request import Origin, Press, Request
from trainmaster.bot.errors import CommandError
from trainmaster.bot.slack import inbox as desk_module
from trainmaster.bot.slack.answers import Answers, Place
from trainmaster.bot.slack.inbox import Inbox
from trainmaster.bot.slack.incoming import ENVELOPE_ID

BOT = "U0BOT"
ROOT = Path(__file__).parents[4]
DONE = Reply(message=Message(title="done"))


@dataclass
class StubHandler:
    """Answers as told, and keeps what it was asked."""

    answer: Callable[[], Awaitable[Reply | None]] | None = None
    asked: list[Request | Press] = field(default_factory=list)
    our_messages: set[str] = field(default_factory=lambda: {"9.0"})

    async def command(self, request: Request) -> Reply | None:
        self.asked.append(request)
        return await self.answer() if self.answer else DONE

    async def action(self, press: Press) -> Reply | None:
        self.asked.append(press)
        return await self.answer() if self.answer else DONE

    def is_command(self, text: str) -> bool:
        return text == "status"

    def is_ours(self, channel: str, ts: str) -> bool:
        return ts in self.our_messages


@dataclass
class Given:
    """Keeps answers and where they went."""

    replies: list[tuple[Reply, Place]] = field(default_factory=list)
    fails: bool = False

    async def give(self, reply: Reply, place: Place) -> None:
        if self.fails:
            raise RuntimeError("no way through")
        self.replies.append((reply, place))


@dataclass
class StubForms:
    """Opens modals, or will not."""

    opened: list[dict[str, Any]] = field(default_factory=list)
    fails: bool = False
    error: Exception = field(default_factory=TimeoutError)
    hangs: bool = False

    async def views_open(self, *, trigger_id: str, view: dict[str, Any]) -> None:
        if self.hangs:
            await asyncio.sleep(120)  # what slack_sdk does with a Retry-After
        if self.fails:
            raise self.error
        self.opened.append(view)


@dataclass
class Scene:
    handler: StubHandler = field(default_factory=StubHandler)
    given: Given = field(default_factory=Given)
    forms: StubForms = field(default_factory=StubForms)
    log: list[str] = field(default_factory=list)

    @property
    def desk(self) -> Inbox:
        answers, client = cast("Answers", self.given), cast("AsyncWebClient", self.forms)
        return Inbox(handler=self.handler, answers=answers, client=client, bot_user=BOT)

    async def ack(self) -> None:
        self.log.append("ack")


@pytest.fixture
def scene() -> Scene:
    return Scene()


def slash(text: str = "status") -> dict[str, Any]:
    return {"user_id": "U0ANNA", "channel_id": "C0TRAIN", "text": text, "response_url": "http://x/", "trigger_id": "t"}


def said(event_id: str = "Ev1", **event: Any) -> dict[str, Any]:
    base = {"type": "message", "user": "U0ANNA", "channel": "C0TRAIN", "ts": "10.1", "text": "status"}
    return {"event_id": event_id, "event": {**base, **event}}


def click(action: str) -> dict[str, Any]:
    return {
        "user": {"id": "U0ANNA"},
        "channel": {"id": "C0TRAIN"},
        "container": {"message_ts": "9.0"},
        "actions": [{"action_id": action, "value": "7"}],
        "trigger_id": "t",
    }


async def test_a_command_is_acknowledged_before_it_is_carried_out(scene: Scene) -> None:
    async def answer() -> Reply:
        scene.log.append("handled")
        return DONE

    scene.handler.answer = answer
    await scene.desk.slash(slash(), scene.ack)
    assert scene.log == ["ack", "handled"]
    assert scene.given.replies[0][1] == Place(
        user="U0ANNA", channel="C0TRAIN", response_url="http://x/", prefer_url=True
    )


async def test_a_decision_is_committed_before_it_is_acknowledged(scene: Scene) -> None:
    async def answer() -> Reply:
        scene.log.append("committed")
        return DONE

    scene.handler.answer = answer
    await scene.desk.button(click("approve"), scene.ack)
    assert scene.log == ["committed", "ack"]


async def test_a_slow_decision_is_acknowledged_in_time_and_answered_later(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_end = asyncio.Event()

    async def answer() -> Reply:
        await may_end.wait()
        return DONE

    async def ack() -> None:
        scene.log.append("ack")
        may_end.set()

    monkeypatch.setattr(desk_module, "ACK_AT_LATEST_S", 0.01)
    scene.handler.answer = answer
    await scene.desk.button(click("approve"), ack)
    assert scene.log == ["ack"]
    assert len(scene.given.replies) == 1


async def test_a_press_is_answered_under_its_message(scene: Scene) -> None:
    await scene.desk.button(click("ack"), scene.ack)
    ((_, place),) = scene.given.replies
    assert (place.thread_ts, place.root_ts) == (None, "9.0")


@pytest.mark.parametrize("action", ["ack", "silence", "unsilence"])
async def test_a_click_that_is_delivered_again_adds_nothing(scene: Scene, action: str) -> None:
    desk = scene.desk
    for envelope in ("e1", "e1", "e2"):
        await desk.button({**click(action), ENVELOPE_ID: envelope}, scene.ack)
    assert (len(scene.handler.asked), scene.log) == (1, ["ack"] * 3)
    await desk.button({**click(action), "trigger_id": "another click", ENVELOPE_ID: "e3"}, scene.ack)
    assert len(scene.handler.asked) == 2


async def test_a_click_that_is_delivered_again_while_it_is_carried_out_adds_nothing(scene: Scene) -> None:
    may_end = asyncio.Event()

    async def answer() -> Reply:
        await may_end.wait()
        return DONE

    scene.handler.answer = answer
    desk = scene.desk
    first = asyncio.ensure_future(desk.button(click("silence"), scene.ack))
    await asyncio.sleep(0)
    await desk.button(click("silence"), scene.ack)
    may_end.set()
    await first
    assert (len(scene.handler.asked), scene.log) == (1, ["ack"] * 2)


async def test_a_click_that_was_refused_or_cut_off_is_carried_out_when_it_comes_again(scene: Scene) -> None:
    async def refuse() -> Reply:
        raise CommandError("busy", "the database can't be written")

    scene.handler.answer = refuse
    desk = scene.desk
    await desk.button(click("silence"), scene.ack)
    scene.handler.answer = None
    await desk.button(click("silence"), scene.ack)
    assert len(scene.handler.asked) == 2


async def test_a_retried_event_is_answered_once(scene: Scene) -> None:
    desk = scene.desk
    for _ in range(3):
        await desk.mention(said(text=f"<@{BOT}> status"))
    assert len(scene.given.replies) == 1


async def test_two_events_are_answered_twice(scene: Scene) -> None:
    desk = scene.desk
    await desk.mention(said("Ev1", text=f"<@{BOT}> status"))
    await desk.mention(said("Ev2", text=f"<@{BOT}> status"))
    assert len(scene.given.replies) == 2


async def test_an_edit_that_changes_no_word_is_not_carried_out_again(scene: Scene) -> None:
    desk = scene.desk
    edited = {"edited": {"user": "U0ANNA", "ts": "11.0"}}
    await desk.mention(said("Ev1", text=f"<@{BOT}> silence 2h"))
    await desk.mention(said("Ev2", text=f"<@{BOT}> silence 2h.", **edited))
    assert len(scene.given.replies) == 1
    await desk.mention(said("Ev3", text=f"<@{BOT}> silence 3h", **edited))
    assert len(scene.given.replies) == 2


@pytest.mark.parametrize(
    ("event", "answered"),
    [
        pytest.param({"thread_ts": "9.0"}, True, id="command-under-our-message"),
        pytest.param({"thread_ts": "8.0", "parent_user_id": BOT}, True, id="slack-says-it-is-ours"),
        pytest.param({"thread_ts": "8.0"}, False, id="command-under-a-persons-message"),
        pytest.param({"thread_ts": "9.0", "text": "status looks odd"}, False, id="talk-under-our-message"),
        pytest.param({"channel": "D0ANNA", "text": "hello"}, True, id="anything-in-a-direct-message"),
        pytest.param({}, False, id="talk-in-the-channel"),
    ],
)
async def test_only_what_is_meant_for_the_bot_is_answered(scene: Scene, event: dict[str, Any], answered: bool) -> None:
    await scene.desk.message(said(**event))
    assert bool(scene.handler.asked) is answered


async def test_an_answer_in_a_thread_goes_to_the_thread(scene: Scene) -> None:
    await scene.desk.message(said(thread_ts="9.0"))
    ((_, place),) = scene.given.replies
    assert place.thread_ts == "9.0"
    (asked,) = scene.handler.asked
    assert isinstance(asked, Request)
    assert asked.origin is Origin.THREAD


async def test_a_refusal_is_told_to_the_person_alone_with_its_hint(scene: Scene) -> None:
    async def answer() -> Reply:
        raise CommandError("run-unknown", "there is no run named 'x'.", "/train runs")

    scene.handler.answer = answer
    await scene.desk.slash(slash(), scene.ack)
    ((reply, _),) = scene.given.replies
    assert reply.private
    assert reply.message.title == "There is no run named 'x'."
    assert reply.message.context == ("/train runs",)


@pytest.mark.parametrize(
    ("message", "title"),
    [
        ("run digits is in epoch 5 already.", "Run digits is in epoch 5 already."),
        ("lr0=7: it takes a number.", "lr0=7: it takes a number."),
        ("it's over.", "It's over."),
        ("train_log.txt can't be read.", "train_log.txt can't be read."),
    ],
)
async def test_a_refusal_changes_no_setting_and_no_file_name(scene: Scene, message: str, title: str) -> None:
    async def answer() -> Reply:
        raise CommandError("refused", message)

    scene.handler.answer = answer
    await scene.desk.slash(slash(), scene.ack)
    ((reply, _),) = scene.given.replies
    assert reply.message.title == title


def test_no_error_begins_with_the_name_of_a_run_which_a_capital_would_change() -> None:
    found = []
    for path in (file for part in ("bot/operations", "commands") for file in (ROOT / part).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Error") and len(node.args) > 1):
                continue
            message = node.args[1]
            first = message.values[0] if isinstance(message, ast.JoinedStr) else None
            if isinstance(first, ast.FormattedValue) and ast.unparse(first.value).endswith(".name"):
                found.append(f"{path}: {ast.unparse(message)}")
    assert found == []


async def test_a_bug_is_logged_and_the_person_is_told_without_a_traceback(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    async def answer() -> Reply:
        raise ZeroDivisionError("secret detail")

    scene.handler.answer = answer
    await scene.desk.button(click("approve"), scene.ack)
    ((reply, _),) = scene.given.replies
    assert scene.log == ["ack"]
    assert reply.private
    assert "secret detail" not in str(reply)
    assert "secret detail" in caplog.text
    mark = reply.message.body[0].rsplit(" ", 1)[1].rstrip(".")
    assert mark in caplog.text


async def test_an_answer_given_elsewhere_needs_none_here(scene: Scene) -> None:
    async def answer() -> None:
        return None

    scene.handler.answer = answer
    await scene.desk.slash(slash(), scene.ack)
    assert scene.given.replies == []


async def test_rejecting_asks_why_and_decides_nothing_yet(scene: Scene) -> None:
    await scene.desk.button(click("reject"), scene.ack)
    assert scene.log == ["ack"]
    assert len(scene.forms.opened) == 1
    assert scene.handler.asked == []


@pytest.mark.parametrize(
    "error",
    [TimeoutError(), aiohttp.ServerDisconnectedError(), aiohttp.ClientPayloadError(), AttributeError("str"), None],
    ids=["late", "reset", "half an answer", "no answer of Slack's", "asked to wait"],
)
async def test_a_form_that_cannot_be_opened_rejects_without_a_reason(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    monkeypatch.setattr(desk_module, "OPEN_FORM_S", 0.05)
    scene.forms.fails, scene.forms.error, scene.forms.hangs = True, error or TimeoutError(), error is None
    await scene.desk.button(click("reject"), scene.ack)
    (asked,) = scene.handler.asked
    assert isinstance(asked, Press)
    assert asked.reason == ""
    assert scene.log == ["ack"]


async def test_the_form_sent_off_rejects_with_its_reason(scene: Scene) -> None:
    await scene.desk.button(click("reject"), scene.ack)
    (form,) = scene.forms.opened
    view = {**form, "state": {"values": {"reason": {"reason": {"value": "too early"}}}}}
    await scene.desk.reason_given({"user": {"id": "U0BEN"}, "view": view}, scene.ack)
    (asked,) = scene.handler.asked
    assert isinstance(asked, Press)
    assert (asked.reason, asked.value, asked.message_ts) == ("too early", "7", "9.0")


@pytest.mark.parametrize("route", ["slash", "button", "reason_given"])
async def test_an_odd_payload_is_acknowledged_and_ignored(scene: Scene, route: str) -> None:
    await getattr(scene.desk, route)({}, scene.ack)
    assert scene.log == ["ack"]
    assert scene.handler.asked == []


async def test_an_answer_that_cannot_be_given_is_logged(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.given.fails = True
    with caplog.at_level(logging.ERROR):
        await scene.desk.slash(slash(), scene.ack)
    assert "was lost" in caplog.text


async def test_closing_waits_for_the_answers_under_way(scene: Scene) -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def answer() -> Reply:
        begun.set()
        await may_end.wait()
        return DONE

    scene.handler.answer = answer
    desk = scene.desk
    under_way = asyncio.create_task(desk.slash(slash(), scene.ack))
    await begun.wait()
    settled = asyncio.create_task(desk.settle(timeout_s=5))
    await asyncio.sleep(0)
    assert not settled.done()
    may_end.set()
    await settled
    await under_way
    assert len(scene.given.replies) == 1
