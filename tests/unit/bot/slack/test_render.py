"""Every message fits Slack, by the word of the stand-in's own validation, which shares no code with the renderer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainmaster.bot.core.conversation.message import ActionId, Button, ButtonStyle, Item, Mark, Message, Table, Tone
from trainmaster.bot.core.conversation.tokens import moment, person
from trainmaster.bot.slack import limits
from trainmaster.bot.slack.render import render
from trainmaster.bot.workspace.blocks.message import read_blocks, read_text

NASTY = [
    "<!channel>",
    "<@U0ANNA>",
    "<http://evil|ok>",
    "```",
    "&",
    "*",
    "_",
    "`",
    ":fire:",
    "\n",
    "\x00",
    "\ud800",
    "é",
    "🔥",
]
texts = st.one_of(
    st.text(max_size=60),
    st.lists(st.one_of(st.sampled_from(NASTY), st.text(max_size=5)), max_size=12).map("".join),
    st.builds(lambda piece, times: piece * times, st.sampled_from([*NASTY, "word ", "x"]), st.integers(0, 1000)),
    st.floats(0, 9e9).map(moment),
)
buttons = st.builds(
    Button,
    action=st.sampled_from(ActionId),
    label=texts,
    value=texts,
    style=st.sampled_from(ButtonStyle),
    confirm=st.none() | texts,
)
tables = st.integers(0, 25).flatmap(
    lambda width: st.builds(
        Table,
        header=st.lists(texts, min_size=width, max_size=width).map(tuple),
        rows=st.lists(st.lists(texts, max_size=width).map(tuple), max_size=8).map(lambda rows: tuple(rows) * 20),
    )
)
messages = st.builds(
    Message,
    title=texts,
    tone=st.sampled_from(Tone),
    body=st.lists(texts, max_size=4).map(tuple),
    fields=st.lists(st.tuples(texts, texts), max_size=25).map(tuple),
    items=st.lists(st.builds(Item, mark=st.sampled_from(Mark), text=texts, detail=texts), max_size=30).map(tuple),
    table=st.none() | tables,
    excerpt=texts,
    context=st.lists(texts, max_size=15).map(tuple),
    buttons=st.lists(buttons, max_size=30).map(tuple),
    mentions=st.lists(st.one_of(texts, st.just("U0ANNA"), st.just("S0GROUP")), max_size=40).map(tuple),
)


def strings(node: Any) -> Iterator[str]:
    """Every text on the wire."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "text" and isinstance(value, str):
                yield value
            elif key != "value":
                yield from strings(value)
    elif isinstance(node, list | tuple):
        for one in node:
            yield from strings(one)


def section_texts(message: Message) -> list[str]:
    return [b["text"]["text"] for b in render(message).blocks if b["type"] == "section" and "text" in b]


def context_texts(message: Message) -> list[str]:
    return [e["text"] for b in render(message).blocks if b["type"] == "context" for e in b["elements"]]


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(messages)
def test_any_message_is_one_that_slack_takes_and_that_can_be_edited_later(message: Message) -> None:
    rendered = render(message)
    read_blocks(list(rendered.blocks))
    read_text(rendered.text, is_update=True)
    assert rendered.text.strip()
    assert rendered.blocks


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(messages)
def test_no_text_pings_or_links_by_itself(message: Message) -> None:
    dates = r"<!date\^\d+\^\{date_short_pretty\} \{time_secs\}\|[-0-9: ]+UTC>"
    wanted = (tag for one in message.mentions for tag in (f"<@{one}>", f"<!subteam^{one}>"))
    ours = re.compile("|".join((dates, *map(re.escape, wanted))))
    for text in strings(list(render(message).blocks)):
        assert "<" not in ours.sub("", text)
    assert "<" not in render(message).text


