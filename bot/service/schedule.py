"""Periodic work with APScheduler 3: bounded in time, alone of its kind, and loud when it is missed or fails."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from apscheduler.events import (
    EVENT_JOB_ERROR,
    EVENT_JOB_EXECUTED,
    EVENT_JOB_MISSED,
    JobEvent,
)
from apscheduler.schedulers.asyncio import AsyncIOScheduler

_LOG = logging.getLogger(__name__)

_MISFIRE_GRACE_S = 60
"""APScheduler's own default of 1 s drops a run whenever the loop was busy for that long."""
_LATE_S = 60.0
"""Beyond its interval: a run that comes later than this has been missed, whatever it then does."""
_APSCHEDULER = logging.getLogger("apscheduler.executors.default")
"""It logs each job that ends by an exception, with its traceback."""
_OWN = _LOG.getChild("apscheduler")
"""What the scheduler itself logs to. It warns of each run that would overlap the one before: on a busy host once a
second, of what is no fault."""
_OWN.setLevel(logging.ERROR)


class Schedule:
    """Interval jobs on the running event loop. ``note`` hears of every run of every job: the job's name, and None or
    what was wrong (missed, failed, too long). One that is due again while it runs is late, not wrong: its time-out
    tells when it hangs."""

    def __init__(self, note: Callable[[str, str | None], None]) -> None:
        self._note = note
        self._stopping = False
        self._began_s: dict[str, float] = {}
        self._late: dict[str, str] = {}
        self._scheduler = AsyncIOScheduler(
            timezone=UTC,
            logger=_OWN,
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": _MISFIRE_GRACE_S},
        )
        _APSCHEDULER.addFilter(_is_no_cancellation)
        self._scheduler.add_listener(self._heard, EVENT_JOB_EXECUTED | EVENT_JOB_MISSED | EVENT_JOB_ERROR)

    def every(
        self,
        seconds: float,
        name: str,
        work: Callable[[], Awaitable[object]],
        *,
        timeout_s: float,
        first_s: float | None = None,
    ) -> None:
        """``work`` runs every ``seconds``, ``first_s`` from now if that is given; cancelled after ``timeout_s``, since
        a job that hangs would silently stop its own repetition."""

        async def bounded() -> None:
            began_s = time.monotonic()
            gap_s = began_s - self._began_s.get(name, began_s)
            self._began_s[name] = began_s
            if gap_s > seconds + _LATE_S:  # coalesced runs are no misfire to APScheduler
                self._late[name] = f"it is due every {seconds:g} s and ran after {gap_s:.0f} s: is the host overloaded?"
            try:
                async with asyncio.timeout(timeout_s):
                    await work()
            except TimeoutError as error:
                raise TimeoutError(str(error) or f"it did not end within {timeout_s:g} s and was cancelled") from error

        first = {} if first_s is None else {"next_run_time": datetime.now(UTC) + timedelta(seconds=first_s)}
        self._scheduler.add_job(
            bounded, "interval", seconds=seconds, id=name, name=name, replace_existing=True, **first
        )

    def start(self) -> None:
        """The jobs run from now on."""
        self._scheduler.start()

    def stop(self) -> None:
        """No further run begins; one under way is cancelled, which is no trouble."""
        self._stopping = True
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def _heard(self, event: JobEvent) -> None:
        if self._stopping:
            return
        fault = _fault(event) or self._late.pop(event.job_id, None)
        if fault is not None:
            _LOG.error("job-fault: %s: %s", event.job_id, fault, exc_info=getattr(event, "exception", None))
        self._note(event.job_id, fault)


def _is_no_cancellation(record: logging.LogRecord) -> bool:
    """A job is cancelled from outside only by :meth:`Schedule.stop`."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


def _fault(event: JobEvent) -> str | None:
    if event.code == EVENT_JOB_EXECUTED:
        return None
    if event.code == EVENT_JOB_ERROR:
        return f"{type(event.exception).__name__}: {event.exception}"
    return f"it was missed: the bot was busy or asleep for more than {_MISFIRE_GRACE_S} s"
