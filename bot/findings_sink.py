"""From looks at runs to alerts in the database, whatever becomes of the database; and the bot's own troubles."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence

from trainmaster.bot.alerting.dedup import NotifyReason
from trainmaster.bot.alerting.outcome import LookOutcome
from trainmaster.bot.alerting.pipeline import AlertPipeline
from trainmaster.bot.core.alerts.finding import Finding, Nature, Severity
from trainmaster.bot.core.alerts.sketches import sketch_of
from trainmaster.bot.core.check_name import CheckName
from trainmaster.bot.core.health.no_run import DATABASE_RUN
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import StoreError
from trainmaster.bot.ports import Clock, PictureBook
from trainmaster.bot.storage.database import Database
from trainmaster.bot.storage.file import SetAside

_LOG = logging.getLogger(__name__)

GATHER_S = 0.5
"""The news of a run that other runs may share wait so long for theirs. A look at all runs takes less; what comes later
still goes into the same message."""


class FindingsSink:
    """Alerts and the messages about them commit in one transaction; the delivery wakes only afterwards.

    Implements :class:`trainmaster.bot.watching.sink.Sink`. When the database can't be used, the same goes on in memory,
    and that is told as an alert of its own.
    """

    def __init__(
        self,
        *,
        database: Database,
        pipeline: AlertPipeline,
        notify: Callable[[], None],
        clock: Clock,
        pictures: PictureBook,
    ) -> None:
        self._database = database
        self._pipeline = pipeline
        self._notify = notify
        self._clock = clock
        self._pictures = pictures
        self._began_ts = clock.now()
        self._happened: list[Finding] = []
        """About the database, told once each."""
        self._settling: asyncio.TimerHandle | None = None
        self._look_at_file()

    def process(self, view: RunView, findings: Sequence[Finding], unjudged: frozenset[CheckName], now: float) -> None:
        """See :class:`trainmaster.bot.watching.sink.Sink`.

        Raises:
            StoreError: not even memory takes it; the next look repeats it.
        """
        try:
            outcome = self._pipeline.process(view, findings, now, unjudged=unjudged)
        except StoreError as error:
            _LOG.error("%s", error)
            if not self._database.take_refuge(error):
                raise
            outcome = self._pipeline.process(view, findings, now, unjudged=unjudged)
            self.tick()
        if outcome.told:
            if outcome.may_be_joined:
                self._settle_soon()
            else:
                self._notify()
            self._illustrate(view, findings, outcome, now)

    def _illustrate(self, view: RunView, findings: Sequence[Finding], outcome: LookOutcome, now: float) -> None:
        """What was told aloud for the first time, or anew, gets its pictures later."""
        by_fingerprint = {finding.fingerprint: finding for finding in findings}
        for decision in outcome.decisions:
            finding = by_fingerprint.get(decision.fingerprint)
            if finding is None or decision.reason not in {NotifyReason.FIRST, NotifyReason.REFIRED}:
                continue
            sketch = sketch_of(view, finding)
            if sketch is not None:
                with contextlib.suppress(StoreError):  # the message stands without, and the next look tells the fault
                    self._pictures.want(decision.fingerprint, sketch, now)

    def _settle_soon(self) -> None:
        """The delivery wakes when the runs of this round have been looked at: a trouble of many runs calls people once,
        and by its own name."""
        if self._settling is not None:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # nobody delivers meanwhile
            self._settle()
        else:
            self._settling = loop.call_later(GATHER_S, self._settle)

    def _settle(self) -> None:
        self._settling = None
        if not self._database.open:
            return
        try:
            self._pipeline.settle(self._clock.now())
        except StoreError as error:  # the next tick writes it
            _LOG.error("%s", error)
        self._notify()

    def tick(self) -> None:
        """The file is used again if it can be, and what is wrong with it is told."""
        if self._database.lost():
            gone = StoreError(
                "state-database", f"{self._database.path} was deleted or replaced.", "leave STATE_DIR to Trainmaster"
            )
            _LOG.error("%s", gone)
            self._database.take_refuge(gone)
        if self._database.try_return():
            _LOG.warning("state-database: %s is in use again", self._database.path)
        self._look_at_file()
        now = self._clock.now()
        fault = self._database.refuge
        findings = [*self._happened, *([_fault(fault.fault, now, seeded=fault.seeded)] if fault else [])]
        self.process(self._own_view(now), findings, frozenset(), now)
        try:
            if self._pipeline.tend(now):
                self._notify()
        except StoreError as error:  # the next tick meets it again, and tells it
            _LOG.error("%s", error)

    def _look_at_file(self) -> None:
        found, self._database.set_aside = self._database.set_aside, None
        if found is not None:
            self._happened.append(_set_aside(found, self._clock.now()))

    def _own_view(self, now: float) -> RunView:
        return RunView(directory=self._database.path.parent, name=DATABASE_RUN, ts=now, first_seen_ts=self._began_ts)


def _fault(error: StoreError, now: float, *, seeded: bool) -> Finding:
    known = "" if seeded else " What was told before can't be read: what still holds is told once more."
    return Finding(
        run=DATABASE_RUN,
        check=CheckName.DATABASE,
        key="write",
        severity=Severity.CRITICAL,
        nature=Nature.CONDITION,
        ts=now,
        title="Trainmaster can't write its database",
        body=(error.message, f"Watching goes on and alerts come from memory; rollbacks are refused.{known}"),
        hint=error.hint,
        resolution="Trainmaster can write its database again",
    )


def _set_aside(found: SetAside, now: float) -> Finding:
    if found.operations is None:
        operations = "Whether a rollback was under way in it can't be read: see /train audit."
    elif found.operations:
        operations = f"Under way in it, and not taken up: {', '.join(found.operations)}. See /train audit."
    else:
        operations = "No operation was under way in it."
    return Finding(
        run=DATABASE_RUN,
        check=CheckName.DATABASE,
        key=found.place.name,
        severity=Severity.CRITICAL,
        nature=Nature.OCCURRENCE,
        ts=now,
        title="Trainmaster's database was damaged; a new one is in use",
        body=(
            f"The damaged file was set aside as {found.place}; what could be read was taken along.",
            operations,
            "The audit log is a file of its own and goes on.",
        ),
        hint="check the disk; an alert that still holds may be told once more",
    )
