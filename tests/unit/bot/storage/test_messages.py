from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trainmaster.bot.core.conversation.message import ActionId, Button, Message, Tone
from trainmaster.bot.errors import StoreError
from trainmaster.bot.ports import Posted
from trainmaster.bot.storage.database import Database
from trainmaster.bot.storage.messages import MAX_WAIT_S, MessageStore

NOW = 1_700_000_000.0
HERE = Posted(channel="C1", ts="1.0")
APPROVE = Button(action=ActionId.APPROVE, label="Approve", value="a1")


class Clocked:
    def __init__(self) -> None:
        self.ts = NOW
        self.database = Database(Path(":memory:"))
        self.store = MessageStore(self.database, lambda: self.ts)

    def put(self, key: str, title: str = "x", **more: object) -> None:
        tone = more.pop("tone", Tone.NEUTRAL)
        self.store.put(key, Message(title=title, tone=tone), **more)  # type: ignore[arg-type]

    def keys(self, lane: str | None = None) -> list[str]:
        return [one.key for one in self.store.pending(self.ts, lane=lane)]

    def send(self, key: str, ts: str = "1.0", channel: str = "C1") -> None:
        (one,) = [one for one in self.store.pending(self.ts) if one.key == key]
        self.store.mark_sent(key, one.version, Posted(channel=channel, ts=ts))


@pytest.fixture
def outbox() -> Iterator[Clocked]:
    one = Clocked()
    yield one
    one.database.close()


def test_message_is_pending_until_it_was_sent(outbox: Clocked) -> None:
    outbox.put("a")
    assert outbox.keys() == ["a"]
    outbox.send("a")
    assert outbox.keys() == []
    assert outbox.store.posted("a") == HERE
    assert outbox.store.key_at("C1", "1.0") == "a"


def test_unsent_and_unknown_messages_stand_nowhere(outbox: Clocked) -> None:
    outbox.put("a")
    assert outbox.store.posted("a") is outbox.store.posted("b") is None
    assert outbox.store.key_at("C1", "1.0") is None
    assert outbox.store.sent_ts("a") is outbox.store.sent_ts("b") is None


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ({"tone": Tone.WARNING}, {"tone": Tone.CRITICAL}),
        ({"tone": Tone.GOOD}, {"tone": Tone.WARNING}),
        ({"tone": Tone.PROGRESS}, {"buttons": (APPROVE,)}),
    ],
    ids=["critical before warning", "warning before the rest", "question before the rest"],
)
def test_what_is_more_urgent_goes_first(outbox: Clocked, first: dict[str, Any], then: dict[str, Any]) -> None:
    outbox.store.put("first", Message(title="x", **first))
    outbox.store.put("then", Message(title="x", **then))
    assert outbox.keys() == ["then", "first"]


def test_edits_of_critical_messages_are_not_urgent(outbox: Clocked) -> None:
    outbox.put("critical", tone=Tone.CRITICAL)
    outbox.send("critical")
    outbox.put("critical", "edited", tone=Tone.CRITICAL)
    outbox.put("warning", tone=Tone.WARNING)
    assert outbox.keys() == ["warning", "critical"]


def test_hushed_messages_mention_nobody_and_lose_nothing_else(outbox: Clocked) -> None:
    for key in ("alert", "alert#escalated1.1", "alert2#escalated1.1"):
        outbox.store.put(key, Message(title=key, mentions=("U1",)))
    outbox.store.hush("alert#")
    assert {one.key: one.message.mentions for one in outbox.store.pending(NOW)} == {
        "alert": ("U1",),
        "alert#escalated1.1": (),
        "alert2#escalated1.1": ("U1",),
    }
    assert outbox.keys() == ["alert", "alert#escalated1.1", "alert2#escalated1.1"]


def test_same_content_again_is_no_new_version(outbox: Clocked) -> None:
    outbox.put("a")
    outbox.send("a")
    outbox.put("a")
    assert outbox.keys() == []


def test_edit_is_sent_to_where_the_message_stands(outbox: Clocked) -> None:
    outbox.put("a", "first")
    outbox.send("a")
    outbox.put("a", "second", channel="C7")
    (one,) = outbox.store.pending(NOW)
    assert (one.posted_channel, one.ts, one.message.title) == ("C1", "1.0", "second")


def test_version_put_while_another_is_on_its_way_stays_pending(outbox: Clocked) -> None:
    outbox.put("a", "first")
    (one,) = outbox.store.pending(NOW)
    outbox.put("a", "second")
    outbox.store.mark_sent("a", one.version, HERE)
    assert [(one.version, one.message.title) for one in outbox.store.pending(NOW)] == [(2, "second")]


def test_edited_message_keeps_its_place_in_the_queue(outbox: Clocked) -> None:
    outbox.put("a")
    outbox.put("b")
    outbox.put("a", "edited")
    assert outbox.keys() == ["a", "b"]


def test_critical_message_comes_first_until_it_stands(outbox: Clocked) -> None:
    outbox.put("a")
    outbox.put("alert", tone=Tone.CRITICAL)
    assert outbox.keys() == ["alert", "a"]
    outbox.send("alert")
    outbox.put("b")
    outbox.put("alert", "edited", tone=Tone.CRITICAL)
    assert outbox.keys() == ["a", "b", "alert"]


def test_answers_wait_for_root_and_for_each_other(outbox: Clocked) -> None:
    outbox.put("r1", thread_of="root")
    outbox.put("r2", thread_of="root", tone=Tone.WARNING)
    assert outbox.keys() == []
    outbox.put("root")
    assert outbox.keys() == ["root"]
    outbox.send("root")
    assert outbox.keys() == ["r1"]
    outbox.store.mark_failed("r1", "down", NOW + 60)
    assert outbox.keys() == []
    outbox.ts += 60
    outbox.send("r1", ts="2.0")
    assert [(one.key, one.thread_ts, one.thread_channel) for one in outbox.store.pending(NOW)] == [("r2", "1.0", "C1")]


