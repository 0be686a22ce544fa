"""An answer is given again only while nothing that it depends on has changed."""

from __future__ import annotations

import random

import pytest

from tests.support.run_dirs import START_TS, WrittenRun
from tests.unit.conftest import Look
from trainmaster.bot.checks import CHECKS, CheckLimits
from trainmaster.bot.checks.epochs import check_epochs
from trainmaster.bot.checks.memory import MAX_TOLD, forget, remembered
from trainmaster.bot.core.alerts.finding import Finding, Severity
from trainmaster.bot.core.check_name import CheckName
from trainmaster.bot.core.run.epoch_report import EpochReport, ReportLimits, judge_epoch
from trainmaster.bot.core.run.view import HISTORY_S, EpochView, RunView
from trainmaster.bot.reading.run_files import RunReader
from trainmaster.trainer.contract import EventKind

LIMITS = CheckLimits()


class Counted:
    """A check that counts how often it is asked."""

    __name__ = "counted"

    def __init__(self) -> None:
        self.num_asked = 0

    def __call__(self, view: RunView, limits: CheckLimits, now: float) -> tuple[Finding, ...]:
        self.num_asked += 1
        return ()


def test_an_unchanged_run_is_not_judged_again(written: WrittenRun) -> None:
    check = Counted()
    look = remembered(of=lambda view: (view.epochs, view.checkpoints))(check)
    written.finish_epoch(1, 5)
    reader = RunReader(written.layout.root, first_seen_ts=START_TS)
    for after_s in range(10, 15):
        look(reader.read(START_TS + after_s), LIMITS, START_TS + after_s)
    assert check.num_asked == 1
    written.finish_epoch(2, 15)
    look(reader.read(START_TS + 16), LIMITS, START_TS + 16)
    assert check.num_asked == 2


def test_other_limits_and_another_run_are_judged_by_themselves(look: Look) -> None:
    check = Counted()
    judge = remembered(of=lambda view: (view.epochs,))(check)
    view = look()
    judge(view, LIMITS, START_TS)
    judge(view, CheckLimits(spike_mads=3), START_TS)
    assert check.num_asked == 2


def test_every_answer_is_as_if_it_had_never_been_asked(written: WrittenRun, look: Look) -> None:
    """The same run, followed look by look and read at once."""
    reader = RunReader(written.layout.root, first_seen_ts=START_TS)

    def found(view: RunView) -> set[str]:
        return {one.fingerprint for check in CHECKS for one in check.look(view, LIMITS, START_TS + 100)}

    for epoch in range(1, 9):
        written.start_epoch(epoch, epoch)
        written.series(epoch=epoch, batch=100, loss=3.0, after_s=epoch)
        if epoch == 4:
            written.bad_batch(epoch, 5, epoch, action="observed")
        written.finish_epoch(epoch, epoch, loss=3.0 if epoch > 1 else 2.0, nonfinite=int(epoch == 4), lr=0.01)
        written.save_checkpoint(epoch, epoch)
        written.beat(epoch + 0.5, epoch=epoch + 1, batch=1)
        followed = reader.read(START_TS + epoch)
        at_once = RunReader(written.layout.root, first_seen_ts=START_TS).read(START_TS + epoch)
        assert found(followed) == found(at_once)


@pytest.mark.parametrize("seed", range(12))
def test_every_answer_is_as_if_all_had_been_forgotten(written: WrittenRun, seed: int) -> None:
    """Whatever came in between two looks: rows of a curve, late ones too, bad batches, ends, rollbacks, other marks."""
    chance = random.Random(seed)
    reader = RunReader(written.layout.root, first_seen_ts=START_TS)
    epoch = 1
    for step in range(60):
        after_s, kind = float(step), chance.randrange(8)
        if kind == 0:
            written.start_epoch(epoch, after_s)
        elif kind in {1, 2, 3}:
            written.series(
                epoch=chance.choice((epoch, max(1, epoch - 1))),
                batch=step,
                loss=chance.choice((3.0, 90.0)),
                after_s=after_s,
            )
        elif kind == 4:
            of = chance.choice((epoch, max(1, epoch - 1)))
            written.bad_batch(of, step, after_s, action=chance.choice(("observed", "skipped")))
        elif kind == 5:
            if chance.random() < 0.8:  # the word of an end may be lost
                loss = chance.choice((2.0, 3.0, float("nan")))
                written.finish_epoch(epoch, after_s, loss=loss, nonfinite=0, lr=0.01)
            epoch += 1
        elif kind == 6:
            written.save_checkpoint(epoch, after_s, verdict=chance.choice(("clean", "contaminated")))
        elif chance.random() < 0.3:
            written.attempt, epoch = written.attempt + 1, max(1, epoch - chance.randrange(3))
            written.record()
        view, now = reader.read(START_TS + step), START_TS + step

        def found(view: RunView = view, now: float = now) -> list[Finding]:
            return [one for check in CHECKS for one in check.look(view, LIMITS, now)]

        remembered_now = found()
        forget(view.run)
        assert remembered_now == found()


