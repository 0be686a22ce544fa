from __future__ import annotations

import pytest

from tests.support.run_dirs import WrittenRun
from tests.unit.conftest import Look
from trainmaster.bot.core.conversation.message import Mark
from trainmaster.bot.core.run.epoch_report import Criterion, ReportLimits, judge_epoch
from trainmaster.trainer.contract import RunRecordState


def _marks(look: Look, number: int) -> dict[Criterion, Mark]:
    view = look()
    epoch = view.epoch(number)
    assert epoch is not None
    return {one.criterion: one.mark for one in judge_epoch(view, epoch, ReportLimits()).judged}


def test_a_good_epoch_meets_all_five(written: WrittenRun, look: Look) -> None:
    written.finish_epoch(1, 10, loss=4.0)
    written.finish_epoch(2, 20, loss=3.0)
    assert set(_marks(look, 2).values()) == {Mark.DONE}


@pytest.mark.parametrize(
    ("changes", "criterion", "mark"),
    [
        pytest.param({"batches_done": 60}, Criterion.BATCHES, Mark.FAILED, id="batches missing"),
        pytest.param({"nonfinite": 2, "skipped": 2}, Criterion.NONFINITE, Mark.WARNING, id="skipped NaN warns"),
        pytest.param({"nonfinite": 2, "skipped": 0}, Criterion.NONFINITE, Mark.FAILED, id="NaN in the weights fails"),
        pytest.param({"clipped": 1}, Criterion.CLIPS, Mark.DONE, id="one clip in a hundred is few"),
        pytest.param({"clipped": 2}, Criterion.CLIPS, Mark.WARNING, id="two in a hundred are not"),
        pytest.param({"validated": False}, Criterion.VALIDATION, Mark.FAILED, id="no validation"),
        pytest.param({"losses": {"box_loss": 4.04}}, Criterion.LOSS, Mark.WARNING, id="loss rose a little"),
        pytest.param({"losses": {"box_loss": 5.0}}, Criterion.LOSS, Mark.FAILED, id="loss rose"),
        pytest.param({"losses": {"box_loss": "nan"}}, Criterion.LOSS, Mark.FAILED, id="loss is NaN"),
    ],
)
def test_each_criterion_fires(
    written: WrittenRun, look: Look, changes: dict[str, object], criterion: Criterion, mark: Mark
) -> None:
    written.finish_epoch(1, 10, loss=4.0)
    written.finish_epoch(2, 20, **{"losses": {"box_loss": 3.0}, **changes})
    marks = _marks(look, 2)
    assert marks.pop(criterion) is mark
    assert set(marks.values()) == {Mark.DONE}


def test_a_running_epoch_is_judged_so_far(written: WrittenRun, look: Look) -> None:
    written.start_epoch(1, 0)
    written.beat(50, epoch=1, batch=40)
    marks = _marks(look, 1)
    assert marks[Criterion.BATCHES] is Mark.RUNNING
    assert marks[Criterion.VALIDATION] is Mark.WAITING
    assert marks[Criterion.NONFINITE] is Mark.DONE


def test_an_epoch_that_was_cut_off_is_not_running(written: WrittenRun, look: Look) -> None:
    written.start_epoch(1, 0)
    written.record(state=RunRecordState.CRASHED)
    marks = _marks(look, 1)
    assert marks[Criterion.BATCHES] is Mark.FAILED
    assert marks[Criterion.VALIDATION] is Mark.FAILED


def test_an_epoch_that_was_stopped_before_its_first_batch_has_failed_nothing(written: WrittenRun, look: Look) -> None:
    written.start_epoch(1, 0)
    written.beat(5, epoch=1, batch=0, losses={})
    written.record(state=RunRecordState.STOPPED)
    view = look()
    report = judge_epoch(view, view.epochs[1, 1], ReportLimits())
    assert report.num_failed == 0
    assert (report.judged[0].mark, report.judged[0].detail) == (Mark.WAITING, "stopped before its first batch")


def test_the_first_epoch_is_compared_with_itself(written: WrittenRun, look: Look) -> None:
    for batch, loss in enumerate([5.0, 4.5, 4.0, 3.5, 3.2, 3.0], start=1):
        written.series(epoch=1, batch=batch, loss=loss)
    written.finish_epoch(1, 10, loss=3.9)
    assert _marks(look, 1)[Criterion.LOSS] is Mark.DONE


def test_a_jump_within_the_epoch_is_not_smooth(written: WrittenRun, look: Look) -> None:
    written.finish_epoch(1, 5, loss=9.0)
    for batch, loss in enumerate([3.0, 3.0, 30.0, 3.0, 3.0, 2.9], start=1):
        written.series(epoch=2, batch=batch, loss=loss)
    written.finish_epoch(2, 10, loss=3.9)
    assert _marks(look, 2)[Criterion.LOSS] is Mark.WARNING
