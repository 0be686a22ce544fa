"""What status says of the host, of times, and of a job that waits."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.clocks import SetClock
from tests.support.run_dirs import START_TS, WrittenRun
from tests.support.worlds import ANNA, CommandWorld, FakeRuns
from trainmaster.bot.core.conversation.request import Origin, Request
from trainmaster.bot.core.conversation.tokens import moment
from trainmaster.bot.core.health.host import HostFact, MemoryFact
from trainmaster.bot.core.run.facts import ProcessFact, ProcessStatus
from trainmaster.bot.core.run.job import JobFact
from trainmaster.bot.reading.run_files import RunReader
from trainmaster.commands import COMMANDS, dispatch
from trainmaster.commands.status import host_field, layers_text, runtime_text
from trainmaster.trainer.contract import EventKind, RunRecordState

MEMORY = MemoryFact(total_gib=64.0, available_gib=40.0, swap_total_gib=0, swap_used_gib=0, swap_in_mib_s=None)
HERE = HostFact(ts=START_TS, name=os.uname().nodename, memory=MEMORY)

ALIVE = ProcessFact(status=ProcessStatus.ALIVE, ts=START_TS)


@pytest.mark.parametrize(
    ("host", "fact", "words"),
    [
        pytest.param(HERE.name, HERE, "memory 40.0 of 64.0 GiB free", id="the bot's own"),
        pytest.param("elsewhere", HERE, "elsewhere, which can't be seen from", id="another"),
        pytest.param(HERE.name, None, "not looked at yet", id="before the first look"),
    ],
)
def test_status_tells_of_the_host_that_the_bot_sees(
    written: WrittenRun, host: str, fact: HostFact | None, words: str
) -> None:
    written.record(host=host)
    view = RunReader(written.layout.root, first_seen_ts=START_TS).read(START_TS)
    assert words in host_field(view, fact)


@pytest.fixture
def written(tmp_path: Path) -> WrittenRun:
    return WrittenRun(tmp_path)


def test_runtime_is_told_of_the_run_and_of_the_attempt(written: WrittenRun) -> None:
    written.event(EventKind.RUN_STARTED, 0, level="standard")
    written.attempt = 2
    written.record(started_ts=START_TS + 3600)
    view = replace(RunReader(written.layout.root, first_seen_ts=START_TS).read(START_TS), process=ALIVE)
    text = runtime_text(view, START_TS + 7200)
    assert text.startswith("2 h (since ")
    assert "attempt 2: 60 min (since " in text or "attempt 2: 1 h (since " in text


async def test_status_of_a_job_in_the_queue_says_which_attempt_begins_when(written: WrittenRun) -> None:
    written.record(state=RunRecordState.STOPPED, job={"id": "17", "restart": 0, "node": "n1", "options": []})
    job = JobFact(id="18", state="pending", reason="BeginTime", start_ts=START_TS + 3600)
    view = RunReader(written.layout.root, first_seen_ts=START_TS).read(START_TS)
    waits = replace(view, process=ProcessFact(status=ProcessStatus.PENDING, ts=START_TS, job=job))
    world = CommandWorld(runs=FakeRuns([waits]), clock=SetClock(START_TS))
    request = Request(origin=Origin.SLASH, user=ANNA, channel="C0TRAIN", text="status", thread_ts=None)
    message = (await dispatch(request, world.context, COMMANDS)).message
    assert f"Attempt 2 waits until {moment(START_TS + 3600)}: BeginTime." in message.body
    assert dict(message.fields)["Job"] == "18, on no node yet, 0 restarts"


@pytest.mark.parametrize("name", ["hue", "validation every epoch", "a name that is wider than half of a phone"[:38]])
def test_layers_fit_a_phone(written: WrittenRun, name: str) -> None:
    rows = [(name, "hsv_h"), (name, "hsv_s"), (name, "hsv_v"), (name, "close_mosaic"), ("rate", "lr0")]
    layers = [
        {"layer": 6, "name": name, "setting": setting, "value": "0.00025", "source": "user"} for name, setting in rows
    ]
    written.record(state=RunRecordState.RUNNING, layers=layers)
    excerpt = layers_text(RunReader(written.layout.root, first_seen_ts=START_TS).read(START_TS))
    assert max(map(len, excerpt.split("\n"))) <= 40
    assert all(setting in excerpt for _, setting in rows)
