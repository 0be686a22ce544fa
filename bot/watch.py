"""Looks at a run the moment its events change. The periodic check also always runs: network mounts tell nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from watchfiles import awatch

from trainer.contract import RunLayout

_LOG = logging.getLogger(__name__)

RELIST_S = 2.0
"""A new run is seen this soon."""
_DEBOUNCE_MS = 100
_STEP_MS = 20
_SET_UP_S = 0.1
_RETRY_S = 10.0


async def watch_runs(
    list_runs: Callable[[], tuple[Path, ...]],
    changed: Callable[[Path], Awaitable[object]],
    *,
    relist_s: float = RELIST_S,
) -> None:
    """Calls ``changed`` with a run directory when runs come or go and whenever its events grow; until cancelled.

    Only the event files are watched: a folder would also tell of every heartbeat and every line of the log, hundreds of
    changes a second with a hundred runs.
    """
    while True:
        try:
            found = frozenset(await asyncio.to_thread(_event_files, list_runs))
            if found:
                await _watch(found, list_runs, changed, relist_s)
            else:
                await asyncio.sleep(relist_s)
        except (OSError, RuntimeError) as error:
            _LOG.warning("file-watcher: %s. The periodic check goes on; trying again in %g s.", error, _RETRY_S)
            await asyncio.sleep(_RETRY_S)


async def _watch(
    files: frozenset[Path],
    list_runs: Callable[[], tuple[Path, ...]],
    changed: Callable[[Path], Awaitable[object]],
    relist_s: float,
) -> None:
    """Watches exactly ``files`` until the runs are others."""
    stop = asyncio.Event()
    relisting = asyncio.create_task(_until_others(files, list_runs, stop, relist_s))
    catching_up = asyncio.create_task(_catch_up(files, changed))
    try:
        watching = awatch(*files, recursive=False, debounce=_DEBOUNCE_MS, step=_STEP_MS, stop_event=stop)
        async for changes in watching:
            await asyncio.gather(*(changed(_run_of(Path(path))) for path in {path for _, path in changes}))
    finally:
        for task in (relisting, catching_up):
            task.cancel()
        await asyncio.gather(relisting, catching_up, return_exceptions=True)


async def _catch_up(files: frozenset[Path], changed: Callable[[Path], Awaitable[object]]) -> None:
    """One look at every run once the watch is set up: what came between two watches was told by neither."""
    await asyncio.sleep(_SET_UP_S)
    await asyncio.gather(*(changed(_run_of(path)) for path in files))


async def _until_others(
    files: frozenset[Path], list_runs: Callable[[], tuple[Path, ...]], stop: asyncio.Event, relist_s: float
) -> None:
    try:
        while frozenset(await asyncio.to_thread(_event_files, list_runs)) == files:  # noqa: ASYNC110 - a poll
            await asyncio.sleep(relist_s)
    finally:
        stop.set()


def _event_files(list_runs: Callable[[], tuple[Path, ...]]) -> list[Path]:
    events = (RunLayout(directory).events for directory in list_runs())
    return [path for path in events if path.is_file()]


def _run_of(events: Path) -> Path:
    return events.parent.parent
