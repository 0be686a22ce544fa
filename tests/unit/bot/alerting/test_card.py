"""Each run has a card and a thread: what stands where, and that the card reads as the run is."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest

from tests.support.run_dirs import START_TS, WrittenRun
from tests.unit.bot.alerting.fakes import Desk, finding
from tests.unit.conftest import Look
from trainmaster.bot.alerting.card import compose_card, line_key
from trainmaster.bot.core.alerts.alert import card_key
from trainmaster.bot.core.alerts.delivery import Urgency
from trainmaster.bot.core.alerts.finding import Finding, Nature, Severity
from trainmaster.bot.core.conversation.message import Mark, Message, Tone
from trainmaster.bot.core.conversation.tokens import moment, person
from trainmaster.bot.core.run.card_facts import card_facts
from trainmaster.bot.core.run.facts import ProcessStatus
from trainmaster.bot.core.run.forecast import forecast
from trainmaster.bot.core.run.job import JobFact
from trainmaster.bot.core.run.view import RunView
from trainmaster.trainer.contract import RunRecordState

RUN = "digits-0001"
CARD = card_key(RUN)
STALLED = finding("stalled", run=RUN)
NAN = finding("nonfinite", run=RUN, severity=Severity.WARNING)
EPOCH = finding("epoch_finished", run=RUN, severity=Severity.INFO, nature=Nature.OCCURRENCE)


class RunDesk(Desk):
    """A desk whose looks are at a real run."""

    def __init__(self, view: RunView) -> None:
        super().__init__()
        self.seen = view

    def view(self, **changes: object) -> RunView:
        return replace(self.seen, first_seen_ts=self.first_seen_ts, **changes)  # type: ignore[arg-type]

    def threads(self) -> dict[str, str | None]:
        """The root of each message that waits, by key."""
        rows = self.database.rows("SELECT key, thread_key FROM messages WHERE desired_version > sent_version")
        return {row["key"]: row["thread_key"] for row in rows}

    def shown(self, key: str) -> Message:
        return self.wanted()[key]


@pytest.fixture
def desk(written: WrittenRun, look: Look) -> RunDesk:
    written.start_epoch(2, 0)
    written.beat(50, epoch=2, batch=10)
    return RunDesk(look())


def _epoch(number: int) -> Finding:
    return replace(EPOCH, key=f"attempt1/epoch{number}", title=f"epoch {number} finished")


def test_card_comes_with_the_first_thing_told_and_after_it(desk: RunDesk) -> None:
    desk.look()
    desk.look(after_s=600)
    assert desk.wanted() == {}
    desk.look(STALLED)
    assert list(desk.wanted()) == [STALLED.fingerprint, CARD]
    assert desk.shown(CARD).title == "digits: training, epoch 2 of 4"
    assert desk.shown(CARD).mentions == ()


def test_alert_stands_in_the_channel_and_as_a_line_in_the_thread_of_its_run(desk: RunDesk) -> None:
    desk.look(STALLED)
    assert desk.threads() == {STALLED.fingerprint: None, CARD: None, line_key(STALLED.fingerprint): CARD}
    urgent = [one.key for one in desk.messages.pending(desk.clock.ts) if one.urgency is not Urgency.LATER]
    assert urgent == [STALLED.fingerprint]
    sent = [key for key, _ in desk.send_all()]
    assert sent == [STALLED.fingerprint, CARD, line_key(STALLED.fingerprint)]


def test_line_tells_who_has_the_alert_and_when_it_was_over(desk: RunDesk) -> None:
    desk.look(STALLED)
    desk.send_all()
    desk.pipeline.ack(STALLED.fingerprint, "U7", desk.clock.ts)
    line = desk.shown(line_key(STALLED.fingerprint))
    assert line.title == "digits-1: stalled (critical, acknowledged)"
    assert [item.text for item in line.items] == ["Fired", f"Acknowledged by {person('U7')}"]
    assert line.buttons == ()
    desk.look(after_s=1)
    desk.look(after_s=desk.limits.resolve_hold_s)
    line = desk.shown(line_key(STALLED.fingerprint))
    assert (line.tone, line.items[-1].text) == (Tone.GOOD, "Resolved")


def test_card_shows_what_fires_and_who_has_it(desk: RunDesk) -> None:
    desk.look(STALLED, NAN)
    desk.look(STALLED, NAN, after_s=desk.limits.hold_warning_s)
    card = desk.shown(CARD)
    assert card.tone is Tone.CRITICAL
    assert {item.mark for item in card.items} == {Mark.FAILED, Mark.WARNING}
    desk.pipeline.ack(STALLED.fingerprint, "U7", desk.clock.ts)
    desk.look(STALLED, NAN, after_s=1)
    card = desk.shown(CARD)
    assert card.tone is Tone.WARNING
    assert any(item.detail.endswith(f"acknowledged by {person('U7')}") for item in card.items)
    assert ("Firing", "2 alerts, 1 acknowledged") in card.fields


def test_report_soon_after_one_of_its_kind_goes_into_the_thread(desk: RunDesk) -> None:
    desk.look(_epoch(1))
    desk.look(_epoch(1), _epoch(2), after_s=600)
    threads = desk.threads()
    assert (threads[_epoch(1).fingerprint], threads[_epoch(2).fingerprint]) == (None, CARD)
    assert line_key(_epoch(1).fingerprint) not in threads


def test_reports_hours_apart_all_stand_in_the_channel(desk: RunDesk) -> None:
    for number in range(1, 4):
        desk.look(*(_epoch(one) for one in range(1, number + 1)), after_s=5 * 3600)
    assert [desk.threads()[_epoch(number).fingerprint] for number in (1, 2, 3)] == [None, None, None]


def test_rest_of_a_burst_goes_into_the_thread_of_the_run(desk: RunDesk) -> None:
    burst = [replace(STALLED, key=f"{number}") for number in range(6)]
    desk.look(*burst)
    threads = [desk.threads()[one.fingerprint] for one in burst]
    assert threads == [None] * 3 + [CARD] * 3
    assert sum(key.endswith("#line") for key in desk.threads()) == 3


def test_quiet_card_is_looked_at_now_and_then(desk: RunDesk, written: WrittenRun, look: Look) -> None:
    desk.look(_epoch(1))
    desk.send_all()
    written.beat(80, epoch=3, batch=10)
    desk.seen = look()
    desk.look(_epoch(1), after_s=desk.limits.card_edit_s - 1)
    assert desk.wanted() == {}
    desk.look(_epoch(1), after_s=1)
    assert desk.shown(CARD).title == "digits: training, epoch 3 of 4"


@pytest.mark.parametrize(
    ("state", "title", "tone"),
    [
        (RunRecordState.RUNNING, "digits: training, epoch 2 of 4", Tone.PROGRESS),
        (RunRecordState.FINISHED, "digits: finished, epoch 2 of 4", Tone.GOOD),
        (RunRecordState.CRASHED, "digits: crashed, epoch 2 of 4", Tone.CRITICAL),
    ],
)
def test_card_of_a_run_says_how_it_is(
    desk: RunDesk, written: WrittenRun, look: Look, state: RunRecordState, title: str, tone: Tone
) -> None:
    written.record(state=state)
    card = compose_card(look(), ())
    assert (card.title, card.tone) == (title, tone)
    assert ("Firing", "nothing") in card.fields


def test_what_belongs_to_no_run_has_no_card() -> None:
    desk = Desk()
    desk.look(finding())
    assert list(desk.wanted()) == [finding().fingerprint]


def test_card_shows_how_far_the_run_is_and_when_it_ends(written: WrittenRun, look: Look) -> None:
    written.start_epoch(2, 0)
    written.beat(50, epoch=2, batch=50, epoch_elapsed_s=5_000.0)
    run, epoch, ends = compose_card(look(), ()).body
    assert run == "▰▰▰▱▱▱▱▱▱▱ 38 % of the run"
    assert epoch == "▰▰▰▰▰▱▱▱▱▱ 50 % of epoch 2"
    assert ends.startswith("Epoch 2 ends <t:")
    assert "the run ends <t:" in ends


@pytest.mark.parametrize(
    ("batch_s", "epoch_ends", "run_ends"),
    [
        pytest.param(0.2, "within 10 min", "within 10 min", id="seconds an epoch"),
        pytest.param(6.0, "within 10 min", "<t:", id="ten minutes an epoch"),
        pytest.param(60.0, "<t:", "<t:", id="hours"),
    ],
)
def test_card_tells_no_time_that_may_be_past_before_it_is_edited(
    written: WrittenRun, look: Look, batch_s: float, epoch_ends: str, run_ends: str
) -> None:
    written.start_epoch(2, 0)
    written.beat(50, epoch=2, batch=50, epoch_elapsed_s=50 * batch_s)
    view = look()
    ends = compose_card(view, ()).body[-1]
    epoch, _, run = ends.partition(", the run ends ")
    assert epoch.startswith(f"Epoch 2 ends {epoch_ends}")
    assert run.startswith(run_ends)
    times = [int(ts) for ts in re.findall(r"<t:(\d+)>", ends)]
    assert all(ts >= view.ts + 590.0 for ts in times)
    ahead = forecast(view, view.ts)
    assert ahead.run_end_ts is not None
    if run_ends == "<t:":
        left_s = ahead.run_end_ts - view.ts
        assert 0 <= times[-1] - ahead.run_end_ts < max(300.0, left_s / 4), "as exact as the time left deserves"


def test_card_does_not_follow_every_batch(written: WrittenRun, look: Look) -> None:
    written.start_epoch(2, 0)
    written.beat(100, epoch=2, batch=50, epoch_elapsed_s=5_100.0)
    before = compose_card(look(), ())
    written.beat(100, epoch=2, batch=51, epoch_elapsed_s=5_202.0)
    assert compose_card(look(), ()) == before


def test_card_of_a_run_that_is_over_has_no_progress(written: WrittenRun, look: Look) -> None:
    written.start_epoch(2, 0)
    written.beat(50, epoch=2, batch=50)
    written.record(state=RunRecordState.FINISHED)
    assert compose_card(look(), ()).body == ()


def test_card_tells_what_is_planned_and_the_host_in_a_line(written: WrittenRun, look: Look) -> None:
    written.start_epoch(2, 0)
    written.beat(50, epoch=2, batch=10)
    view = look()
    facts = card_facts(view, ("Planned: it will be stopped after epoch 2.",), None)
    assert facts[0] == ("Planned", "Planned: it will be stopped after epoch 2.")
    assert facts[1][0] == "Host"
    assert set(facts) <= set(compose_card(view, (), facts).fields)


def test_card_of_a_run_with_one_epoch_and_no_figure_is_shown_all_the_same(written: WrittenRun, look: Look) -> None:
    written.beat(50, epoch=400, batch=0, batches=None, losses={"box_loss": "nan"}, epoch_elapsed_s=None)
    assert compose_card(look(), ()).title.startswith("digits: ")


def test_card_of_a_job_in_the_queue_says_which_attempt_begins_when(written: WrittenRun, look: Look) -> None:
    written.record(state=RunRecordState.STOPPED, job={"id": "17", "restart": 0, "node": "n1", "options": []})
    job = JobFact(id="18", state="pending", reason="BeginTime", start_ts=START_TS + 100_004.0)
    card = compose_card(look(status=ProcessStatus.PENDING, job=job), ())
    assert card.title.startswith("digits: pending")
    (waits,) = card.body
    assert waits == f"Attempt 2 waits until {moment(math.ceil((START_TS + 100_004.0) / 60) * 60)}: BeginTime."
    late = compose_card(look(status=ProcessStatus.PENDING, job=replace(job, start_ts=START_TS - 5.0)), ())
    assert "until" not in late.body[0], "a time that is past tells nothing"
    unplanned = look(status=ProcessStatus.PENDING, job=replace(job, reason="Priority", start_ts=None))
    assert compose_card(unplanned, ()).body == ("Attempt 2 waits: Priority, no start is planned yet.",)
