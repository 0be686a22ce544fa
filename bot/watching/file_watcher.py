"""Looks at a run the moment its events change. The periodic check also always runs: network mounts tell nothing."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
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

_EventFiles = Callable[[], Awaitable[Mapping[str, int]]]
_Look = Callable[[frozenset[Path]], Coroutine[Any, Any, None]]


async def watch_runs(
    list_runs: Callable[[], tuple[Path, ...]],
    changed: Callable[[frozenset[Path]], Awaitable[object]],
    *,
    note: Callable[[str | None], None] | None = None,
    relist_s: float = RELIST_S,
) -> None:
    """Calls ``changed`` with run directories when runs come and whenever their events grow; until cancelled.

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
            await _follow(event_files, look, tell, relist_s)
        except (KeyboardInterrupt, GeneratorExit, asyncio.CancelledError):
            raise
        except BaseException as error:  # noqa: BLE001 - the tick: logged and told; a panic of Rust is no Exception
            fault = f"{type(error).__name__}: {error}"
            _LOG.warning("file-watcher: %s. The periodic check goes on; trying again in %g s.", fault, _RETRY_S)
            tell(fault)
            await asyncio.sleep(_RETRY_S)


async def _follow(event_files: _EventFiles, look: _Look, tell: Callable[[str | None], None], relist_s: float) -> None:
    """Watches the runs that there are, others as soon as they are others; until something does not work.

    A watch goes on until the next one is set up: on a busy event loop a second lies between two of them, and news that
    came then were told by neither.
    """
    known: Mapping[str, int] = {}
    watch: _FileWatch | None = None
    looks = _Looks(look)
    try:
        while True:
            found = await event_files()
            if found != known:
                watch = await _set_up(found, watch, looks)
                # What came before a watch of it was set up is told by nobody.
                looks.begin(path for path, number in found.items() if known.get(path) != number)
                known = found
            if watch is None:
                tell(None)
                await asyncio.sleep(relist_s)
            elif await watch.ended(relist_s):
                raise RuntimeError("the watch of the event files ended by itself")
    finally:
        await asyncio.gather(*([watch.end()] if watch is not None else []), looks.end())


async def _set_up(found: Mapping[str, int], before: _FileWatch | None, looks: _Looks) -> _FileWatch | None:
    """A watch of ``found``, and none that was ``before``."""
    watch = _FileWatch(found, looks) if found else None
    if watch is not None and await watch.ended(_SET_UP_S, told=before is None) and before is not None:
        # Two at once may be more than the system lets one user watch.
        await before.end()
        watch, before = _FileWatch(found, looks), None
        await watch.ended(_SET_UP_S)
    if before is not None:
        await before.end()
    return watch


class _Looks:
    """Looks at runs that are under way. Nobody waits for them: a run on a dead mount would hold back the others."""

    def __init__(self, look: _Look) -> None:
        self._look = look
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, event_files: Iterable[str]) -> None:
        """The runs of these event files are looked at."""
        if runs := frozenset(map(_run_of, event_files)):
            task = asyncio.create_task(self._look(runs))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def end(self) -> None:
        """None is under way any more."""
        await _cancelled(*self._tasks)


class _FileWatch:
    """Watches exactly the files that it was begun with, by their names and inodes."""

    def __init__(self, files: Iterable[str], looks: _Looks) -> None:
        self._stop = asyncio.Event()
        self._task = asyncio.create_task(self._run(tuple(files), looks))

    async def ended(self, wait_s: float, *, told: bool = True) -> bool:
        """Whether it has ended after so long at most.

        Raises:
            BaseException: why it did, where that is to be ``told``.
        """
        await asyncio.wait({self._task}, timeout=wait_s)
        if told and self._task.done():
            self._task.result()
        return self._task.done()

    async def end(self) -> None:
        """It tells of nothing any more."""
        self._stop.set()
        await asyncio.wait({self._task}, timeout=_SET_UP_S)
        await _cancelled(self._task)

    async def _run(self, files: tuple[str, ...], looks: _Looks) -> None:
        watching = awatch(*files, recursive=False, debounce=_DEBOUNCE_MS, step=_STEP_MS, stop_event=self._stop)
        async for changes in watching:
            looks.begin({path for _, path in changes})


async def _cancelled(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


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


def _event_files(list_runs: Callable[[], tuple[Path, ...]]) -> Mapping[str, int]:
    """What can be watched, with the number of each file: another in its place is another. A name that is no UTF-8 can't
    be told to ``watchfiles``: that run waits for the periodic check."""
    events = (f"{directory}/{_EVENTS}" for directory in list_runs())
    found = ((path, _number_of(path)) for path in events if _is_utf8(path))
    return {path: number for path, number in found if number is not None}


def _number_of(path: str) -> int | None:
    """Of a plain file."""
    try:
        known = os.stat(path)  # noqa: PTH116 - of every run
    except OSError:
        return None
    return known.st_ino if stat.S_ISREG(known.st_mode) else None


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _run_of(events: str) -> Path:
    return Path(events).parent.parent
