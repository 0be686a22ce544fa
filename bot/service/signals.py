"""What SIGTERM, Ctrl-C and the closing of the terminal do to a process of the bot: it clears up, then ends."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Coroutine
from typing import Any, Final

ENDED_BY_SIGNAL: Final = 130
"""Exit code, as shells give it for Ctrl-C."""


def end_on_signal(task: asyncio.Task[Any], ending: str) -> None:
    """SIGTERM, SIGINT and SIGHUP cancel ``task``; what ``nohup`` ignores stays ignored.

    Once: a second one would end the clearing up, and leave processes behind. It is answered with ``ending`` on standard
    error, and each wait of the clearing up has an end of its own.
    """

    def end() -> None:
        if not task.cancelling():
            task.cancel()
            return
        with contextlib.suppress(OSError):  # the terminal may be gone
            print(f"\n{ending}", file=sys.stderr)

    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(signum) is not signal.SIG_IGN:
            loop.add_signal_handler(signum, end)


async def until_signal(story: Coroutine[object, object, int], *, ending: str, farewell: str) -> int:
    """The exit code of ``story``; a signal that ends it lets it clear up; then ``farewell`` is said, and
    :data:`ENDED_BY_SIGNAL` given."""
    task = asyncio.create_task(story)
    end_on_signal(task, ending)
    try:
        return await task
    except asyncio.CancelledError:
        with contextlib.suppress(OSError):  # the terminal may be gone
            print(f"\n{farewell}", flush=True)
        return ENDED_BY_SIGNAL
