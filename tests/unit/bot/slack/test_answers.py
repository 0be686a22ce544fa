"""An answer that Slack refuses still arrives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from trainmaster.bot.core.conversation.message import Message, Reply, Table
from trainmaster.bot.core.conversation.plainer import Words
from trainmaster.bot.errors import ChatError
from trainmaster.bot.ports import ChatRefused, Posted
from trainmaster.bot.slack.answers import Answers, Place
from trainmaster.bot.slack.chat import SlackChat
from trainmaster.bot.slack.render import render

REFUSED = ChatRefused("slack-content", "invalid_blocks", content=True)
INTERNAL = ChatError("slack-internal", "internal_error")
DOWN = ChatError("slack-unreachable", "reset")


@dataclass
class PickyChat:
    """Takes only what has no table, or only words."""

    error: ChatError
    only_words: bool = False
    taken: list[Message] = field(default_factory=list)
    num_calls: int = 0

    async def post(self, channel: str, message: Message, *, thread_ts: str | None, key: str) -> Posted:
        self._take(message)
        return Posted(channel=channel, ts="1.0")

    async def find(self, channel: str, key: str, *, thread_ts: str | None, since_ts: float) -> Posted | None:
        raise DOWN

    async def whisper(self, channel: str, user: str, message: Message, *, thread_ts: str | None) -> None:
        self._take(message)

    def _take(self, message: Message) -> None:
        self.num_calls += 1
        if message.table is not None or (self.only_words and not isinstance(message, Words)):
            raise self.error
        self.taken.append(message)


ANSWER = Message(title="4 runs", table=Table(header=("run",), rows=(("digits",),)))


@pytest.mark.parametrize("private", [True, False])
@pytest.mark.parametrize("only_words", [True, False])
@pytest.mark.parametrize("error", [REFUSED, INTERNAL], ids=lambda one: one.slug)
async def test_a_refused_answer_comes_plainer(error: ChatError, only_words: bool, private: bool) -> None:
    chat = PickyChat(error, only_words)
    answers = Answers(cast("SlackChat", chat), cast("Any", None), None)
    await answers.give(Reply(message=ANSWER, private=private), Place(user="U1", channel="C1"))
    (taken,) = chat.taken
    assert taken.title == "4 runs"
    assert isinstance(taken, Words) is only_words


async def test_an_answer_that_finds_no_slack_is_not_made_plainer() -> None:
    chat = PickyChat(DOWN, only_words=True)
    answers = Answers(cast("SlackChat", chat), cast("Any", None), None)
    await answers.give(Reply(message=ANSWER, private=True), Place(user="U1", channel="C1"))
    assert (chat.taken, chat.num_calls) == ([], 2)  # only to the person, and directly


def test_words_have_no_blocks_and_call_all_the_same() -> None:
    shown = render(Words(title="died", body=("exit code 1",), mentions=("U0ANNA",)))
    assert shown.blocks == ()
    assert shown.text == "died\nexit code 1 <@U0ANNA>"


def test_all_cells_of_a_table_hold_at_most_10000_characters() -> None:
    rows = tuple(tuple("x" * 140 for _ in range(20)) for _ in range(99))
    shown = render(Message(title="t", table=Table(header=("h",) * 20, rows=rows)))
    (table,) = [one for one in shown.blocks if one["type"] == "table"]
    cells = [cell for row in table["rows"] for cell in row]
    assert 5_000 < sum(len(cell["text"]) for cell in cells) <= 10_000


@dataclass
class ForgetfulChat:
    """Its first reply is lost; the message was taken or not."""

    taken: bool
    sight: ChatError | None = None
    shown: dict[str, str] = field(default_factory=dict)
    num_posts: int = 0

    async def post(self, channel: str, message: Message, *, thread_ts: str | None, key: str) -> Posted:
        self.num_posts += 1
        lost = self.num_posts == 1
        if self.taken or not lost:
            self.shown[f"{self.num_posts}.0"] = key
        if lost:
            raise DOWN
        return Posted(channel=channel, ts=f"{self.num_posts}.0")

    async def find(self, channel: str, key: str, *, thread_ts: str | None, since_ts: float) -> Posted | None:
        if self.sight is not None:
            raise self.sight
        return next((Posted(channel=channel, ts=ts) for ts, known in self.shown.items() if known == key), None)


@pytest.mark.parametrize("taken", [True, False])
async def test_an_answer_whose_reply_was_lost_is_looked_for_before_it_is_given_again(taken: bool) -> None:
    chat = ForgetfulChat(taken)
    answers = Answers(cast("SlackChat", chat), cast("Any", None), None)
    await answers.give(Reply(message=ANSWER), Place(user="U1", channel="C1"))
    assert (len(chat.shown), chat.num_posts) == (1, 1 if taken else 2)


async def test_where_nothing_can_be_looked_up_the_next_way_is_taken() -> None:
    chat = ForgetfulChat(taken=False, sight=DOWN)
    answers = Answers(cast("SlackChat", chat), cast("Any", None), None)
    await answers.give(Reply(message=ANSWER), Place(user="U1", channel="C1"))
    assert chat.num_posts == 1