def test_a_growing_curve_makes_no_epoch_be_judged_again(written: WrittenRun, monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[int] = []

    def judge(view: RunView, epoch: EpochView, limits: ReportLimits) -> EpochReport:
        judged.append(epoch.epoch)
        return judge_epoch(view, epoch, limits)

    monkeypatch.setattr("trainmaster.bot.checks.epochs.judge_epoch", judge)
    reader = RunReader(written.layout.root, first_seen_ts=START_TS)
    written.finish_epoch(1, 1)
    for batch in range(1, 6):
        written.series(epoch=2, batch=batch, loss=3.0, after_s=1.0 + batch)
        check_epochs(reader.read(START_TS + 2 + batch), LIMITS, START_TS + 2 + batch)
    assert judged == [1]


def test_of_very_many_epochs_the_newest_are_told_and_a_bounded_number_is_kept(
    written: WrittenRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = 200
    monkeypatch.setattr("trainmaster.bot.core.run.folding.MAX_EPOCHS_KEPT", kept)
    for epoch in range(1, kept + 101):
        written.bad_batch(epoch, 3, float(epoch))
        written.finish_epoch(epoch, float(epoch))
    now = START_TS + kept + 200
    view = RunReader(written.layout.root, first_seen_ts=START_TS).read(now)
    assert len(view.epochs) == kept
    found = [finding for check in CHECKS for finding in check.look(view, LIMITS, now)]
    for name in (CheckName.EPOCH_FINISHED, CheckName.NONFINITE):
        told = [one.key for one in found if one.check is name]
        assert len(told) == MAX_TOLD
        assert told[-1] == f"attempt1/epoch{kept + 100}"


def test_late_word_of_an_earlier_epoch_without_an_end_changes_the_answer(written: WrittenRun) -> None:
    reader = RunReader(written.layout.root, first_seen_ts=START_TS)
    written.start_epoch(1, 1)
    written.finish_epoch(2, 2)
    (before,) = check_epochs(reader.read(START_TS + 3), LIMITS, START_TS + 3)
    written.bad_batch(1, 5, 4, action="observed")
    (after,) = check_epochs(reader.read(START_TS + 5), LIMITS, START_TS + 5)
    assert (before.severity, after.severity) == (Severity.INFO, Severity.WARNING)


def test_epochs_that_ended_before_the_run_was_seen_are_not_judged(written: WrittenRun) -> None:
    """The alerts take them for history, too (test_track): what is told does not depend on this."""
    for epoch, after_s in ((1, 1.0), (2, 39.0), (3, 41.0), (4, 150.0)):
        written.finish_epoch(epoch, after_s)
    view = RunReader(written.layout.root, first_seen_ts=START_TS + 40 + HISTORY_S).read(START_TS + 200)
    assert [one.key for one in check_epochs(view, LIMITS, START_TS + 200)] == ["attempt1/epoch3", "attempt1/epoch4"]


@pytest.mark.parametrize("behind_s", [-600.0, 0.0, 600.0])
def test_what_ended_under_the_eyes_of_the_bot_is_news_however_far_the_clock_of_the_trainer_is_behind(
    written: WrittenRun, behind_s: float
) -> None:
    written.finish_epoch(1, -1000 - behind_s)
    reader = RunReader(written.layout.root, first_seen_ts=START_TS)
    for after_s in (0.0, 30.0, 60.0):
        written.beat(after_s - behind_s, epoch=2, batch=1 + int(after_s))
        reader.read(START_TS + after_s + 1)
    written.finish_epoch(2, 90 - behind_s)
    written.event(EventKind.RUN_CRASHED, 91 - behind_s, error="x")
    written.beat(92 - behind_s, epoch=3, batch=1)
    view = reader.read(START_TS + 120)
    assert [one.key for one in check_epochs(view, LIMITS, START_TS + 120)] == ["attempt1/epoch2"]
    assert view.notable[-1].ts >= view.news_from_ts > view.epochs[1, 1].finished_ts
