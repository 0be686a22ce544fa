"""Every figure of an epoch is looked at, of guarded and adopted runs; the estimate of a run with ``time=`` is one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.run_dirs import START_TS, WrittenRun
from tests.unit.conftest import Look
from trainmaster.bot.checks.limits import CheckLimits
from trainmaster.bot.checks.nonfinite import check_nonfinite
from trainmaster.bot.core.alerts.finding import Nature, Severity
from trainmaster.bot.core.conversation.message import Mark
from trainmaster.bot.core.run.adoption import Adoption
from trainmaster.bot.core.run.epoch_report import Criterion, ReportLimits, judge_epoch
from trainmaster.bot.core.run.view import RunView, planned_epochs
from trainmaster.bot.reading.adopted import AdoptedReader

LIMITS = CheckLimits()
GOOD = {"metrics/mAP50(B)": 0.5, "val/box_loss": 1.1, "val/cls_loss": 1.1}


def _criterion(view: RunView, number: int) -> tuple[Mark, str]:
    epoch = view.epoch(number)
    assert epoch is not None
    report = judge_epoch(view, epoch, ReportLimits())
    return next((one.mark, one.detail) for one in report.judged if one.criterion is Criterion.NONFINITE)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        pytest.param({"metrics": GOOD | {"val/box_loss": "nan"}}, "validation loss not finite: box", id="its loss"),
        pytest.param({"metrics": GOOD | {"val/cls_loss": "inf"}}, "validation loss not finite: cls", id="infinite"),
        pytest.param({"metrics": GOOD | {"metrics/mAP50(B)": "nan"}}, "not finite: mAP50(B)", id="a metric"),
        pytest.param({"fitness": "nan"}, "not finite: fitness", id="the fitness"),
        pytest.param(
            {"unknown": ["val/box_loss", "fitness"]}, "validation loss not finite: box", id="taken as unknown"
        ),
    ],
)
def test_a_figure_that_is_not_finite_is_told_and_judged(
    written: WrittenRun, look: Look, fields: dict[str, object], words: str
) -> None:
    written.finish_epoch(1, 90, **{"metrics": GOOD, **fields})
    view = look()
    mark, detail = _criterion(view, 1)
    assert mark is Mark.FAILED
    assert words in detail
    (found,) = check_nonfinite(view, LIMITS, START_TS + 100)
    assert (found.nature, found.severity) == (Nature.OCCURRENCE, Severity.WARNING)
    assert "not finite" in found.body[0].lower()


@pytest.mark.parametrize(
    ("columns", "severity", "words"),
    [
        pytest.param(("train/box_loss",), Severity.CRITICAL, "is in its weights", id="a loss"),
        pytest.param(("lr/pg0",), Severity.CRITICAL, "at which rate, is in its weights", id="the rate"),
        pytest.param(("val/box_loss",), Severity.WARNING, "training losses are finite", id="validation"),
        pytest.param(("time",), Severity.WARNING, "Losses and metrics are finite", id="the time"),
        pytest.param(("time", "val/box_loss"), Severity.WARNING, "half precision", id="both"),
        pytest.param(("fitness",), Severity.WARNING, "half precision", id="the fitness"),
    ],
)
def test_what_a_column_that_is_not_finite_means_is_told(
    written: WrittenRun, look: Look, columns: tuple[str, ...], severity: Severity, words: str
) -> None:
    written.finish_epoch(1, 90, metrics=GOOD)
    view = look()
    epochs = {key: replace(epoch, unknown=columns) for key, epoch in view.epochs.items()}
    (found,) = check_nonfinite(replace(view, epochs=epochs), LIMITS, START_TS + 100)
    assert found.severity is severity
    assert words in found.body[1]


def test_bad_validation_batches_are_told(written: WrittenRun, look: Look) -> None:
    written.finish_epoch(1, 90, metrics=GOOD, val_nonfinite=2)
    view = look()
    assert _criterion(view, 1) == (Mark.WARNING, "2 validation batches with a loss that is not finite, left out")
    assert len(check_nonfinite(view, LIMITS, START_TS + 100)) == 1


def test_a_training_loss_that_no_bad_batch_explains_is_told(written: WrittenRun, look: Look) -> None:
    written.finish_epoch(1, 90, losses={"box_loss": "nan"})
    (found,) = check_nonfinite(look(), LIMITS, START_TS + 100)
    assert found.severity is Severity.CRITICAL


def test_what_bad_batches_explain_is_told_once(written: WrittenRun, look: Look) -> None:
    written.bad_batch(1, 42, 50)
    written.finish_epoch(1, 90, losses={"box_loss": "nan"}, nonfinite=1, skipped=1)
    assert len(check_nonfinite(look(), LIMITS, START_TS + 100)) == 1


def test_a_validation_that_stays_broken_is_told_once(written: WrittenRun, look: Look) -> None:
    for epoch in (1, 2, 3, 4):
        broken = epoch in {2, 3}
        written.finish_epoch(epoch, 90 * epoch, metrics=GOOD | ({"val/box_loss": "nan"} if broken else {}))
    assert [one.key for one in check_nonfinite(look(), LIMITS, START_TS + 400)] == ["attempt1/epoch2/figures"]


def test_healthy_figures_say_nothing(written: WrittenRun, look: Look) -> None:
    written.finish_epoch(1, 90, metrics=GOOD, fitness=None)
    written.finish_epoch(2, 180, metrics={}, validated=False)
    view = look()
    assert [_criterion(view, number)[0] for number in (1, 2)] == [Mark.DONE, Mark.DONE]
    assert check_nonfinite(view, LIMITS, START_TS + 200) == ()


def test_an_adopted_run_with_nan_in_validation_says_so(tmp_path: Path) -> None:
    (tmp_path / "exp").mkdir()
    (tmp_path / "log").write_text("       2/60     5.2G     0.8     0.8     0.8      33      640: 100%|#| 40/40 [00:12")
    (tmp_path / "exp" / "results.csv").write_text(
        "epoch,time,train/box_loss,metrics/mAP50(B),metrics/mAP50-95(B),val/box_loss,val/cls_loss,lr/pg0\n"
        "1,20,0.9,0.71,0.35,1.1,1.1,0.001\n2,40,0.8,0.72,0.36,nan,nan,0.001\n"
    )
    adoption = Adoption(name="exp", directory=tmp_path / "exp", log=tmp_path / "log", process=None, adopted_ts=START_TS)
    view = AdoptedReader(adoption, first_seen_ts=START_TS).read(START_TS + 10)
    assert _criterion(view, 1)[0] is Mark.DONE
    assert _criterion(view, 2) == (Mark.FAILED, "validation loss not finite: box, cls")
    assert [one.key for one in check_nonfinite(view, LIMITS, START_TS + 20)] == ["attempt1/epoch2/figures"]


def test_nobody_reads_epoch_19_of_18(written: WrittenRun, look: Look) -> None:
    written.epochs = 18
    written.record()
    for epoch, total in ((18, 18), (19, None)):
        written.start_epoch(epoch, 100 * epoch)
        written.beat(100 * epoch + 10, epoch=epoch, batch=5)
        view = look()
        assert view.total_epochs == total
        assert view.current is not None
        assert view.current.epochs == total
        written.finish_epoch(epoch, 100 * epoch + 90)
        assert [one.epochs for one in look().story()][-1] == total


@pytest.mark.parametrize(
    ("epoch", "epochs", "planned"), [(18, 18, 18), (19, 18, None), (0, 299, 299), (None, 18, 18), (3, None, None)]
)
def test_a_plan_holds_what_is_done(epoch: int | None, epochs: int | None, planned: int | None) -> None:
    assert planned_epochs(epoch, epochs) == planned