@pytest.mark.parametrize("char", ["x", "&", "🔥", "_a_ "], ids=["letters", "entities", "emoji", "code"])
def test_the_fullest_message_fits_with_every_part_still_there(char: str) -> None:
    long = (char * 5000)[:5000]
    button = Button(action=ActionId.ACK, label=long, value="v", style=ButtonStyle.DANGER, confirm=long)
    message = Message(
        title=long,
        tone=Tone.CRITICAL,
        body=(long,) * 3,
        fields=((long, long),) * 30,
        items=(Item(mark=Mark.WARNING, text=long, detail=long),) * 30,
        table=Table(header=(long,) * 25, rows=((long,) * 25,) * 200),
        excerpt=long,
        context=(long,) * 20,
        buttons=(button,) * 30,
        mentions=("U0ANNA",) * 60,
    )
    rendered = render(message)
    read_blocks(list(rendered.blocks))
    read_text(rendered.text, is_update=True)
    assert {"section", "actions", "context"} <= {block["type"] for block in rendered.blocks}
    assert any("fields" in block for block in rendered.blocks)
    excerpt = section_texts(message)[-1]
    assert excerpt.startswith("```")
    assert len(excerpt) >= limits.EXCERPT_SHARE - len("`_a_`") - 1


def test_the_smallest_message_is_one_bold_line() -> None:
    rendered = render(Message(title="Nothing is firing", tone=Tone.GOOD))
    assert rendered.text == "Nothing is firing"
    assert [block["text"]["text"] for block in rendered.blocks] == ["*🟢 Nothing is firing*"]


@pytest.mark.parametrize("tone", Tone)
def test_every_tone_and_mark_has_its_own_sign(tone: Tone) -> None:
    others = {str(render(Message(title="x", tone=other)).blocks) for other in Tone if other is not tone}
    assert str(render(Message(title="x", tone=tone)).blocks) not in others
    marks = {render(Message(title="x", items=(Item(mark=mark, text="y"),))).text for mark in Mark}
    assert len(marks) == len(Mark)


def test_all_parts_come_in_reading_order() -> None:
    message = Message(
        title="Title",
        body=("Body",),
        fields=(("Epoch", "4 of 40"),),
        items=(Item(mark=Mark.DONE, text="All batches", detail="12 of 12"),),
        excerpt="last line",
        table=Table(header=("epoch", "loss"), rows=(("1", "0.5"), ("2", "0.4"))),
        buttons=(Button(action=ActionId.ACK, label="Acknowledge", value="run/check/key"),),
        context=("run digits",),
        mentions=("U0ANNA",),
    )
    kinds = [block["type"] for block in render(message).blocks]
    assert kinds == ["section", "actions", "section", "section", "section", "table", "context"]
    assert section_texts(message) == ["*Title*\nBody\n<@U0ANNA>", "✅  All batches · 12 of 12", "```\nlast line\n```"]


def test_the_notification_says_it_all_in_words() -> None:
    message = Message(
        title="NaN",
        tone=Tone.CRITICAL,
        body=("Skipped.",),
        fields=(("Epoch", "4"),),
        items=(Item(mark=Mark.FAILED, text="No NaN", detail="1 bad"),),
    )
    assert render(message).text == "NaN\nSkipped.\nEpoch: 4\n❌ No NaN, 1 bad"


def test_the_notification_holds_the_table_the_excerpt_and_the_details() -> None:
    message = Message(
        title="digits: roll back?",
        excerpt="loss nan",
        details=Message(title="details", table=Table(header=("Setting", "Now", "After"), rows=(("lr0", "1", "2"),))),
    )
    assert render(message).text == "digits: roll back?\nloss nan\nSetting lr0, Now 1, After 2"


def test_the_notification_names_people_whose_name_is_known() -> None:
    message = Message(title=f"digits: stopped by {person('U0ANNA')} and {person('U0BEN')}")
    assert render(message, {"U0ANNA": "Anna Keller"}).text == "digits: stopped by Anna Keller and @U0BEN"


