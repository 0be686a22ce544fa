"""Work that must never end: whatever it raises is logged and told, and it is started anew."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

_LOG = logging.getLogger(__name__)

FIRST_PAUSE_S = 1.0
"""Before the second start; doubled with each fault in a row."""
LONGEST_PAUSE_S = 30.0
"""Whatever is broken, it is tried again about as often as runs are looked at."""
SETTLED_S = 60.0
"""What has gone on for so long works: a fault after that is the first of its row."""


async def for_ever(name: str, work: Callable[[], Awaitable[object]], note: Callable[[str, str | None], None]) -> None:
    """``work`` is under way until this is cancelled: what it raises, a stray cancellation and ``SystemExit`` included,
    and that it returns, only start it anew after a pause. ``note`` hears each fault, and None once it has gone on for
    :data:`SETTLED_S`; what ``note`` raises is logged. Only Ctrl-C gets through."""
    faults = 0
    while True:
        working = asyncio.ensure_future(_outcome(work))
        try:
            done, _ = await asyncio.wait({working}, timeout=SETTLED_S)
            if not done:
                faults = 0
                _tell(note, name, None)
                await asyncio.wait({working})
        finally:
            if not working.done():
                working.cancel()
                await asyncio.gather(working, return_exceptions=True)
        fault = _fault_of(working)
        faults += 1
        pause_s = min(FIRST_PAUSE_S * 2.0 ** min(faults - 1, 10), LONGEST_PAUSE_S)
        _LOG.error("task-ended: %s: %s; it is started anew in %g s", name, fault, pause_s)
        _tell(note, name, fault)
        await asyncio.sleep(pause_s)


async def _outcome(work: Callable[[], Awaitable[object]]) -> BaseException | None:
    """What ended the work. Returned, because ``SystemExit`` leaving a task ends the whole loop."""
    try:
        await work()
    except (asyncio.CancelledError, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # noqa: BLE001 - a panic of watchfiles' Rust part is no Exception; told by the caller
        return error
    return None


def _fault_of(working: asyncio.Future[BaseException | None]) -> str:
    if working.cancelled():
        return "it was cancelled, by nobody who may"
    error = working.result()
    if error is None:
        return "it ended, and never should"
    _LOG.error("task-fault", exc_info=error)
    return f"{type(error).__name__}: {error}"


def _tell(note: Callable[[str, str | None], None], name: str, fault: str | None) -> None:
    try:
        note(name, fault)
    except Exception:  # noqa: BLE001 - the tick: telling must not end what it tells of
        _LOG.exception("task-fault: %s can't be told", name)