def test_critical_answer_passes_its_thread_and_lifts_its_root(outbox: Clocked) -> None:
    outbox.put("warning", tone=Tone.WARNING)
    outbox.put("root")
    outbox.put("r1", thread_of="root")
    outbox.put("r2", thread_of="root", tone=Tone.CRITICAL)
    assert outbox.keys() == ["root", "warning"]
    outbox.send("root")
    assert outbox.keys() == ["r2", "warning", "r1"]
    outbox.send("r2", ts="2.0")
    outbox.put("root", "edited")
    assert outbox.keys() == ["warning", "r1", "root"]


def test_refused_answer_keeps_its_thread_waiting_no_longer(outbox: Clocked) -> None:
    outbox.put("root")
    outbox.send("root")
    outbox.put("r1", thread_of="root")
    outbox.put("r2", thread_of="root")
    outbox.store.mark_failed("r1", "invalid_blocks", NOW + 300, refused=True)
    assert outbox.keys() == ["r2"]


def test_new_content_of_a_refused_message_is_tried_at_once(outbox: Clocked) -> None:
    outbox.put("a")
    outbox.store.mark_failed("a", "invalid_blocks", NOW + 300, refused=True)
    assert outbox.keys() == []
    outbox.put("a", "shorter")
    assert outbox.keys() == ["a"]


def test_answer_to_an_answer_joins_its_thread(outbox: Clocked) -> None:
    outbox.put("root")
    outbox.put("r1", thread_of="root")
    outbox.put("r2", thread_of="r1")
    outbox.send("root")
    outbox.send("r1", ts="2.0")
    (one,) = outbox.store.pending(NOW)
    assert (one.thread_key, one.thread_ts) == ("root", "1.0")


def test_failed_message_waits_and_counts(outbox: Clocked) -> None:
    outbox.put("a")
    outbox.store.mark_failed("a", "down", NOW + 10)
    assert outbox.keys() == []
    assert outbox.store.next_try_ts(NOW) == NOW + 10
    outbox.ts += 10
    (one,) = outbox.store.pending(outbox.ts)
    assert one.attempts == 1
    assert outbox.store.next_try_ts(outbox.ts) is None


def test_clock_put_back_makes_waiting_messages_due(outbox: Clocked) -> None:
    outbox.put("a")
    outbox.store.mark_failed("a", "down", NOW + 60)
    assert [one.key for one in outbox.store.pending(NOW - MAX_WAIT_S)] == ["a"]


def test_deleted_message_is_to_be_posted_anew_and_keeps_its_first_time(outbox: Clocked) -> None:
    outbox.put("a")
    outbox.send("a")
    outbox.ts += 5
    outbox.store.mark_gone("a")
    (one,) = outbox.store.pending(outbox.ts)
    assert (one.ts, one.posted_channel) == (None, None)
    outbox.send("a", ts="9.0")
    assert outbox.store.sent_ts("a") == NOW


def test_lanes_are_the_channels_asked_for(outbox: Clocked) -> None:
    outbox.put("a")
    outbox.put("b", channel="C2")
    outbox.put("b/answer", thread_of="b")
    assert sorted(outbox.store.lanes(NOW)) == ["", "C2"]
    outbox.send("b", channel="C2")
    assert outbox.keys(lane="C2") == ["b/answer"]
    assert outbox.keys(lane="") == ["a"]


def test_age_of_the_outbox_is_that_of_its_oldest_wish(outbox: Clocked) -> None:
    assert outbox.store.oldest_pending_ts() is None
    outbox.put("a")
    outbox.ts += 10
    outbox.put("a", "edited")
    outbox.put("b")
    assert (outbox.store.oldest_pending_ts(), outbox.store.num_pending()) == (NOW, 2)
    outbox.send("a")
    assert outbox.store.oldest_pending_ts() == NOW + 10
    outbox.ts += 10
    outbox.put("a", "again")
    outbox.send("b", ts="2.0")
    assert outbox.store.oldest_pending_ts() == NOW + 20


def test_message_of_a_rolled_back_transaction_never_was(outbox: Clocked) -> None:
    def fail() -> None:
        with outbox.database.transaction():
            outbox.put("a")
            raise StoreError("x", "y")

    with pytest.raises(StoreError):
        fail()
    assert outbox.keys() == []
    outbox.put("a")
    assert outbox.keys() == ["a"]


def test_damaged_row_is_delivered_as_what_is_left_of_it(outbox: Clocked) -> None:
    outbox.put("run/stalled/1")
    outbox.database.execute("UPDATE messages SET desired = '{broken'")
    (one,) = outbox.store.pending(NOW)
    assert (one.message.title, one.message.tone) == ("run/stalled/1", Tone.WARNING)


def test_order_goes_on_after_a_restart(tmp_path: Path) -> None:
    first = Database(tmp_path / "state.db")
    MessageStore(first).put("a", Message(title="a"))
    first.close()
    second = Database(tmp_path / "state.db")
    store = MessageStore(second)
    store.put("b", Message(title="b"))
    assert [one.key for one in store.pending(NOW * 2)] == ["a", "b"]
    second.close()


def test_key_that_is_no_unicode_is_stored(outbox: Clocked) -> None:
    outbox.put("run\udcff")
    outbox.send("run\\udcff")
    assert outbox.store.posted("run\udcff") == HERE
