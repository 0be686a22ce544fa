"""What a day, or an absence, says of each run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.run_dirs import START_TS, WrittenRun
from tests.unit.conftest import Look
from trainmaster.bot.core.alerts.digest import compose_absence, compose_digest
from trainmaster.bot.core.conversation.message import Mark, Tone
from trainmaster.bot.core.run.facts import ProcessStatus
from trainmaster.bot.core.run.period import lived, period
from trainmaster.bot.core.run.state import RunState
from trainmaster.trainer.contract import EventKind, RunRecordState


@pytest.fixture
def told(written: WrittenRun) -> WrittenRun:
    """Two epochs that ended at 100 s and 300 s, a bad batch in each, the third one runs."""
    for epoch, ended_s in ((1, 100), (2, 300)):
        written.start_epoch(epoch, ended_s - 100)
        written.bad_batch(epoch, 7, ended_s - 50)
        written.finish_epoch(epoch, ended_s, nonfinite=1, skipped=1, clipped=4)
        written.save_checkpoint(epoch, ended_s + 1)
    written.start_epoch(3, 302)
    written.beat(350, epoch=3, batch=48, clipped_epoch=2)
    return written


@pytest.mark.parametrize(
    ("since_s", "epochs", "bad", "clipped"),
    [(0, 2, 2, 10), (200, 1, 1, 6), (310, 0, 0, 2)],
    ids=["all", "the second epoch", "the running one"],
)
def test_only_what_happened_since_then_counts(
    told: WrittenRun, look: Look, since_s: float, epochs: int, bad: int, clipped: int
) -> None:
    since = period(look(360), START_TS + since_s)
    assert (since.num_epochs, since.num_bad, since.num_skipped, since.num_clipped) == (epochs, bad, bad, clipped)
    assert since.ended is None


def test_bad_batches_of_a_storm_whose_newest_are_new_count_in_part(written: WrittenRun, look: Look) -> None:
    written.start_epoch(1, 0)
    for number in range(50):
        written.bad_batch(1, number, 10 + number)
    assert period(look(100), START_TS + 55).num_bad == 5
    assert period(look(100), START_TS).num_bad == 50


def test_run_that_died_meanwhile_has_ended(told: WrittenRun, look: Look) -> None:
    dead = look(4000, status=ProcessStatus.GONE)
    assert period(dead, START_TS + 340).ended is RunState.DIED
    assert period(dead, START_TS + 360).ended is None


def test_run_that_ended_before_lives_no_more(told: WrittenRun, look: Look) -> None:
    told.record(state=RunRecordState.FINISHED, updated_ts=START_TS + 400)
    assert lived(look(500), START_TS + 399)
    assert not lived(look(500), START_TS + 401)


def test_digest_has_a_row_for_each_run_at_work(told: WrittenRun, look: Look) -> None:
    view = look(360)
    message = compose_digest([view], {"digits-0001": (3, 2)}, START_TS, START_TS + 360)
    assert message is not None
    assert message.title == "Digest: 1 run at work, 3 alerts in 6 min"
    assert message.table is not None
    assert message.table.rows[0][:7] == (
        *("digits", "training, epoch 3 of 4", "2", "2 (2)", "10", "3, 2 acknowledged", "epoch 2"),
    )
    assert message.table.rows[0][7].startswith("<t:")


def test_digest_without_a_run_is_none(told: WrittenRun, look: Look) -> None:
    told.record(state=RunRecordState.FINISHED, updated_ts=START_TS + 400)
    assert compose_digest([look(500)], {}, START_TS + 450, START_TS + 500) is None
    assert compose_digest([], {}, START_TS, START_TS + 500) is None


def test_absence_names_what_was_missed(told: WrittenRun, look: Look) -> None:
    told.event(EventKind.RUN_CRASHED, 355, error="boom")
    told.record(state=RunRecordState.CRASHED, updated_ts=START_TS + 355)
    message = compose_absence([look(3960)], START_TS + 200, START_TS + 3960)
    assert (message.title, message.tone) == ("Trainmaster was away for 63 min", Tone.WARNING)
    (item,) = message.items
    assert (item.mark, item.text) == (Mark.FAILED, "digits")
    assert item.detail == "crashed, 1 epoch finished, 1 bad batch (1 skipped)"


def test_absence_in_which_nothing_happened_says_so(told: WrittenRun, look: Look) -> None:
    view = replace(look(360), name="quiet")
    message = compose_absence([view], START_TS + 355, START_TS + 4000)
    assert message.items == ()
    assert message.body[0].endswith("Nothing happened meanwhile on 1 run.")
    assert message.tone is Tone.NEUTRAL
