"""``checkpoints``, ``compare`` and ``offenders``: what a person looks at before deciding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.clocks import SetClock
from tests.support.run_dirs import START_TS, WrittenRun
from tests.support.worlds import ANNA, CommandWorld, FakeRuns
from trainmaster.bot.core.conversation.message import Message, Tone
from trainmaster.bot.core.conversation.picture import Sketch
from trainmaster.bot.core.conversation.request import Origin, Request
from trainmaster.bot.core.decisions.order import ProposeRollback, ShowCheckpoints
from trainmaster.bot.core.run.facts import ProcessFact, ProcessStatus
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import CommandError
from trainmaster.bot.reading.run_files import RunReader
from trainmaster.commands import COMMANDS, dispatch

Write = Callable[[WrittenRun], None]


def _view(written: WrittenRun) -> RunView:
    view = RunReader(written.layout.root, first_seen_ts=START_TS).read(START_TS + 900)
    return replace(view, process=ProcessFact(status=ProcessStatus.ALIVE, ts=START_TS + 900))


def _run(tmp_path: Path, name: str, write: Write = lambda _: None) -> RunView:
    written = WrittenRun(tmp_path, name)
    write(written)
    return _view(written)


async def _say(text: str, *views: RunView) -> Message:
    world = CommandWorld(runs=FakeRuns(list(views)), clock=SetClock(START_TS + 900))
    request = Request(origin=Origin.SLASH, user=ANNA, channel="C0TRAIN", text=text)
    reply = await dispatch(request, world.context, COMMANDS)
    if text == "offenders":
        assert reply.sketch == Sketch(run=views[0].run, incident="0001")
    if text.startswith("checkpoints"):
        assert world.operations.asked == [ShowCheckpoints(run=views[0].run, user=ANNA)]
    return reply.message


def _epoch(fitness: float | None, *, number: int = 1, **extra: object) -> Write:
    def write(written: WrittenRun) -> None:
        written.start_epoch(number, 100 * number)
        written.finish_epoch(number, 100 * number + 90, fitness=fitness, **extra)

    return write


@pytest.mark.parametrize(("text", "epoch"), [("plan", None), ("plan to epoch 3", 3), ("show plan of digits", None)])
async def test_a_plan_is_shown_and_nobody_is_asked(tmp_path: Path, text: str, epoch: int | None) -> None:
    world = CommandWorld(runs=FakeRuns([_run(tmp_path, "digits")]), clock=SetClock(START_TS + 900))
    await dispatch(Request(origin=Origin.SLASH, user="U0CLEO", channel="C0TRAIN", text=text), world.context, COMMANDS)
    assert world.operations.asked == [ProposeRollback(run="digits-0001", user="U0CLEO", to_epoch=epoch, dry_run=True)]


async def test_checkpoints_are_asked_of_the_operations(tmp_path: Path) -> None:
    assert (await _say("checkpoints", _run(tmp_path, "digits"))).title == "ShowCheckpoints"


@pytest.mark.parametrize("text", ["compare a b", "compare a with b", "Compare “a” to b", "compare a vs. b"])
async def test_two_runs_are_compared_at_the_epoch_that_both_have_finished(tmp_path: Path, text: str) -> None:
    one, two = _run(tmp_path, "a", _epoch(0.5)), _run(tmp_path, "b", _epoch(0.3))
    message = await _say(text, one, two)
    assert message.title == "a is ahead of b after epoch 1: fitness 0.5, not 0.3"
    assert message.table is not None
    assert message.table.header == ("", "a", "b")
    assert ("Fitness, epoch 1", "0.5", "0.3") in message.table.rows
    assert all(len(row) == 3 for row in message.table.rows)


@pytest.mark.parametrize(
    ("here", "there", "words"),
    [
        pytest.param(0.300, 0.304, "a and b are level after epoch 1: fitness 0.3", id="level"),
        pytest.param(0.1, 0.3, "b is ahead of a after epoch 1", id="the second is ahead"),
        pytest.param(None, 0.3, "a and b, after epoch 1: no fitness of both", id="no fitness"),
        pytest.param("nan", 0.3, "a and b, after epoch 1: no fitness of both", id="not finite"),
    ],
)
async def test_which_run_is_ahead_is_said_in_words(tmp_path: Path, here: float, there: float, words: str) -> None:
    message = await _say("compare a b", _run(tmp_path, "a", _epoch(here)), _run(tmp_path, "b", _epoch(there)))
    assert message.title.startswith(words)


async def test_runs_without_a_common_epoch_are_compared_by_the_rest(tmp_path: Path) -> None:
    message = await _say("compare a b", _run(tmp_path, "a", _epoch(0.5)), _run(tmp_path, "b"))
    assert message.title == "a and b: no epoch that both have finished"
    assert message.table is not None
    names = [row[0] for row in message.table.rows]
    assert "Bad batches" in names
    assert [name for name in names if "epoch 1" in name] == []


async def test_settings_that_differ_are_listed_and_others_are_not(tmp_path: Path) -> None:
    def other(written: WrittenRun) -> None:
        rows = [
            {"layer": 1, "name": "clipping", "setting": "max_norm", "value": "5.0", "source": "level"},
            {"layer": 3, "name": "rate", "setting": "lr0", "value": "0.0005", "source": "user"},
        ]
        written.record(layers=rows)

    message = await _say("compare a b", _run(tmp_path, "a"), _run(tmp_path, "b", other))
    assert message.table is not None
    assert ("max_norm", "10.0", "5.0") in message.table.rows
    assert "lr0" not in {row[0] for row in message.table.rows}


@pytest.mark.parametrize(("text", "words"), [("compare a a", "compared with itself"), ("compare a nope", "no run")])
async def test_a_comparison_with_itself_or_with_nothing_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(CommandError, match=words):
        await _say(text, _run(tmp_path, "a"))


def _bad(*batches: tuple[int, list[str]], drill: bool = False) -> Write:
    def write(written: WrittenRun) -> None:
        written.start_epoch(1, 0)
        for batch, images in batches:
            written.bad_batch(1, batch, batch, images=images, drill=drill)

    return write


async def test_an_image_of_two_bad_batches_is_an_offender_with_a_ready_line(tmp_path: Path) -> None:
    view = _run(tmp_path, "my run", _bad((3, ["/d/x.png", "/d/y.png"]), (9, ["/d/x.png"])))
    message = await _say("offenders", view)
    assert message.title == "my run: 1 image came back in bad batches"
    assert [(item.text, item.detail) for item in message.items] == [
        ("x.png: in 2 bad batches", "epoch 1 batch 3, epoch 1 batch 9")
    ]
    folder = view.directory
    assert message.excerpt == f"trainmaster resume '{folder}' 'quarantine={folder}/guard/offenders.json'"


@pytest.mark.parametrize(
    ("write", "words"),
    [
        pytest.param(_bad((3, ["x.png"])), "1 image stood in one bad batch each", id="once"),
        pytest.param(_bad((3, ["x.png"]), (4, ["x.png"]), drill=True), "no other bad batches", id="a drill"),
        pytest.param(_bad((3, ["x.png"]), drill=True), "1 bad batch of a drill left out.", id="one of a drill"),
        pytest.param(_bad((3, ["x.png", "x.png"])), "1 image stood", id="twice in one batch"),
        pytest.param(_bad(), "no bad batches", id="none"),
    ],
)
async def test_an_image_of_one_bad_batch_is_no_offender(tmp_path: Path, write: Write, words: str) -> None:
    message = await _say("offenders of digits", _run(tmp_path, "digits", write))
    assert message.tone is Tone.GOOD
    assert any(words in line for line in message.body)
    assert message.items == ()


async def test_what_has_no_room_is_counted(tmp_path: Path) -> None:
    """A list that ends without a word reads as if that were all."""

    def twelve(written: WrittenRun) -> None:
        written.start_epoch(1, 100)
        for batch in range(12):
            written.bad_batch(1, batch, 110)

    def layers(value: str) -> Write:
        rows = [{"layer": 1, "setting": f"s{number}", "value": value, "source": "level"} for number in range(15)]
        return lambda written: written.record(layers=rows)

    runs = [_run(tmp_path, f"run{number}") for number in range(9)]
    assert "also running: run1, run2, run3, run4 and 4 more" in (await _say("status", *runs)).context
    with pytest.raises(CommandError, match=r"Known: run0, .*, run7 and 1 more"):
        await _say("status of zzzz", *runs)
    assert "4 earlier bad batches not shown" in (await _say("epoch 1", _run(tmp_path, "bad", twelve))).context
    both = (_run(tmp_path, "one", layers("1")), _run(tmp_path, "two", layers("2")))
    assert "3 more settings differ" in (await _say("compare one two", *both)).context


async def test_the_next_command_is_about_the_same_run_where_there_are_several(tmp_path: Path) -> None:
    one, two = (_run(tmp_path, name, _epoch(0.5)) for name in ("day", "my run"))
    assert "/train status" in (await _say("epoch 1", one)).context
    assert "/train epoch 1 progress" in (await _say("status", one)).context
    assert '/train status of "my run"' in (await _say("epoch 1 of my run", one, two)).context
    assert '/train epoch 1 progress of "my run"' in (await _say("status of my run", one, two)).context
