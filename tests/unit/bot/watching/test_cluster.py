"""A silent controller: one alert, however many runs are jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tests.support.clocks import SetClock
from trainmaster.bot.core.alerts.finding import Finding
from trainmaster.bot.core.run.facts import RunRecord
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.watching.cluster import CLUSTER_RUN, ClusterWatch
from trainmaster.trainer.contract import ClusterJob


class Sink:
    def __init__(self) -> None:
        self.told: list[tuple[str, tuple[str, ...]]] = []

    def process(self, view: RunView, findings: Sequence[Finding], unjudged: frozenset[str], now: float) -> None:
        self.told.append((view.name, tuple(one.check for one in findings)))


class Controller:
    def __init__(self, silence: tuple[float, str] | None) -> None:
        self._silence = silence

    def silence(self) -> tuple[float, str] | None:
        return self._silence


def runs(count: int, *, jobs: bool) -> list[RunView]:
    view = RunView(directory=Path("/r"), name="r", ts=0.0, first_seen_ts=0.0)
    job = ClusterJob(id="1") if jobs else None
    return [replace(view, record=RunRecord(run=f"r{number}", job=job)) for number in range(count)]


def told(controller: Controller | None, views: list[RunView]) -> list[tuple[str, tuple[str, ...]]]:
    sink = Sink()
    ClusterWatch(controller=controller, sink=sink, clock=SetClock()).look(views)
    return sink.told


def test_silence_is_one_alert_for_all_runs() -> None:
    assert told(Controller((900.0, "no answer")), runs(100, jobs=True)) == [(CLUSTER_RUN, ("cluster_silent",))]


def test_answering_controller_resolves_it() -> None:
    assert told(Controller(None), runs(2, jobs=True)) == [(CLUSTER_RUN, ())]


def test_cluster_that_no_run_needs_is_no_matter() -> None:
    assert told(Controller((900.0, "no answer")), runs(2, jobs=False)) == [(CLUSTER_RUN, ())]
    assert told(None, runs(2, jobs=True)) == []
