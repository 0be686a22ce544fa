"""``set`` and ``extend``: settings as people type them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.clocks import SetClock
from tests.support.run_dirs import START_TS, WrittenRun
from tests.support.worlds import CommandWorld, FakeRuns
from trainmaster.bot.core.conversation.request import Origin, Request
from trainmaster.bot.core.decisions.order import ChangeRecipe
from trainmaster.bot.core.run.facts import ProcessFact, ProcessStatus
from trainmaster.bot.errors import CommandError
from trainmaster.bot.reading.run_files import RunReader
from trainmaster.commands import COMMANDS, dispatch


async def _say(tmp_path: Path, text: str) -> CommandWorld:
    written = WrittenRun(tmp_path)
    view = RunReader(written.layout.root, first_seen_ts=START_TS).read(START_TS + 60)
    view = replace(view, process=ProcessFact(status=ProcessStatus.ALIVE, ts=START_TS))
    world = CommandWorld(runs=FakeRuns([view]), clock=SetClock(START_TS))
    await dispatch(Request(origin=Origin.SLASH, user="U0CLEO", channel="C1", text=text), world.context, COMMANDS)
    return world


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("set lr0=0.0002 from now", (("lr0", "0.0002"),)),
        ("set lr0 = 0.0002", (("lr0", "0.0002"),)),
        ("Set LR0=2e-4, mosaic=0 from now on of digits", (("lr0", "2e-4"), ("mosaic", "0"))),
        ("set mosaic=0 mixup=0 for digits", (("mosaic", "0"), ("mixup", "0"))),
        ("extend to 150 epochs", (("epochs", "150"),)),
        ("extend it to 150 epochs of digits", (("epochs", "150"),)),
    ],
)
async def test_settings_are_asked_for_as_typed(
    tmp_path: Path, text: str, settings: tuple[tuple[str, str], ...]
) -> None:
    (asked,) = (await _say(tmp_path, text)).operations.asked
    assert isinstance(asked, ChangeRecipe)
    assert (asked.run, asked.settings) == ("digits-0001", settings)


async def test_a_setting_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="given twice"):
        await _say(tmp_path, "set lr0=1 LR0=2")


@pytest.mark.parametrize("text", ["set", "set lr0", "set lr0=", "extend", "extend to many epochs"])
async def test_half_a_change_is_answered_with_how_to_say_it(tmp_path: Path, text: str) -> None:
    assert (await _say(tmp_path, text)).operations.asked == []
