"""Looks at a run the moment its events change. The periodic check also always runs: network mounts tell nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from watchfiles import awatch

from trainmaster.bot.watching.read_pool import ReadPool
from trainmaster.trainer.contract import RunLayout

_LOG = logging.getLogger(__name__)

RELIST_S = 2.0
"""A new run is seen this soon."""
_DEBOUNCE_MS = 100
_STEP_MS = 20
_SET_UP_S = 0.1
_RETRY_S = 10.0


async def watch_runs(
    list_runs: Callable[[], tuple[Path, ...]],
    changed: Callable[[frozenset[Path]], Awaitable[object]],
    *,
    note: Callable[[str | None], None] | None = None,
    relist_s: float = RELIST_S,
) -> None:
    """Calls ``changed`` with run directories when runs come or go and whenever their events grow; until cancelled.

    Only the event files are watched: a folder would also tell of every heartbeat and every line of the log, hundreds of
    changes a second with a hundred runs. ``note`` hears whether that works (None) or why not.
    """
    lookout = ReadPool()
    event_files = partial(lookout.ask, "event files", partial(_event_files, list_runs))
    while True:
        try:
            found = await event_files()
            if note:
                note(None)
            if found:
                await _watch(found, event_files, changed, relist_s)
            else:
                await asyncio.sleep(relist_s)
        except (OSError, RuntimeError) as error:
            _LOG.warning("file-watcher: %s. The periodic check goes on; trying again in %g s.", error, _RETRY_S)
            if note:
                note(str(error))
            await asyncio.sleep(_RETRY_S)


async def _watch(
    files: frozenset[Path],
    event_files: Callable[[], Awaitable[frozenset[Path]]],
    changed: Callable[[frozenset[Path]], Awaitable[object]],
    relist_s: float,
) -> None:
    """Watches exactly ``files`` until the runs are others."""
    stop = asyncio.Event()
    relisting = asyncio.create_task(_until_others(files, event_files, stop, relist_s))
    looks = {asyncio.create_task(_catch_up(files, changed))}
    try:
        watching = awatch(*files, recursive=False, debounce=_DEBOUNCE_MS, step=_STEP_MS, stop_event=stop)
        async for changes in watching:
            # Not awaited here: a run on a dead mount would hold back the news of the others.
            looks = {one for one in looks if not one.done()}
            looks.add(asyncio.create_task(_look(frozenset(_run_of(Path(path)) for _, path in changes), changed)))
    finally:
        for task in (relisting, *looks):
            task.cancel()
        await asyncio.gather(relisting, *looks, return_exceptions=True)


async def _look(runs: frozenset[Path], changed: Callable[[frozenset[Path]], Awaitable[object]]) -> None:
    await changed(runs)


async def _catch_up(files: frozenset[Path], changed: Callable[[frozenset[Path]], Awaitable[object]]) -> None:
    """One look at every run once the watch is set up: what came between two watches was told by neither."""
    await asyncio.sleep(_SET_UP_S)
    await changed(frozenset(_run_of(path) for path in files))


async def _until_others(
    files: frozenset[Path],
    event_files: Callable[[], Awaitable[frozenset[Path]]],
    stop: asyncio.Event,
    relist_s: float,
) -> None:
    try:
        while await event_files() == files:  # noqa: ASYNC110 - a poll
            await asyncio.sleep(relist_s)
    finally:
        stop.set()


def _event_files(list_runs: Callable[[], tuple[Path, ...]]) -> frozenset[Path]:
    events = (RunLayout(directory).events for directory in list_runs())
    return frozenset(path for path in events if path.is_file())


def _run_of(events: Path) -> Path:
    return events.parent.parent
