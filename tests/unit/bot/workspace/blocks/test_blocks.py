from __future__ import annotations

from typing import Any

import pytest

from tests.unit.bot.workspace.blocks.making import (
    actions,
    button,
    buttons,
    confirm,
    image,
    mrkdwn,
    option,
    options,
    plain,
    rich_text,
    section,
    select,
    table,
    text_input,
)
from trainmaster.bot.workspace.blocks.blocks import Surface, check_blocks, count_chars


def message_faults(blocks: Any) -> list[str]:
    return check_blocks(blocks, surface=Surface.MESSAGE)


def table_of(*chars: int) -> dict[str, Any]:
    """A table with a row for each number, of one cell with so many characters."""
    return {"type": "table", "rows": [[{"type": "raw_text", "text": "x" * number}] for number in chars]}


AT_THE_LIMIT = {
    "50 blocks": [{"type": "divider"}] * 50,
    "section text of 3000": [section(text=mrkdwn("x" * 3000))],
    "10 fields of 2000": [section(fields=[mrkdwn("x" * 2000)] * 10)],
    "header of 150": [{"type": "header", "text": plain("x" * 150)}],
    "10 context elements": [{"type": "context", "elements": [mrkdwn()] * 10}],
    "25 buttons": [actions(*buttons(25))],
    "button text of 75": [actions(button(text=plain("x" * 75)))],
    "button value of 2000": [actions(button(value="x" * 2000))],
    "button url of 3000": [actions(button(url="https://e.org/".ljust(3000, "x")))],
    "action_id of 255": [actions(button(action_id="x" * 255))],
    "block_id of 255": [section(text=mrkdwn(), block_id="x" * 255)],
    "confirm at its limits": [
        actions(
            button(
                confirm=confirm(
                    title=plain("x" * 100), text=mrkdwn("x" * 300), confirm=plain("x" * 30), deny=plain("x" * 30)
                )
            )
        )
    ],
    "100 options": [actions(select(options=options(100)))],
    "5 overflow options": [actions({"type": "overflow", "action_id": "more", "options": options(5)})],
    "10 radio buttons": [actions({"type": "radio_buttons", "action_id": "one", "options": options(10)})],
    "option text of 75 and value of 150": [actions(select(options=[option("x" * 150, "y" * 75)]))],
    "table of 100 by 20": [table(rows=100, columns=20)],
    "table of 10000 characters": [table_of(4_000, 6_000)],
    "alt text of 2000": [image(alt_text="x" * 2000)],
    "image url of 3000": [image(image_url="https://e.org/".ljust(3000, "x"))],
    "same action_id in two blocks": [actions(button()), actions(button())],
    "image from an uploaded file": [{"type": "image", "alt_text": "a plot", "slack_file": {"id": "F1"}}],
    "plain text in a section": [section(text=plain())],
    "button beside a section": [section(text=mrkdwn(), accessory=button())],
    "rich text": [
        rich_text({"type": "text", "text": "bold", "style": {"bold": True}}, {"type": "user", "user_id": "U1"})
    ],
    "input in a message": [text_input()],
    "initial option that is one of them": [actions(select(initial_option=option()))],
    "no blocks at all": [],
}


@pytest.mark.parametrize("blocks", AT_THE_LIMIT.values(), ids=AT_THE_LIMIT.keys())
def test_what_exactly_meets_a_limit_passes(blocks: Any) -> None:
    assert message_faults(blocks) == []


