"""Rules that hold for every kind of message (docs/messages.md)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.facts import IDS, ids_shown, said_twice
from tests.support.facts import texts_of as text_of
from tests.support.message_kinds import Kind, answers, every_kind
from trainmaster.bot.core.conversation.message import ActionId
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


async def test_nothing_that_is_read_aloud_is_drawn_or_runs_together(tmp_path: Path) -> None:
    for kind in await kinds(tmp_path):
        text = render(kind.message).text
        assert not re.search(r"[\u2580-\u259f\u25b0\u25b1]{2}", text), kind.name
        for item in kind.message.items:
            if item.detail and "<" not in item.text + item.detail and "\n" not in item.detail:
                assert f"{item.text}, {item.detail}"[:60].strip() in text, kind.name


@pytest.mark.parametrize(
    "name", ["n" * 200, "夜間訓練" * 18, "לילה-ריצה-" * 12], ids=["letters", "wide", "right to left"]
)
async def test_the_fact_is_seen_on_a_phone_whatever_the_name(tmp_path: Path, name: str) -> None:
    for kind in await kinds(tmp_path, name):
        title = render(kind.message).blocks[0]["text"]["text"].split("\n")[0]
        assert all(len(word) <= 62 for word in title.split()), kind.name
        if kind.run and "…" in title:
            assert title.strip("*🔴🟢🟡🔵 ").startswith(name[:6]), kind.name
            assert name[-5:] in title, kind.name


async def test_no_fact_stands_twice_in_what_is_shown(tmp_path: Path) -> None:
    for kind in await kinds(tmp_path):
        assert said_twice(kind.message) == [], kind.name


async def test_no_details_say_a_fact_twice_either(tmp_path: Path) -> None:
    for kind in await kinds(tmp_path):
        assert kind.message.details is None or said_twice(kind.message.details) == [], kind.name


async def test_what_machines_know_things_by_stands_in_details_alone(tmp_path: Path) -> None:
    for kind in await kinds(tmp_path):
        if kind.name.endswith("details"):
            continue  # is put into the thread
        shown = render(kind.message)
        assert ids_shown(shown.blocks) == [], kind.name
        assert IDS.findall(shown.text) == [], kind.name


async def test_what_is_left_out_stands_in_the_details(tmp_path: Path) -> None:
    (done,) = [one.message for one in every_kind(tmp_path) if one.name == "rollback done"]
    assert done.details is not None
    told = " ".join(text_of(render(done.details).blocks))
    for known_by in ("plan ", "sha256 5a5a5a5a5a5a", "process 19142", "process 25752", "/data/runs/archive/night/"):
        assert known_by in told


async def test_who_asked_is_not_listed_among_those_who_decide(tmp_path: Path) -> None:
    shown = {one.name: one.message for one in every_kind(tmp_path)}
    for name in ("question", "change asked"):
        assert (shown[name].mentions, "U0ANNA" in str(shown[name].context)) == (("U0BEN",), True), name
    assert shown["change with a yes"].mentions == ()
    assert shown["question of the bot"].mentions == ("U0ANNA", "U0BEN")
    assert "who may approve it too" in str(shown["change asked by one who may decide"].context)
    assert "nobody else is on call" in str(shown["change asked by one alone"].context)


async def test_what_is_to_be_pressed_comes_before_everything_but_the_first_lines(tmp_path: Path) -> None:
    for kind in await kinds(tmp_path):
        blocks = [one["type"] for one in render(kind.message).blocks]
        if "actions" in blocks:
            assert blocks[1] == "actions", kind.name


async def test_an_alert_that_advises_a_rollback_has_the_button_for_it(tmp_path: Path) -> None:
    alerts = [one for one in await kinds(tmp_path) if re.fullmatch(r"alert \w+ \w+( acknowledged)?", one.name)]
    advised = [one for one in alerts if "/train execute rollback" in str(one.message.context)]
    assert {one.name.split()[1] for one in advised} >= {"run_gave_up", "run_refused", "run_crashed"}
    for kind in advised:
        assert ActionId.PROPOSE_ROLLBACK in [button.action for button in kind.message.buttons], kind.name


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
