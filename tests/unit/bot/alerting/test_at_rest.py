"""Whether the last look at a run left anything to tell: what rests is not looked at again."""

from __future__ import annotations

import pytest

from tests.unit.bot.alerting.fakes import RUN, Desk, finding
from trainmaster.bot.core.alerts.finding import Finding, Nature, Severity
from trainmaster.bot.core.run.facts import RunRecord

EPOCH = finding("epoch_finished", severity=Severity.WARNING, nature=Nature.OCCURRENCE)
STALLED = finding("stalled")


class RunDesk(Desk):
    """Looks at a run that has a record, and with it a card."""

    def look_at(self, *findings: Finding, after_s: float = 0.0) -> bool:
        """Whether the run is at rest after the look."""
        self.clock.ts += after_s
        view = self.view(record=RunRecord.parse({"run": RUN, "state": "finished"}))
        self.pipeline.process(view, findings, self.clock.ts)
        self.send_all()
        return self.pipeline.at_rest(RUN)


@pytest.fixture
def desk() -> RunDesk:
    return RunDesk()


def test_a_run_of_which_nothing_is_told_rests_after_its_first_look(desk: RunDesk) -> None:
    assert not desk.pipeline.at_rest(RUN)
    assert desk.look_at()


def test_history_keeps_no_run_awake(desk: RunDesk) -> None:
    desk.clock.ts += 86_400
    desk.first_seen_ts = desk.clock.ts
    assert desk.look_at(EPOCH)


def test_a_condition_that_holds_keeps_the_run_awake_until_it_is_resolved(desk: RunDesk) -> None:
    assert not desk.look_at(STALLED)
    assert not desk.look_at(after_s=1)
    desk.look_at(after_s=1000)
    assert desk.look_at(after_s=1000)


def test_a_warning_that_waits_to_be_told_keeps_the_run_awake(desk: RunDesk) -> None:
    assert not desk.look_at(finding("clip_rate", severity=Severity.WARNING))


def test_a_run_rests_once_what_happened_is_told_and_mutes_nothing_any_more(desk: RunDesk) -> None:
    desk.look_at(EPOCH)
    desk.look_at(EPOCH, after_s=desk.limits.occurrence_mutes_s + 1)
    assert desk.look_at(EPOCH, after_s=desk.limits.card_edit_s)


def resting(desk: RunDesk) -> None:
    desk.look_at(EPOCH)
    for _ in range(3):
        desk.look_at(EPOCH, after_s=desk.limits.occurrence_mutes_s + 1)
    assert desk.pipeline.at_rest(RUN)


def test_a_card_that_is_not_up_to_date_yet_keeps_the_run_awake(desk: RunDesk) -> None:
    resting(desk)
    assert not desk.look_at(EPOCH, after_s=1)
    assert desk.look_at(EPOCH, after_s=desk.limits.card_edit_s)


def test_who_acknowledges_an_alert_wakes_its_run(desk: RunDesk) -> None:
    resting(desk)
    desk.pipeline.ack(EPOCH.fingerprint, "U1", desk.clock.ts)
    assert not desk.pipeline.at_rest(RUN)


@pytest.mark.parametrize("run", [pytest.param(RUN, id="by run"), pytest.param(None, id="all")])
def test_who_silences_a_run_wakes_it_and_so_does_the_end_of_the_silence(desk: RunDesk, run: str | None) -> None:
    resting(desk)
    desk.pipeline.silence_where("U1", desk.clock.ts + 60, desk.clock.ts, run=run)
    assert not desk.pipeline.at_rest(RUN)
    desk.look_at(EPOCH, after_s=30)
    desk.pipeline.tend(desk.clock.ts)
    desk.clock.ts += 60
    desk.pipeline.tend(desk.clock.ts)
    assert not desk.pipeline.at_rest(RUN)


def test_who_silences_another_run_leaves_it_at_rest(desk: RunDesk) -> None:
    resting(desk)
    desk.pipeline.silence_where("U1", desk.clock.ts + 60, desk.clock.ts, run="another")
    assert desk.pipeline.at_rest(RUN)
