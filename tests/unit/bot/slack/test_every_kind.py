"""Rules that hold for every kind of message (docs/messages.md)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.message_kinds import Kind, answers, every_kind
from trainmaster.bot.core.conversation.message import ActionId, Message
from trainmaster.bot.slack.render import render
from trainmaster.bot.workspace.blocks.message import read_blocks, read_text

_TITLE_CHARS = 140
"""Of a title that a phone shows in three lines."""

NAMES = {
    "plain": "night",
    "200 characters": "n" * 200,
    "right to left": "לילה",
    "marks of direction": "night\u202eteg",
    "formatting": "*night* _and_ <day> & `x`",
}


async def kinds(folder: Path, name: str = "night", *, epochs: int = 40) -> list[Kind]:
    (folder / "answers").mkdir()
    return [*every_kind(folder, name, epochs=epochs), *await answers(folder / "answers", name, epochs=epochs)]


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
async def test_slack_takes_every_kind_and_takes_its_edits(tmp_path: Path, name: str) -> None:
    for kind in await kinds(tmp_path, name.replace("/", "-"), epochs=400):
        for message in (kind.message, *([kind.message.details] if kind.message.details else [])):
            rendered = render(message)
            read_blocks(list(rendered.blocks))
            read_text(rendered.text, is_update=True)


async def test_the_notification_begins_with_run_and_fact_and_has_no_markup(tmp_path: Path) -> None:
    for kind in await kinds(tmp_path):
        text = render(kind.message, {"U0ANNA": "Anna", "U0BEN": "Ben"}).text
        assert re.match(rf"{kind.run}:? \w" if kind.run else r"[A-Z\d]", text), kind.name
        assert not re.search(r"<[@!#h]|\*\*|```|U0ANNA|U0BEN", text), kind.name
        assert not re.search(r"attempt\d|\w/\w+/attempt|fired, attempt", text), kind.name


async def test_no_fact_stands_twice_in_what_is_shown(tmp_path: Path) -> None:
    for kind in await kinds(tmp_path):
        assert said_twice(kind.message) == [], kind.name


async def test_nobody_is_named_twice_in_a_question(tmp_path: Path) -> None:
    (shown,) = [one.message for one in every_kind(tmp_path) if one.name == "question of the bot"]
    assert [text for text in _said(shown) if "<u:" in text] == []
    assert shown.mentions == ("U0ANNA", "U0BEN")


async def test_what_is_to_be_pressed_comes_before_everything_but_the_first_lines(tmp_path: Path) -> None:
    for kind in await kinds(tmp_path):
        blocks = [one["type"] for one in render(kind.message).blocks]
        if "actions" in blocks:
            assert blocks[1] == "actions", kind.name


async def test_details_button_stands_where_details_are_and_last(tmp_path: Path) -> None:
    for kind in await kinds(tmp_path):
        actions = [button.action for button in kind.message.buttons]
        assert actions.count(ActionId.DETAILS) <= 1
        if ActionId.DETAILS in actions:
            assert (actions[-1], kind.message.details is None) == (ActionId.DETAILS, False), kind.name


async def test_setting_changes_of_a_question_are_in_its_notification(tmp_path: Path) -> None:
    (shown,) = [one.message for one in every_kind(tmp_path) if one.name == "question"]
    assert shown.table is None
    assert shown.details is not None
    assert shown.details.table is not None
    text = render(shown).text
    for layer, before, after in shown.details.table.rows:
        assert f"{layer}, Now {before}, After {after}" in text


async def test_no_slug_of_an_error_and_no_phrase_of_the_court_is_shown(tmp_path: Path) -> None:
    for kind in await kinds(tmp_path):
        text = render(kind.message).text
        assert not re.search(r"convict|\b(run|checkpoint|process)-(unknown|contaminated|unguarded)\b", text), kind.name


async def test_titles_of_a_run_with_a_short_name_fit_three_lines_of_a_phone(tmp_path: Path) -> None:
    long = {kind.name: len(kind.message.title) for kind in await kinds(tmp_path)}
    assert {name: length for name, length in long.items() if length > _TITLE_CHARS} == {}


def said_twice(message: Message) -> list[str]:
    """Sentences and values that stand in the message more than once."""
    said = _said(message)
    return sorted({one for one in said if said.count(one) > 1})


def _said(message: Message) -> list[str]:
    """Sentences and values of what is shown at once; details are shown on request, and apart."""
    texts = [message.title, *message.body, *message.context, *(value for _, value in message.fields)]
    texts += [f"{item.text} {item.detail}" for item in message.items]
    parts = [part.strip(" .") for text in texts for part in re.split(r"[;·\n]|\. ", text)]
    return [part for part in parts if len(part) > 8 and not part.startswith("/train")]