REFUSED = {
    "51 blocks": ([{"type": "divider"}] * 51, "no more than 50 items allowed [json-pointer:/blocks]"),
    "section text of 3001": (
        [section(text=mrkdwn("x" * 3001))],
        "must be less than 3001 characters [json-pointer:/blocks/0/text/text]",
    ),
    "empty section text": (
        [section(text=mrkdwn(""))],
        "must be more than 0 characters [json-pointer:/blocks/0/text/text]",
    ),
    "11 fields": ([section(fields=[mrkdwn()] * 11)], "no more than 10 items allowed [json-pointer:/blocks/0/fields]"),
    "field of 2001": (
        [section(fields=[mrkdwn("x" * 2001)])],
        "must be less than 2001 characters [json-pointer:/blocks/0/fields/0/text]",
    ),
    "section without content": ([{"type": "section", "block_id": "a"}], "must define either text or fields"),
    "header of 151": ([{"type": "header", "text": plain("x" * 151)}], "must be less than 151 characters"),
    "mrkdwn in a header": ([{"type": "header", "text": mrkdwn()}], "must be one of: plain_text"),
    "11 context elements": ([{"type": "context", "elements": [mrkdwn()] * 11}], "no more than 10 items allowed"),
    "button in a context": ([{"type": "context", "elements": [button()]}], "unsupported type: button"),
    "26 buttons": ([actions(*buttons(26))], "no more than 25 items allowed [json-pointer:/blocks/0/elements]"),
    "no buttons": ([{"type": "actions", "elements": []}], "no fewer than 1 items allowed"),
    "button text of 76": ([actions(button(text=plain("x" * 76)))], "must be less than 76 characters"),
    "mrkdwn on a button": ([actions(button(text=mrkdwn()))], "must be one of: plain_text"),
    "button value of 2001": ([actions(button(value="x" * 2001))], "must be less than 2001 characters"),
    "button value that is a number": ([actions(button(value=7))], "must provide a string"),
    "button url of 3001": ([actions(button(url="https://e.org/".ljust(3001, "x")))], "must be less than 3001"),
    "button url without a scheme": ([actions(button(url="example.org"))], "invalid url"),
    "button style of another name": ([actions(button(style="warning"))], "must be one of: primary, danger"),
    "action_id of 256": ([actions(button(action_id="x" * 256))], "must be less than 256 characters"),
    "same action_id twice in one block": (
        [actions(button(), button())],
        "`action_id` go already exists in this block [json-pointer:/blocks/0/elements/1/action_id]",
    ),
    "block_id of 256": ([section(text=mrkdwn(), block_id="x" * 256)], "must be less than 256 characters"),
    "same block_id twice": (
        [section(text=mrkdwn(), block_id="a"), {"type": "divider", "block_id": "a"}],
        "`block_id` a already exists [json-pointer:/blocks/1/block_id]",
    ),
    "confirm title of 101": ([actions(button(confirm=confirm(title=plain("x" * 101))))], "must be less than 101"),
    "confirm text of 301": ([actions(button(confirm=confirm(text=mrkdwn("x" * 301))))], "must be less than 301"),
    "confirm button of 31": ([actions(button(confirm=confirm(confirm=plain("x" * 31))))], "must be less than 31"),
    "deny button of 31": ([actions(button(confirm=confirm(deny=plain("x" * 31))))], "must be less than 31"),
    "mrkdwn as a confirm title": ([actions(button(confirm=confirm(title=mrkdwn())))], "must be one of: plain_text"),
    "confirm without deny": (
        [actions(button(confirm={"title": plain(), "text": plain(), "confirm": plain()}))],
        "missing required field: deny",
    ),
    "101 options": ([actions(select(options=options(101)))], "no more than 100 items allowed"),
    "6 overflow options": (
        [actions({"type": "overflow", "action_id": "more", "options": options(6)})],
        "no more than 5 items allowed",
    ),
    "11 checkboxes": (
        [actions({"type": "checkboxes", "action_id": "many", "options": options(11)})],
        "no more than 10 items allowed",
    ),
    "option text of 76": ([actions(select(options=[option("a", "x" * 76)]))], "must be less than 76 characters"),
    "option value of 151": ([actions(select(options=[option("x" * 151)]))], "must be less than 151 characters"),
    "two options of one value": ([actions(select(options=[option(), option()]))], "option values must be unique"),
    "initial option that is none": (
        [actions(select(initial_option=option("z")))],
        "initial_option must match one of the options",
    ),
    "table of 101 rows": ([table(rows=101)], "no more than 100 items allowed [json-pointer:/blocks/0/rows]"),
    "table of 21 columns": ([table(columns=21)], "no more than 20 items allowed [json-pointer:/blocks/0/rows/0]"),
    "table of 10001 characters": ([table_of(4_000, 6_001)], "no more than 10000 characters allowed in all cells"),
    "two tables": ([table(), table()], "only one table block allowed per message"),
    "empty table cell": (
        [{"type": "table", "rows": [[{"type": "raw_text", "text": ""}]]}],
        "must be more than 0 characters",
    ),
    "image without alt text": ([{"type": "image", "image_url": "https://e.org/a.png"}], "required field: alt_text"),
    "alt text of 2001": ([image(alt_text="x" * 2001)], "must be less than 2001 characters"),
    "image without a source": ([{"type": "image", "alt_text": "x"}], "must define either image_url or slack_file"),
    "image on this machine": ([image(image_url="http://127.0.0.1:9/a.png")], "downloading image failed"),
    "image on localhost": ([image(image_url="http://localhost/a.png")], "downloading image failed"),
    "image that is a file path": ([image(image_url="file:///a.png")], "invalid url"),
    "unknown block": ([{"type": "sections"}], "unsupported type: sections [json-pointer:/blocks/0/type]"),
    "block without a type": ([{"text": mrkdwn()}], "missing required field: type [json-pointer:/blocks/0]"),
    "block that is text": (["hello"], "must provide an object [json-pointer:/blocks/0]"),
    "unknown field": ([section(text=mrkdwn(), colour="red")], "invalid additional property: colour"),
    "null for a field that is left out": ([actions(button(style=None))], "must be one of: primary, danger"),
    "unknown kind of text": ([section(text={"type": "markdown", "text": "x"})], "unsupported type: markdown"),
    "emoji flag on mrkdwn": ([section(text=mrkdwn() | {"emoji": True})], "invalid additional property: emoji"),
    "bare string as text": ([section(text="hello")], "must provide an object [json-pointer:/blocks/0/text]"),
    "unknown rich text": ([rich_text({"type": "bold", "text": "x"})], "unsupported type: bold"),
    "blocks that are an object": ({"type": "divider"}, "must provide an array [json-pointer:/blocks]"),
}


@pytest.mark.parametrize(("blocks", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_slack_refuses_is_refused_with_its_place(blocks: Any, words: str) -> None:
    lines = message_faults(blocks)
    assert any(words in line and line.startswith("[ERROR] ") for line in lines), lines


MODAL_CASES = {
    "100 blocks": ([{"type": "divider"}] * 100, True),
    "101 blocks": ([{"type": "divider"}] * 101, False),
    "no blocks": ([], False),
    "table": ([table()], False),
    "input": ([text_input()], True),
}


@pytest.mark.parametrize(("blocks", "passes"), MODAL_CASES.values(), ids=MODAL_CASES.keys())
def test_modal_has_limits_of_its_own(blocks: Any, passes: bool) -> None:
    assert (check_blocks(blocks, surface=Surface.MODAL) == []) is passes


def test_all_text_counts_towards_the_limit_on_blocks_together() -> None:
    blocks = [
        section(text=mrkdwn("12345"), fields=[mrkdwn("123")], accessory=button(text=plain("12"))),
        rich_text({"type": "text", "text": "1234"}),
        table(rows=2, columns=2),
    ]
    assert count_chars(blocks) == 5 + 3 + 2 + 4 + 4
