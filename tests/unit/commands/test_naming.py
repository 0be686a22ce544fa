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
from trainmaster.bot.core.run.facts import ProcessFact, ProcessStatus
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import CommandError
from trainmaster.bot.reading.run_files import RunReader
from trainmaster.commands import COMMANDS, dispatch


async def _asked(text: str, *runs: WrittenRun) -> Reply:
    world = CommandWorld(runs=FakeRuns(list(map(_view, runs))), clock=SetClock(START_TS + 152))
    request = Request(origin=Origin.SLASH, user=ANNA, channel="C0TRAIN", text=text)
    return await dispatch(request, world.context, COMMANDS)


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
