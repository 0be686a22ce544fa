"""How a run is named by people."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.clocks import SetClock
from tests.support.run_dirs import START_TS, WrittenRun
from tests.support.worlds import ANNA, CommandWorld, FakeRuns
from trainmaster.bot.core.conversation.message import Reply
from trainmaster.bot.core.conversation.request import Origin, Request
from trainmaster.bot.core.decisions.order import ContinueRun
from trainmaster.bot.core.run.facts import ProcessFact, ProcessStatus
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import CommandError, StoreError
from trainmaster.bot.reading.run_files import RunReader
from trainmaster.commands import COMMANDS, dispatch
from trainmaster.trainer.contract import RunRecordState


async def _asked(text: str, *runs: WrittenRun, found: int | None = None) -> Reply:
    """``found`` is which of them the supervisor finds by the name."""
    world = _world(*runs)
    if found is not None:
        world.runs.find = lambda _: world.runs.views[found]  # type: ignore[method-assign]
    return await dispatch(_said(text), world.context, COMMANDS)


def _world(*runs: WrittenRun) -> CommandWorld:
    return CommandWorld(runs=FakeRuns(list(map(_view, runs))), clock=SetClock(START_TS + 152))


def _said(text: str) -> Request:
    return Request(origin=Origin.SLASH, user=ANNA, channel="C0TRAIN", text=text)


def _view(written: WrittenRun) -> RunView:
    view = RunReader(written.layout.root, first_seen_ts=START_TS).read(START_TS + 200)
    return replace(view, process=ProcessFact(status=ProcessStatus.ALIVE, ts=START_TS + 200))


@pytest.mark.parametrize("typed", ["NIGHT-2", "Night-2", "night–2"])
async def test_case_and_dashes_of_a_name_do_not_matter_where_only_one_run_is_meant(tmp_path: Path, typed: str) -> None:
    reply = await _asked(f"status of {typed}", WrittenRun(tmp_path, "night-2"), WrittenRun(tmp_path, "day"))
    assert reply.message.title.startswith("night-2:")


async def test_a_name_that_fits_two_runs_but_for_its_case_is_none(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="no run named 'DIGITS'"):
        await _asked("status of DIGITS", WrittenRun(tmp_path, "digits"), WrittenRun(tmp_path, "DigitS"))


async def test_a_path_that_ends_two_runs_is_none(tmp_path: Path) -> None:
    """One that fits one run only is what tells apart those of a name."""
    runs = [WrittenRun(tmp_path / who / "detect", "train") for who in ("anna", "ben")]
    with pytest.raises(CommandError, match=r"2 runs are named 'detect/train': anna/detect/train, ben/detect/train"):
        await _asked("stop now of detect/train", *runs, found=0)
    reply = await _asked("status of ben/detect/train", *runs, found=1)
    assert reply.message.title.startswith("train:")


async def test_a_question_about_a_run_is_answered_and_one_whether_to_act_is_not(tmp_path: Path) -> None:
    run = WrittenRun(tmp_path, "night")
    assert (await _asked("status of night?", run)).message.title.startswith("night:")
    with pytest.raises(CommandError, match=r"no run named 'night\?'. Did you mean 'night'\?"):
        await _asked("stop now of night?", run)


@pytest.mark.parametrize(("typed", "meant"), [("NIGTH-2", "night-2"), ("Dya", "day")])
async def test_a_misspelt_name_is_answered_with_the_nearest_whatever_its_case(
    tmp_path: Path, typed: str, meant: str
) -> None:
    with pytest.raises(CommandError, match=f"Did you mean '{meant}'"):
        await _asked(f"status of {typed}", WrittenRun(tmp_path, "night-2"), WrittenRun(tmp_path, "day"))


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        pytest.param("stop night", "stop now of night", id="run named"),
        pytest.param("stop now Night-2", "stop now of night-2", id="the longer name"),
        pytest.param("night-2 status", "status of night-2", id="run named first"),
        pytest.param("continue night", "continue of night", id="on which a decision would be taken"),
        pytest.param("pause my run until 22:00", 'pause until 22:00 of "my run"', id="a name with blanks"),
        pytest.param("stop nigth", "stop now", id="misspelt, and then asked which"),
        pytest.param("stop immediately", "stop now", id="not after the epoch"),
        pytest.param("resume now", "resume", id="not anyway"),
        pytest.param("statsu", "status", id="what only tells"),
        pytest.param(
            "rollback night to epoch 7", "execute rollback to epoch 7 of night", id="not to the example's epoch"
        ),
        pytest.param("silence all for 3h", "silence 3h", id="no run where none was named"),
        pytest.param("extend by 10 epochs", "extend to 150 epochs", id="ten more are not ten"),
        pytest.param("pause night-2 till 6:30", "pause until 6:30 of night-2", id="the time that was typed"),
        pytest.param("set lr0 to 0.01 of night", "set lr0=0.01 from now of night", id="the value that was typed"),
        pytest.param("silence", "silence 2h", id="not the whole run"),
        pytest.param("compare night", "compare night day", id="two that are there"),
    ],
)
async def test_what_is_offered_acts_on_no_other_run_than_was_typed(tmp_path: Path, typed: str, meant: str) -> None:
    reply = await _asked(typed, *(WrittenRun(tmp_path, name) for name in ("day", "night", "night-2", "my run")))
    assert reply.message.body == (f"Did you mean /train {meant}?",)


@pytest.mark.parametrize(
    ("text", "run", "why"),
    [
        ("continue", "day", ""),
        ("continue of night", "night", ""),
        ("continue forward for night because it is one image", "night", "it is one image"),
        ("continue because of me", "day", "of me"),
    ],
)
async def test_a_decision_to_continue_is_about_the_run_that_it_names(
    tmp_path: Path, text: str, run: str, why: str
) -> None:
    runs = [WrittenRun(tmp_path, "day"), WrittenRun(tmp_path, "night")]
    runs[1].record(state=RunRecordState.FINISHED)
    world = _world(*runs)
    await dispatch(_said(text), world.context, COMMANDS)
    (asked,) = world.operations.asked
    assert isinstance(asked, ContinueRun)
    assert (asked.run, asked.why) == (f"{run}-0001", why)


ACTS = ("stop now", "pause", "continue", "execute rollback", "set lr0=0.1", "resume", "bring back x-1")


@pytest.mark.parametrize("text", ACTS)
async def test_of_several_runs_at_work_none_is_picked_for_what_acts(tmp_path: Path, text: str) -> None:
    """The newest is whichever wrote last: by chance."""
    world = _world(*(WrittenRun(tmp_path, name) for name in ("day", "night")))
    with pytest.raises(CommandError, match="2 runs are at work or have something planned: day, night; nothing"):
        await dispatch(_said(text), world.context, COMMANDS)
    assert world.operations.asked == []
    await dispatch(_said(f"{text} of night"), world.context, COMMANDS)
    world.selection.choose("C0TRAIN", "night-0001")
    await dispatch(_said(text), world.context, COMMANDS)
    assert {getattr(order, "run", "") for order in world.operations.asked} == {"night-0001"}


async def test_what_only_tells_and_a_single_run_at_work_need_no_name(tmp_path: Path) -> None:
    runs = [WrittenRun(tmp_path, name) for name in ("day", "night")]
    assert (await _asked("status", *runs)).message.title.startswith("day:")
    runs[1].record(state=RunRecordState.FINISHED)
    assert (await _asked("stop now", *runs)).message.title == "StopNow"


async def test_what_is_offered_names_the_run_that_it_would_act_on(tmp_path: Path) -> None:
    """Only one is at work, and its name may not be the one that was mistyped."""
    runs = [WrittenRun(tmp_path, name) for name in ("day", "night")]
    runs[1].record(state=RunRecordState.FINISHED)
    assert (await _asked("stop nigth", *runs)).message.body == ("Did you mean /train stop now of day?",)


async def test_a_stop_of_a_run_that_waits_to_be_resumed_does_not_take_another_one(tmp_path: Path) -> None:
    """“/train stop now prevents it”, says the alert of the run that died, while another one trains."""
    runs = [WrittenRun(tmp_path, name) for name in ("day", "night")]
    runs[1].record(state=RunRecordState.STOPPED)
    world = _world(*runs)
    context = replace(world.context, concerned=lambda: frozenset({"night-0001"}))
    with pytest.raises(CommandError, match="at work or have something planned: day, night"):
        await dispatch(_said("stop now"), context, COMMANDS)

    def lost() -> frozenset[str]:
        raise StoreError("database", "it can't be read", "")

    assert (await dispatch(_said("stop now"), replace(context, concerned=lost), COMMANDS)).message.title == "StopNow"
