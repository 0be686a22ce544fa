"""The cluster's controller, looked at for all runs at once: when it gives no answer, one alert says so."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from trainmaster.bot.core.alerts.finding import Finding, Nature, Severity
from trainmaster.bot.core.check_name import CheckName
from trainmaster.bot.core.conversation.tokens import moment
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import StoreError
from trainmaster.bot.ports import Clock
from trainmaster.bot.watching.supervisor import Sink

_LOG = logging.getLogger(__name__)

CLUSTER_RUN: Final = "cluster"
"""Stands where a run's id stands in findings that are about the cluster."""


class Controller(Protocol):
    """Whether somebody answers for the cluster."""

    def silence(self) -> tuple[float, str] | None:
        """Since when nobody has, and what was said last; None while somebody does. Asks nobody."""
        ...


class ClusterWatch:
    """Says once that the controller is silent, however many runs are jobs. Without such runs it says nothing."""

    def __init__(self, *, controller: Controller | None, sink: Sink, clock: Clock) -> None:
        self._controller = controller
        self._sink = sink
        self._clock = clock
        self._began_ts = clock.now()

    def look(self, runs: Sequence[RunView]) -> None:
        """What is known was handed on."""
        if self._controller is None:
            return
        now = self._clock.now()
        waiting = [view.name for view in runs if view.record is not None and view.record.job is not None]
        silence = self._controller.silence() if waiting else None
        view = RunView(directory=Path("/"), name=CLUSTER_RUN, ts=now, first_seen_ts=self._began_ts)
        try:
            self._sink.process(view, (_silent(*silence),) if silence else (), frozenset(), now)
        except StoreError:
            _LOG.exception("findings-not-stored: cluster; the next look repeats them")


def _silent(since_ts: float, said: str) -> Finding:
    return Finding(
        run=CLUSTER_RUN,
        check=CheckName.CLUSTER_SILENT,
        key="controller",
        severity=Severity.WARNING,
        nature=Nature.CONDITION,
        ts=since_ts,
        title="The cluster's controller gives no answer",
        body=(
            said,
            "Jobs train on meanwhile, and their heartbeats are still read.",
            "Nothing can be stopped or submitted, and no run is called dead.",
        ),
        fields=(("Since", moment(since_ts)),),
        hint="trainmaster doctor; scontrol ping",
        resolution="The cluster's controller answers again",
    )
