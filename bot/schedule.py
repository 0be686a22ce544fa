"""Periodic work with APScheduler 3: bounded in time, alone of its kind, and loud when it is missed or fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC

from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_MAX_INSTANCES, EVENT_JOB_MISSED, JobEvent
from apscheduler.schedulers.asyncio import AsyncIOScheduler

_LOG = logging.getLogger(__name__)

_MISFIRE_GRACE_S = 60
"""APScheduler's own default of 1 s drops a run whenever the loop was busy for that long."""


class Schedule:
    """Interval jobs on the running event loop. ``trouble`` hears of every missed, overlapping or failed run."""

    def __init__(self, trouble: Callable[[str], None]) -> None:
        self._trouble = trouble
        self._stopping = False
        self._scheduler = AsyncIOScheduler(
            timezone=UTC,
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": _MISFIRE_GRACE_S},
        )
        self._scheduler.add_listener(self._heard, EVENT_JOB_MISSED | EVENT_JOB_MAX_INSTANCES | EVENT_JOB_ERROR)

    def every(self, seconds: float, name: str, work: Callable[[], Awaitable[object]], *, timeout_s: float) -> None:
        """``work`` runs every ``seconds``; cancelled after ``timeout_s``, since a job that hangs would silently stop
        its own repetition."""

        async def bounded() -> None:
            try:
                await asyncio.wait_for(work(), timeout_s)
            except TimeoutError:
                _LOG.error("job-timeout: %s did not end within %g s; it was cancelled and runs again", name, timeout_s)
                self._trouble(f"{name} did not end within {timeout_s:g} s")

        self._scheduler.add_job(bounded, "interval", seconds=seconds, id=name, name=name, replace_existing=True)

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
        what = {EVENT_JOB_MISSED: "was missed", EVENT_JOB_MAX_INSTANCES: "is still running", EVENT_JOB_ERROR: "failed"}
        text = f"{event.job_id} {what.get(event.code, 'had trouble')}"
        _LOG.error("job: %s", text, exc_info=getattr(event, "exception", None))
        self._trouble(text)
