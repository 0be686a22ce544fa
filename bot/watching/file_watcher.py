"""Looks at a run the moment its events change. The periodic check also always runs: network mounts tell nothing."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

from watchfiles import awatch

from trainmaster.bot.watching.read_pool import ReadPool
from trainmaster.trainer.contract import RunLayout

_LOG = logging.getLogger(__name__)

RELIST_S = 2.0
"""A new run is seen this soon."""
_DEBOUNCE_MS = 100
_STEP_MS = 20
_SET_UP_S = 0.1
_EVENTS = str(RunLayout(Path()).events)
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
    changes a second with a hundred runs. ``note`` hears why it does not work, and None only after a look that a working
    watch led to.
    """
    lookout = ReadPool()
    event_files = partial(lookout.ask, "event files", partial(_event_files, list_runs))
    tell = note or (lambda _: None)
    look = partial(_look, changed, tell)
    while True:
        try:
            found = await event_files()
            if found:
                await _watch(found, event_files, look, relist_s)
            else:
                tell(None)
                await asyncio.sleep(relist_s)
        except (KeyboardInterrupt, GeneratorExit, asyncio.CancelledError):
            raise
        except BaseException as error:  # noqa: BLE001 - the tick: logged and told; a panic of Rust is no Exception
            fault = f"{type(error).__name__}: {error}"
            _LOG.warning("file-watcher: %s. The periodic check goes on; trying again in %g s.", fault, _RETRY_S)
            tell(fault)
            await asyncio.sleep(_RETRY_S)


async def _watch(
    files: frozenset[str],
    event_files: Callable[[], Awaitable[frozenset[str]]],
    look: Callable[[frozenset[Path]], Coroutine[Any, Any, None]],
    relist_s: float,
) -> None:
    """Watches exactly ``files`` until the runs are others."""
    stop = asyncio.Event()
    relisting = asyncio.create_task(_until_others(files, event_files, stop, relist_s))
    looks = {asyncio.create_task(_catch_up(files, look))}
    try:
        watching = awatch(*files, recursive=False, debounce=_DEBOUNCE_MS, step=_STEP_MS, stop_event=stop)
        async for changes in watching:
            # Not awaited here: a run on a dead mount would hold back the news of the others.
            looks = {one for one in looks if not one.done()}
            looks.add(asyncio.create_task(look(frozenset(_run_of(path) for _, path in changes))))
    finally:
        for task in (relisting, *looks):
            task.cancel()
        await asyncio.gather(relisting, *looks, return_exceptions=True)
    if not relisting.cancelled() and (error := relisting.exception()) is not None:
        raise error


async def _look(
    changed: Callable[[frozenset[Path]], Awaitable[object]], tell: Callable[[str | None], None], runs: frozenset[Path]
) -> None:
    """The runs were looked at: only now is the watcher known to work, and only if the look did."""
    try:
        await changed(runs)
    except Exception as error:  # noqa: BLE001 - the tick: logged and told
        _LOG.exception("look-failed: after a change of %d runs", len(runs))
        tell(f"{type(error).__name__}: {error}")
    else:
        tell(None)


async def _catch_up(files: frozenset[str], look: Callable[[frozenset[Path]], Awaitable[None]]) -> None:
    """One look at every run once the watch is set up: what came between two watches was told by neither."""
    await asyncio.sleep(_SET_UP_S)
    await look(frozenset(_run_of(path) for path in files))


async def _until_others(
    files: frozenset[str],
    event_files: Callable[[], Awaitable[frozenset[str]]],
    stop: asyncio.Event,
    relist_s: float,
) -> None:
    try:
        while await event_files() == files:  # noqa: ASYNC110 - a poll
            await asyncio.sleep(relist_s)
    finally:
        stop.set()


def _event_files(list_runs: Callable[[], tuple[Path, ...]]) -> frozenset[str]:
    """What can be watched. A name that is no UTF-8 can't be told to ``watchfiles``: that run waits for the periodic
    check."""
    events = (f"{directory}/{_EVENTS}" for directory in list_runs())
    return frozenset(path for path in events if _is_utf8(path) and os.path.isfile(path))  # noqa: PTH113 - of every run


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _run_of(events: str) -> Path:
    return Path(events).parent.parent
