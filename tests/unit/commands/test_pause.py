"""``pause`` and ``resume at``: times as people say them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tests.support.clocks import SetClock
from tests.support.run_dirs import START_TS, WrittenRun
from tests.support.worlds import ANNA, CommandWorld, FakeRoles, FakeRuns
from trainmaster.bot.core.conversation.request import Origin, Request
from trainmaster.bot.core.decisions.order import PauseRun, ResumeLater, ResumeRun
from trainmaster.bot.core.run.facts import ProcessFact, ProcessStatus
from trainmaster.bot.errors import CommandError
from trainmaster.bot.reading.run_files import RunReader
from trainmaster.commands import COMMANDS, dispatch
from trainmaster.commands.moments import due_ts

NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC).timestamp()
BERLIN = ZoneInfo("Europe/Berlin")


async def _asked(
    tmp_path: Path, text: str, *, user: str = ANNA, zone: tzinfo | None = UTC, name: str = "digits"
) -> object:
    written = WrittenRun(tmp_path, name)
    view = RunReader(written.layout.root, first_seen_ts=START_TS).read(START_TS + 60)
    view = replace(view, process=ProcessFact(status=ProcessStatus.ALIVE, ts=START_TS))
    world = CommandWorld(runs=FakeRuns([view]), clock=SetClock(NOON), roles=FakeRoles(clock_zone=zone))
    request = Request(origin=Origin.SLASH, user=user, channel="C1", text=text)
    await dispatch(request, world.context, COMMANDS)
    (asked,) = world.operations.asked
    return asked


@pytest.mark.parametrize(
    ("text", "zone", "until_ts"),
    [
        pytest.param("pause", UTC, None, id="no time"),
        pytest.param("pause of digits", UTC, None, id="a run"),
        pytest.param("pause until 22:00", UTC, NOON + 10 * 3600, id="tonight"),
        pytest.param("Pause until 22:00", BERLIN, NOON + 8 * 3600, id="tonight in Berlin"),
        pytest.param("pause until 7:30 am", UTC, NOON + 19.5 * 3600, id="tomorrow morning"),
        pytest.param("pause until 10pm for digits", UTC, NOON + 10 * 3600, id="ten in the evening"),
        pytest.param("pause until 12 am", UTC, NOON + 12 * 3600, id="midnight"),
        pytest.param("pause until 12:00", UTC, NOON + 24 * 3600, id="now is tomorrow"),
        pytest.param("pause for 2h", BERLIN, NOON + 2 * 3600, id="two hours"),
        pytest.param("pause for 30 minutes of digits", UTC, NOON + 1800, id="half an hour"),
        pytest.param("pause until 10 p.m.", UTC, NOON + 10 * 3600, id="with points"),
        pytest.param("pause until 10 P.M of digits", UTC, NOON + 10 * 3600, id="with one point"),
        pytest.param("pause until tomorrow 8:00", UTC, NOON + 20 * 3600, id="tomorrow"),
        pytest.param("pause until tomorrow at 2 pm on digits", UTC, NOON + 26 * 3600, id="tomorrow at two"),
        pytest.param("pause until 18:00 tomorrow", UTC, NOON + 30 * 3600, id="the day said last"),
        pytest.param("pause until 18:00 today", UTC, NOON + 6 * 3600, id="today"),
        pytest.param("pause till midnight", BERLIN, NOON + 10 * 3600, id="midnight in Berlin"),
        pytest.param("pause until tomorrow noon", UTC, NOON + 24 * 3600, id="tomorrow noon"),
        pytest.param("pause for 1.5h", UTC, NOON + 5400, id="an hour and a half"),
        pytest.param("pause for 1,5 hours of digits", UTC, NOON + 5400, id="a comma"),
        pytest.param("pause for an hour", UTC, NOON + 3600, id="an hour"),
        pytest.param("pause for half an hour", UTC, NOON + 1800, id="half an hour in words"),
        pytest.param("pause for a day", UTC, NOON + 86_400, id="a day"),
        pytest.param("pause for 1 h 30 min", UTC, NOON + 5400, id="hours and minutes"),
        pytest.param("pause for 2h30 of digits", UTC, NOON + 9000, id="minutes without a word"),
        pytest.param("pause for 1 day and 6 hours", UTC, NOON + 30 * 3600, id="days and hours"),
    ],
)
async def test_a_pause_ends_when_it_was_said(tmp_path: Path, text: str, zone: tzinfo, until_ts: float | None) -> None:
    asked = await _asked(tmp_path, text, zone=zone)
    assert isinstance(asked, PauseRun)
    assert (asked.run, asked.until_ts) == ("digits-0001", until_ts)


@pytest.mark.parametrize(
    "text", ["pause of 1.5", "pause for am", "pause for ah", "pause for a-day", "pause for tomorrow"]
)
async def test_a_run_whose_name_looks_like_a_time_is_still_found(tmp_path: Path, text: str) -> None:
    name = text.rsplit(maxsplit=1)[-1]
    asked = await _asked(tmp_path, text, name=name)
    assert isinstance(asked, PauseRun)
    assert (asked.run, asked.until_ts) == (f"{name}-0001", None)


@pytest.mark.parametrize(
    ("text", "due_ts"),
    [
        ("resume at 22:00", NOON + 10 * 3600),
        ("resume in 90 min", NOON + 5400),
        ("resume at 1:00 of digits", NOON + 13 * 3600),
    ],
)
async def test_a_resume_may_be_said_for_later(tmp_path: Path, text: str, due_ts: float) -> None:
    asked = await _asked(tmp_path, text)
    assert isinstance(asked, ResumeLater)
    assert asked.due_ts == due_ts


@pytest.mark.parametrize("text", ["pause at 22:00", "pause in 2h", "resume until 22:00"])
async def test_a_time_to_begin_is_not_taken_for_one_to_end_nor_the_other_way_round(tmp_path: Path, text: str) -> None:
    """A pause begins at once: whoever wants it at 22:00 must not have it now."""
    with pytest.raises(ValueError, match="not enough values"):
        await _asked(tmp_path, text)


@pytest.mark.parametrize("text", ["resume", "resume at level strict", "resume level strict of digits"])
async def test_a_resume_without_a_time_is_one_of_now(tmp_path: Path, text: str) -> None:
    assert isinstance(await _asked(tmp_path, text), ResumeRun)


@pytest.mark.parametrize("text", ["pause until 25:00", "resume at 7:61", "pause until 13 pm", "resume at 0 am"])
async def test_a_time_that_no_clock_shows_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(CommandError, match="no clock shows that time"):
        await _asked(tmp_path, text)


@pytest.mark.parametrize("text", ["pause until 8:00 today", "resume at today 12:00"])
async def test_a_time_of_today_that_is_past_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(CommandError, match="of today is past"):
        await _asked(tmp_path, text)


@pytest.mark.parametrize("text", ["pause until 22:00", "resume at 22:00", "pause until noon"])
async def test_where_nobody_knows_the_zone_an_hour_is_not_guessed(tmp_path: Path, text: str) -> None:
    with pytest.raises(CommandError, match="which zone your clock is of"):
        await _asked(tmp_path / "of the day", text, zone=None)
    assert await _asked(tmp_path / "from now", "pause for 2h", zone=None)


@pytest.mark.parametrize("text", ["pause", "resume at 22:00"])
async def test_only_people_on_call_may(tmp_path: Path, text: str) -> None:
    with pytest.raises(CommandError, match="only people on call may"):
        await _asked(tmp_path, text, user="U0CLEO")


@pytest.mark.parametrize(
    ("zone", "now", "said", "due"),
    [
        pytest.param("Europe/Berlin", "2026-10-24 20:00", "08:00", "2026-10-25 07:00", id="put back overnight"),
        pytest.param("Europe/Berlin", "2026-03-28 21:00", "08:00", "2026-03-29 06:00", id="put forward overnight"),
        pytest.param("America/New_York", "2026-10-31 23:00", "22:00", "2026-11-01 02:00", id="not before it"),
        pytest.param("America/New_York", "2026-11-01 02:30", "22:00", "2026-11-02 03:00", id="tomorrow, after it"),
        pytest.param("Europe/Berlin", "2026-10-24 20:00", "02:30", "2026-10-25 00:30", id="shown twice"),
        pytest.param("Europe/Berlin", "2026-10-25 00:40", "02:30", "2026-10-25 01:30", id="shown a second time"),
        pytest.param("Europe/Berlin", "2026-03-28 20:00", "02:30", "2026-03-29 01:30", id="never shown"),
        pytest.param("Europe/Berlin", "2026-12-31 22:30", "00:00", "2026-12-31 23:00", id="midnight of the new year"),
        pytest.param("Pacific/Kiritimati", "2026-06-01 12:00", "01:00", "2026-06-02 11:00", id="a day ahead"),
        pytest.param("Asia/Kathmandu", "2026-06-01 12:00", "18:00", "2026-06-01 12:15", id="a quarter of an hour"),
    ],
)
def test_a_time_is_when_the_clock_on_the_wall_shows_it(zone: str, now: str, said: str, due: str) -> None:
    hour, minute = said.split(":")
    found = due_ts({"hour": hour, "minute": minute}, _utc(now), ZoneInfo(zone))
    assert found == _utc(due)


def _utc(text: str) -> float:
    return datetime.fromisoformat(f"{text}+00:00").timestamp()
