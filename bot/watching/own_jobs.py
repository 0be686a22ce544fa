"""The bot's own jobs, told as findings where those of runs are told."""

from __future__ import annotations

from typing import Protocol

from trainmaster.bot.checks.limits import OwnJobLimits
from trainmaster.bot.checks.own_jobs import check_only_watches, check_own_jobs
from trainmaster.bot.core.alerts.finding import Finding
from trainmaster.bot.core.health.no_run import BOT_RUN
from trainmaster.bot.core.health.own_job import OwnJob
from trainmaster.bot.ports import Clock
from trainmaster.bot.watching.sink import BesideRuns, Sink


class ActingBot(Protocol):
    """Which of several bots acts on the runs."""

    def me(self) -> str:
        """This bot, in words."""
        ...

    def other(self) -> str:
        """The bot that acts in place of this one, in words; empty while none is known to."""
        ...

    def told_by_other(self) -> bool:
        """Whether that one tells what it sees where this one would."""
        ...


class OwnJobs:
    """Counts what goes wrong in a row. A job that went well again is forgiven."""

    def __init__(self, *, sink: Sink, limits: OwnJobLimits, clock: Clock, lease: ActingBot | None = None) -> None:
        self._lease = lease
        self._watches_since_ts: float | None = None
        self._beside = BesideRuns(sink, BOT_RUN, clock)
        self._limits = limits
        self._clock = clock
        self._jobs: dict[str, OwnJob] = {}

    def note(self, name: str, fault: str | None) -> None:
        """The job ``name`` went well (None), or wrong for the reason ``fault``. What that changes is told."""
        known = self._jobs.get(name) or OwnJob(name=name)
        if fault is None:
            self._jobs[name] = OwnJob(name=name)
        else:
            since_ts = self._clock.now() if known.since_ts is None else known.since_ts
            self._jobs[name] = OwnJob(name=name, num_faults=known.num_faults + 1, since_ts=since_ts, fault=fault)
        if max(known.num_faults, self._jobs[name].num_faults) >= self._limits.faults_in_a_row:
            self.look()

    def look(self) -> None:
        """The jobs were checked and the findings handed on. What an earlier process left firing is resolved."""
        now = self._clock.now()
        self._beside.tell((*check_own_jobs(self._jobs.values(), self._limits, now), *self._only_watches(now)), now)

    def _only_watches(self, now: float) -> tuple[Finding, ...]:
        other = self._lease.other() if self._lease is not None else ""
        if self._lease is None or not other:
            self._watches_since_ts = None
            return ()
        self._watches_since_ts = now if self._watches_since_ts is None else self._watches_since_ts
        silent = self._lease.told_by_other()
        return check_only_watches(self._lease.me(), other, self._watches_since_ts, silent=silent)
