from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from watchfiles import Change

from bot.watch import _wanted, watch_runs
from tests.run_dirs import WrittenRun


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        pytest.param("/runs/night/guard/events.jsonl", True, id="events"),
        pytest.param("/runs/detect/night/guard/run.json", True, id="record"),
        pytest.param("/runs/night/guard/heartbeat.json", False, id="heartbeat"),
        pytest.param("/runs/night/guard/.run.json.x1", False, id="a file being replaced"),
        pytest.param("/runs/night/events.jsonl", False, id="somebody else's events"),
        pytest.param("/runs/archive/night/guard/events.jsonl", False, id="archived"),
    ],
)
def test_only_the_records_of_living_runs_are_watched(path: str, wanted: bool) -> None:
    assert _wanted(Change.modified, path) is wanted


async def test_a_new_event_is_looked_at_at_once(tmp_path: Path) -> None:
    written = WrittenRun(tmp_path)
    seen: asyncio.Queue[Path] = asyncio.Queue()
    watching = asyncio.create_task(watch_runs(tmp_path, seen.put))
    try:
        async with asyncio.timeout(10):
            while seen.empty():  # the watcher needs a moment before its first change counts
                written.event("notice", 1, text="x")
                await asyncio.sleep(0.2)
            assert await seen.get() == written.layout.root
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
