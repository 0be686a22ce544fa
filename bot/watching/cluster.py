"""The cluster's controller, looked at for all runs at once: when it gives no answer, one alert says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from trainmaster.bot.core.alerts.finding import Finding, Nature, Severity
from trainmaster.bot.core.check_name import CheckName
from trainmaster.bot.core.conversation.tokens import moment
from trainmaster.bot.core.health.no_run import CLUSTER_RUN
from trainmaster.bot.core.run.forecast import duration
from trainmaster.bot.core.run.job import ControllerSilence
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.ports import Clock
from trainmaster.bot.watching.limits import ClusterLimits
from trainmaster.bot.watching.sink import BesideRuns, Sink


class Controller(Protocol):
    """Whether somebody answers for the cluster."""

    def silence(self) -> ControllerSilence | None:
        """None while somebody does; while nobody does, asks again, and waits for no answer."""
        ...


class ClusterWatch:
    """Says once that the controller is silent, however many runs are jobs. Without such runs it says nothing."""

    def __init__(self, *, controller: Controller | None, sink: Sink, limits: ClusterLimits, clock: Clock) -> None:
        self._controller = controller
        self._beside = BesideRuns(sink, CLUSTER_RUN, clock)
        self._limits = limits
        self._clock = clock
        self._told = True
        """What an earlier life of the bot has told may have to be resolved."""

    def look(self, runs: Sequence[RunView]) -> None:
        """What is known was handed on, where it is a silence or the end of one."""
        if self._controller is None:
            return
        now = self._clock.now()
        waiting = any(view.record is not None and view.record.job is not None for view in runs)
        silence = self._controller.silence() if waiting else None
        told = silence is not None and silence.for_s >= self._limits.cluster_silent_s
        if not told and not self._told:
            return
        unjudged = frozenset({CheckName.CLUSTER_SILENT}) if silence is not None else frozenset()
        findings = (_finding(silence),) if silence is not None and told else ()
        if self._beside.tell(findings, now, unjudged=unjudged):
            self._told = silence is not None


def _finding(silence: ControllerSilence) -> Finding:
    return Finding(
        run=CLUSTER_RUN,
        check=CheckName.CLUSTER_SILENT,
        key="controller",
        severity=Severity.WARNING,
        nature=Nature.CONDITION,
        ts=silence.since_ts,
        title="The cluster's controller gives no answer",
        body=(
            silence.said,
            "Jobs train on meanwhile, and their heartbeats are still read.",
            "Nothing can be stopped or submitted, and no run is called dead.",
        ),
        fields=(("Since", moment(silence.since_ts)), ("For", duration(silence.for_s))),
        hint="trainmaster doctor; scontrol ping",
        resolution="The cluster's controller answers again",
    )
