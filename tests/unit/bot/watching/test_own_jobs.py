from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from tests.support.clocks import SetClock
from trainmaster.bot.checks.limits import OwnJobLimits
from trainmaster.bot.core.alerts.finding import Finding, Severity
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import StoreError
from trainmaster.bot.watching.own_jobs import OwnJobs


@dataclass
class Sink:
    looks: list[tuple[Finding, ...]] = field(default_factory=list)
    runs: set[str] = field(default_factory=set)
    broken: bool = False

    def process(self, view: RunView, findings: Sequence[Finding], unjudged: frozenset[str], now: float) -> None:
        if self.broken:
            raise StoreError("state-database", "it is locked.")
        self.runs.add(view.run)
        self.looks.append(tuple(findings))


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def watch(sink: Sink) -> OwnJobs:
    return OwnJobs(sink=sink, limits=OwnJobLimits(faults_in_a_row=3), clock=SetClock())


def test_the_third_fault_in_a_row_is_told_at_once(watch: OwnJobs, sink: Sink) -> None:
    for _ in range(2):
        watch.note("find new runs", "OSError: dead")
    assert sink.looks == []
    watch.note("find new runs", "OSError: stale handle")
    ((finding,),) = sink.looks
    assert (finding.check, finding.key, finding.severity) == ("duty_failed", "find new runs", Severity.WARNING)
    assert "3 times in a row (limit 3)" in finding.title
    assert "stale handle" in finding.body[0]
    assert sink.runs == {"trainmaster-jobs"}


def test_a_page_target_is_named_so_that_a_person_finds_it_and_nothing_is_promised_of_the_log(
    watch: OwnJobs, sink: Sink
) -> None:
    watch.note("page target 1 of 2 (json)", None)
    for _ in range(3):
        watch.note("page target 2 of 2 (json)", "it did not take the page.")
    watch.note("page target 1 of 2 (json)", None)
    ((finding,), *_) = sink.looks
    assert finding.title == "Trainmaster itself: page target 2 of 2 (json) took no page 3 times in a row (limit 3)"
    assert "traceback" not in finding.hint
    assert "doctor" in finding.hint
    assert len(sink.looks[-1]) == 1, "what goes well of another target ends nothing"


def test_what_goes_well_again_is_no_finding_any_more(watch: OwnJobs, sink: Sink) -> None:
    for fault in ("a", "b", "c", None):
        watch.note("find new runs", fault)
    assert [len(found) for found in sink.looks] == [1, 0]


def test_faults_with_a_success_between_them_are_no_alert(watch: OwnJobs, sink: Sink) -> None:
    for fault in ("a", "b", None, "a", "b", None):
        watch.note("check host", fault)
    watch.look()
    assert sink.looks == [()]


def test_runs_that_are_not_checked_are_critical(watch: OwnJobs, sink: Sink) -> None:
    for _ in range(3):
        watch.note("check runs", "TimeoutError: it did not end within 120 s and was cancelled")
    assert sink.looks[-1][0].severity is Severity.CRITICAL


def test_a_store_that_fails_ends_nothing(watch: OwnJobs, sink: Sink) -> None:
    sink.broken = True
    for _ in range(4):
        watch.note("check host", "x")
    sink.broken = False
    watch.look()
    assert len(sink.looks[-1]) == 1


@dataclass
class PaperLease:
    who: str = ""

    def me(self) -> str:
        return "pid 9 on gpu04"

    def told_by_other(self) -> bool:
        return False

    def other(self) -> str:
        return self.who


def test_a_bot_that_only_watches_says_so_in_plain_words_at_once_and_when_it_acts_again(sink: Sink) -> None:
    lease = PaperLease("pid 7 on gpu03")
    watch = OwnJobs(sink=sink, limits=OwnJobLimits(faults_in_a_row=3), clock=SetClock(), lease=lease)
    watch.look()
    ((finding,),) = sink.looks
    assert finding.check == "only_watches"
    assert finding.title == "Trainmaster only watches: another one acts on these runs (pid 7 on gpu03)"
    assert "wrong" not in " ".join((finding.title, *finding.body))
    lease.who = ""
    watch.look()
    assert sink.looks[-1] == ()
    assert "acts on the runs itself" in finding.resolution
