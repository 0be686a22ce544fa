"""The bot's own duties, told as findings where those of runs are told."""

from __future__ import annotations

import logging
from pathlib import Path

from trainmaster.bot.checks.limits import DutyLimits
from trainmaster.bot.checks.own_jobs import check_duties
from trainmaster.bot.core.health.own_job import BOT_RUN, DutyFact
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import StoreError
from trainmaster.bot.ports import Clock
from trainmaster.bot.watching.supervisor import Sink

_LOG = logging.getLogger(__name__)


class SelfWatch:
    """Counts what goes wrong in a row. A duty that went well again is forgiven."""

    def __init__(self, *, sink: Sink, limits: DutyLimits, clock: Clock) -> None:
        self._sink = sink
        self._limits = limits
        self._clock = clock
        self._began_ts = clock.now()
        self._duties: dict[str, DutyFact] = {}

    def note(self, name: str, fault: str | None) -> None:
        """The duty ``name`` went well (None), or wrong for the reason ``fault``. What that changes is told."""
        known = self._duties.get(name) or DutyFact(name=name)
        if fault is None:
            self._duties[name] = DutyFact(name=name)
        else:
            since_ts = self._clock.now() if known.since_ts is None else known.since_ts
            self._duties[name] = DutyFact(name=name, num_faults=known.num_faults + 1, since_ts=since_ts, fault=fault)
        if max(known.num_faults, self._duties[name].num_faults) >= self._limits.faults_in_a_row:
            self.look()

    def look(self) -> None:
        """The duties were checked and the findings handed on. What an earlier process left firing is resolved."""
        now = self._clock.now()
        view = RunView(directory=Path("/"), name=BOT_RUN, ts=now, first_seen_ts=self._began_ts)
        try:
            self._sink.process(view, check_duties(self._duties.values(), self._limits, now), frozenset(), now)
        except StoreError:
            _LOG.exception("findings-not-stored: trainmaster; the next look repeats them")
