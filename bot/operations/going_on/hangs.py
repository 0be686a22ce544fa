"""A run that hangs is stopped by itself, where the operator wants that; then it is judged as any that died."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from trainmaster.bot.checks.limits import CheckLimits
from trainmaster.bot.checks.progress import stall_of
from trainmaster.bot.core.decisions import going_on
from trainmaster.bot.core.decisions.going_on import AutoResume
from trainmaster.bot.core.decisions.operation import BOT, OperationKind
from trainmaster.bot.core.run.facts import ProcessFact, ProcessStatus
from trainmaster.bot.core.run.forecast import duration
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import CommandError
from trainmaster.bot.operations.going_on.continuation import Continuations
from trainmaster.bot.operations.new_operation import new_operation
from trainmaster.bot.operations.refusals import refuse_foreign_process, refuse_unless_ours
from trainmaster.trainer.contract import Heartbeat

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Still:
    """The last sign of life, and since when it has been the last, by a clock that nobody sets."""

    attempt: int
    beat: Heartbeat | None
    since_s: float


@dataclass(kw_only=True)
class Hangs:
    """Stops what the checks call stalled, once its last sign of life has been the last for as long by ``steady``: a
    clock that jumps makes a run look stalled and stops none. What nobody can see, and what somebody halted with
    SIGSTOP, is left alone."""

    starts: Continuations
    """What starts runs that ended: it acts on the same world, writes into the same books."""
    checks: CheckLimits
    steady: Callable[[], float]
    _still: dict[str, _Still] = field(default_factory=dict)

    async def tend(self) -> None:
        """Every run that hangs, and may go on by itself, is being stopped.

        Raises:
            StoreError: the journal cannot be read or written; nothing was stopped.
        """
        limits = self.starts.world.limits.going_on
        if self.starts.deaths.mode is not AutoResume.AUTO or not limits.stop_hangs:
            return
        for seen in self.starts.world.runs.all():
            if self._due(seen) is None:
                continue
            view = await self.starts.world.runs.refresh(seen.run)
            why = self._due(view) if view is not None else None
            if view is not None and why is not None:
                try:
                    self._stop(view, why)
                except CommandError as error:
                    _LOG.warning("%s hangs and is not stopped: %s", view.name, error)

    def _due(self, view: RunView) -> str | None:
        """For how long it hangs, in words; None while it does not, or is to be left alone."""
        why = self._hangs(view)
        return None if why is None or self.starts.deaths.why_not_hung(view) else why

    def _hangs(self, view: RunView) -> str | None:
        """For how long, in words; None while that is not certain."""
        now_s = self.steady()
        known = self._still.get(view.run)
        if known is None or (known.attempt, known.beat) != (view.attempt, view.beat):
            self._still[view.run] = _Still(attempt=view.attempt, beat=view.beat, since_s=now_s)
            return None
        if not _alive(view.process):
            return None
        stall = stall_of(view, self.checks, self.starts.world.clock.now())
        still_s = now_s - known.since_s
        if stall is None or still_s < stall.timeout_s:
            return None
        return f"no progress for {duration(still_s)} in {stall.phase.value.replace('_', ' ')}"

    def _stop(self, view: RunView, why: str) -> None:
        refuse_unless_ours(view, self.starts.instance.host)
        refuse_foreign_process(view)
        now = self.starts.world.clock.now()
        notes = ((going_on.HANG, why), (going_on.LAST_SIGN, going_on.sign_of_life(view)))
        operation = new_operation(view, OperationKind.STOP, BOT, self.starts.instance, now, notes=notes)
        detail = {"attempt": view.attempt, "state": view.state.value, "why": why, "operation": operation.id}
        with self.starts.books.transactions.transaction():
            if not self.starts.books.begin(operation):
                return  # somebody was faster
            self.starts.books.audit.append(BOT, "stop.begin", view.run, detail, now)
        self.starts.runner.start(operation)
        self.starts.notify()


def _alive(process: ProcessFact | None) -> bool:
    """Seen alive, and not halted by a signal; of a job, that its cluster runs it and does not end it already."""
    if process is None or process.status is not ProcessStatus.ALIVE:
        return False
    return not process.detail if process.job is None else process.job.state == "running"
