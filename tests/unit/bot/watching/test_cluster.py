"""A silent controller: one alert, however many runs are jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tests.support.clocks import SetClock
from trainmaster.bot.core.alerts.finding import Finding
from trainmaster.bot.core.check_name import CheckName
from trainmaster.bot.core.health.no_run import CLUSTER_RUN
from trainmaster.bot.core.run.facts import RunRecord
from trainmaster.bot.core.run.job import ControllerSilence
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.watching.cluster import ClusterWatch
from trainmaster.bot.watching.limits import ClusterLimits
from trainmaster.trainer.contract import ClusterJob


class Sink:
    def __init__(self) -> None:
        self.told: list[tuple[str, tuple[str, ...]]] = []
        self.unjudged: list[frozenset[str]] = []

    def process(self, view: RunView, findings: Sequence[Finding], unjudged: frozenset[str], now: float) -> None:
        self.told.append((view.name, tuple(one.check for one in findings)))
        self.unjudged.append(unjudged)


class Controller:
    """Silent for so long; None answers."""

    def __init__(self, silent_s: float | None) -> None:
        self.silent_s = silent_s

    def silence(self) -> ControllerSilence | None:
        return (
            None if self.silent_s is None else ControllerSilence(since_ts=900.0, for_s=self.silent_s, said="no answer")
        )


def runs(count: int, *, jobs: bool) -> list[RunView]:
    view = RunView(directory=Path("/r"), name="r", ts=0.0, first_seen_ts=0.0)
    job = ClusterJob(id="1") if jobs else None
    return [replace(view, record=RunRecord(run=f"r{number}", job=job)) for number in range(count)]


def watch_of(controller: Controller | None) -> tuple[ClusterWatch, Sink]:
    sink = Sink()
    return ClusterWatch(controller=controller, sink=sink, limits=ClusterLimits(), clock=SetClock()), sink


def told(controller: Controller | None, views: list[RunView]) -> list[tuple[str, tuple[str, ...]]]:
    watch, sink = watch_of(controller)
    watch.look(views)
    return sink.told


def test_silence_is_one_alert_for_all_runs() -> None:
    assert told(Controller(10.0), runs(100, jobs=True)) == [(CLUSTER_RUN, ("cluster_silent",))]


def test_short_silence_tells_nobody_and_resolves_nothing() -> None:
    watch, sink = watch_of(Controller(9.9))
    watch.look(runs(1, jobs=True))
    assert sink.told == [(CLUSTER_RUN, ())]
    assert sink.unjudged == [frozenset({CheckName.CLUSTER_SILENT})]


def test_silence_counts_by_time_and_not_by_looks() -> None:
    controller = Controller(1.0)
    watch, sink = watch_of(controller)
    for _ in range(20):
        watch.look(runs(1, jobs=True))
    assert all(not checks for _, checks in sink.told)
    controller.silent_s = 60.0
    watch.look(runs(1, jobs=True))
    assert sink.told[-1] == (CLUSTER_RUN, ("cluster_silent",))


def test_first_answer_resolves_it_and_then_nothing_more_is_said() -> None:
    controller = Controller(60.0)
    watch, sink = watch_of(controller)
    watch.look(runs(2, jobs=True))
    controller.silent_s = None
    for _ in range(3):
        watch.look(runs(2, jobs=True))
    assert sink.told == [(CLUSTER_RUN, ("cluster_silent",)), (CLUSTER_RUN, ())]
    assert sink.unjudged[-1] == frozenset()


def test_alert_of_an_earlier_life_is_resolved_by_a_controller_that_answers() -> None:
    assert told(Controller(None), runs(2, jobs=True)) == [(CLUSTER_RUN, ())]


def test_cluster_that_no_run_needs_is_no_matter() -> None:
    assert told(Controller(60.0), runs(2, jobs=False)) == [(CLUSTER_RUN, ())]
    assert told(None, runs(2, jobs=True)) == []
