"""What a tick of the whole bot costs does not grow with the runs that are over."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.run_dirs import START_TS, WrittenRun
from trainmaster.bot.app import App
from trainmaster.bot.settings.model import load_settings
from trainmaster.trainer.contract import EventKind, RunRecordState

AGO_S = 86_400.0


def written(root: Path, num_at_work: int, num_over: int) -> None:
    now_s = time.time() - START_TS
    for number in range(num_at_work):
        run = WrittenRun(root, f"working{number}")
        run.record(started_ts=time.time(), updated_ts=time.time())
        run.start_epoch(1, now_s)
        run.beat(now_s, epoch=1, batch=1)
    for number in range(num_over):
        run = WrittenRun(root, f"over{number}")
        run.start_epoch(1, now_s - AGO_S - 100)
        run.finish_epoch(1, now_s - AGO_S)
        run.event(EventKind.RUN_FINISHED, now_s - AGO_S)
        run.record(state=RunRecordState.FINISHED, updated_ts=time.time() - AGO_S)


@asynccontextmanager
async def bot(folder: Path, num_at_work: int, num_over: int) -> AsyncIterator[App]:
    """Made and not started: nothing is sent, nothing runs by itself."""
    written(folder / "runs", num_at_work, num_over)
    app = App(
        load_settings(
            {
                "SLACK_BOT_TOKEN": "xoxb-1-1",
                "SLACK_APP_TOKEN": "xapp-1",
                "ALERT_CHANNEL": "C0TRAIN",
                "RUNS_DIR": str(folder / "runs"),
                "STATE_DIR": str(folder / "state"),
            }
        )
    )
    try:
        yield app
    finally:
        await app.close()


async def statements(folder: Path, num_over: int) -> int:
    """How many the database got while the bot ticked once, after its first looks."""
    async with bot(folder, 2, num_over) as app:
        for _ in range(2):
            await app.supervisor.tick()
        assert len(app.supervisor.all()) == 2 + num_over
        said: list[str] = []
        app.database._connection.set_trace_callback(said.append)
        await app.supervisor.tick()
        return len(said)


async def test_the_statements_of_a_tick_do_not_grow_with_the_runs_that_are_over(tmp_path: Path) -> None:
    few = await statements(tmp_path / "few", 2)
    many = await statements(tmp_path / "many", 12)
    assert 0 < few == many