def test_more_than_ten_fields_go_into_further_sections() -> None:
    message = Message(title="x", fields=tuple((f"f{n}", str(n)) for n in range(12)))
    assert [len(block["fields"]) for block in render(message).blocks if "fields" in block] == [10, 2]


def test_the_small_print_says_what_was_left_out() -> None:
    message = Message(
        title="x",
        body=("y" * 9000,),
        fields=tuple((f"f{n}", str(n)) for n in range(23)),
        context=("run digits",),
    )
    assert context_texts(message) == ["run digits", "Left out for length: the end of the text, 3 fields."]


def test_nothing_is_said_to_be_left_out_when_nothing_was() -> None:
    assert context_texts(Message(title="x", body=("y" * 1900,), context=("c",))) == ["c"]


def test_a_repeated_button_opens_another_row() -> None:
    press = [Button(action=ActionId.PROPOSE_ROLLBACK, label=f"Roll back to {n}", value=str(n)) for n in (3, 4)]
    rows = [b["elements"] for b in render(Message(title="x", buttons=tuple(press))).blocks if b["type"] == "actions"]
    assert [[element["value"] for element in row] for row in rows] == [["3"], ["4"]]


def test_a_button_whose_value_is_too_long_is_left_out_rather_than_changed() -> None:
    message = Message(title="x", buttons=(Button(action=ActionId.ACK, label="Ack", value="v" * 2001),))
    assert all(block["type"] != "actions" for block in render(message).blocks)
    assert context_texts(message) == ["Left out for length: 1 button."]


def test_a_dangerous_button_asks_again_in_its_own_words() -> None:
    button = Button(action=ActionId.APPROVE, label="Approve", value="7", style=ButtonStyle.DANGER, confirm="Roll back?")
    (element,) = [
        e for b in render(Message(title="x", buttons=(button,))).blocks if b["type"] == "actions" for e in b["elements"]
    ]
    assert element["style"] == "danger"
    assert element["confirm"]["text"]["text"] == "Roll back?"
    assert element["confirm"]["confirm"]["text"] == "Approve"


def test_a_title_may_name_a_person_and_a_time() -> None:
    message = Message(title=f"Acknowledged by {person('U0ANNA')}, until {moment(0)}")
    (text,) = section_texts(message)
    assert text.startswith("*Acknowledged by <@U0ANNA>, until <!date^0^")
    assert render(message).text == "Acknowledged by @U0ANNA, until 1970-01-01 00:00 UTC"


def test_a_log_line_with_our_own_tokens_stays_a_log_line() -> None:
    (_, excerpt) = section_texts(Message(title="x", excerpt="<u:U0ANNA> <t:0>"))
    assert excerpt == "```\n&lt;u:U0ANNA&gt; &lt;t:0&gt;\n```"


def test_columns_of_numbers_stand_right_and_empty_cells_are_dashes() -> None:
    table = Table(header=("file", "epoch", "loss"), rows=(("a.pt", "1", "0.5"), ("b.pt", "2", "")))
    (block,) = [b for b in render(Message(title="x", table=table)).blocks if b["type"] == "table"]
    assert [column["align"] for column in block["column_settings"]] == ["left", "right", "right"]
    assert block["rows"][2][2]["text"] == "–"


def test_a_table_beyond_its_room_is_cut_at_a_row() -> None:
    table = Table(header=("n",), rows=tuple((str(n),) for n in range(500)))
    message = Message(title="x", table=table)
    (block,) = [b for b in render(message).blocks if b["type"] == "table"]
    assert len(block["rows"]) == 100
    assert context_texts(message) == ["Left out for length: 401 rows."]


def test_links_and_mentions_are_not_made_by_slack_itself() -> None:
    message = Message(title="x", fields=(("a", "b"),), context=("c",))
    for block in render(message).blocks:
        for text in [block.get("text"), *block.get("fields", []), *block.get("elements", [])]:
            assert text is None or text["verbatim"] is True
