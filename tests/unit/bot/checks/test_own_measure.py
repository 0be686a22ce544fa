"""What is judged against the run itself: speed, lateness, gradients, clips and loss."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from tests.support.run_dirs import START_TS, WrittenRun
from tests.unit.conftest import Look
from trainmaster.bot.checks import CHECKS, CheckLimits
from trainmaster.bot.core.alerts.finding import Finding, Nature
from trainmaster.bot.core.conversation.message import Mark
from trainmaster.bot.core.run.epoch_report import Criterion, ReportLimits, judge_epoch
from trainmaster.bot.core.run.view import RunView
from trainmaster.trainer.contract import EventKind

LIMITS = CheckLimits()


def _found(view: RunView, after_s: float) -> dict[str, Finding]:
    return {one.check: one for check in CHECKS for one in check.look(view, LIMITS, START_TS + after_s)}


def _rows(written: WrittenRun, batch_s: Iterable[float], **extra: float) -> float:
    """Rows of 10 batches each in epoch 1; when the last was written."""
    after_s = 0.0
    for index, seconds in enumerate(batch_s, start=1):
        after_s += 10 * seconds
        written.series(epoch=1, batch=10 * index, loss=3.0, after_s=after_s, **extra)
        written.beat(after_s, epoch=1, batch=10 * index)
    return after_s


@pytest.mark.parametrize(
    ("batch_s", "slow"),
    [
        pytest.param([10.0] * 40, False, id="steady"),
        pytest.param([10.0] * 40 + [25.0] * 4, True, id="slow for longer than the window"),
        pytest.param([10.0] * 40 + [19.0] * 20, False, id="not twice as slow"),
        pytest.param([10.0] * 40 + [60.0], False, id="one slow stretch"),
        pytest.param([10.0] * 40 + [60.0] + [10.0] * 12, False, id="a slow stretch that has passed"),
        pytest.param([10.0] * 8 + [25.0] * 5, False, id="too little to compare with"),
        pytest.param([60.0] * 40 + [150.0] * 3, True, id="stretches as long as the window"),
        pytest.param([0.1] * 60 + [0.5] * 180, True, id="many stretches in the window"),
    ],
)
def test_a_slow_down_is_measured_against_the_run_itself(
    written: WrittenRun, look: Look, batch_s: list[float], slow: bool
) -> None:
    now_s = _rows(written, batch_s)
    assert ("slowdown" in _found(look(now_s), now_s)) is slow


def test_another_attempt_is_another_measure(written: WrittenRun, look: Look) -> None:
    _rows(written, [10.0] * 40)
    written.attempt = 2
    written.record()
    now_s = 10_000 + _rows(written, [25.0] * 5)
    assert "slowdown" not in _found(look(now_s), now_s)


@pytest.mark.parametrize(
    ("elapsed_s", "late"),
    [
        pytest.param(29_000.0, False, id="within half as long again"),
        pytest.param(30_100.0, True, id="beyond it"),
    ],
)
def test_an_epoch_is_late_against_the_finished_ones(
    written: WrittenRun, look: Look, elapsed_s: float, late: bool
) -> None:
    for epoch in (1, 2, 3):
        written.start_epoch(epoch, epoch)
        written.finish_epoch(epoch, epoch, seconds=20_000.0)
        written.save_checkpoint(epoch, epoch)
    written.start_epoch(4, 10)
    written.beat(elapsed_s, epoch=4, batch=50, epoch_elapsed_s=elapsed_s)
    assert ("epoch_late" in _found(look(elapsed_s), elapsed_s)) is late


def test_one_finished_epoch_is_no_measure_and_short_ones_are_late_by_minutes(written: WrittenRun, look: Look) -> None:
    written.finish_epoch(1, 1, seconds=10.0)
    written.start_epoch(2, 2)
    written.beat(900, epoch=2, batch=50, epoch_elapsed_s=900.0)
    assert "epoch_late" not in _found(look(900), 900)
    written.finish_epoch(2, 900, seconds=10.0)
    written.start_epoch(3, 900)
    written.beat(1500, epoch=3, batch=50, epoch_elapsed_s=600.0)
    assert "epoch_late" not in _found(look(1500), 1500)
    written.beat(1520, epoch=3, batch=50, epoch_elapsed_s=620.0)
    assert "epoch_late" in _found(look(1520), 1520)


@pytest.mark.parametrize(
    ("norms", "grown"),
    [
        pytest.param([60.0] * 30, False, id="steady"),
        pytest.param([200.0 - 5 * i for i in range(30)], False, id="falling, as healthy ones do"),
        pytest.param([60.0, 90.0, 40.0] * 10, False, id="wandering"),
        pytest.param([60.0] * 30 + [300.0] * 3, True, id="grown, and it stays so"),
        pytest.param([60.0] * 30 + [900.0, 300.0, 60.0], False, id="a storm that has passed"),
        pytest.param([60.0] * 10 + [300.0] * 3, False, id="too early to say"),
        pytest.param([0.24] * 20 + [0.95, 2.4, 16.0, 145.0, 960.0], True, id="as BLOOM's grew"),
    ],
)
def test_growing_gradients_are_measured_against_the_run_itself(
    written: WrittenRun, look: Look, norms: list[float], grown: bool
) -> None:
    for index, norm in enumerate(norms, start=1):
        written.series(epoch=1, batch=index, loss=3.0, grad_norm_p50=norm, grad_norm_p99=2 * norm)
    written.beat(50, epoch=1, batch=50)
    assert ("gradient_trend" in _found(look(), 100)) is grown


@pytest.mark.parametrize(
    ("earlier_pct", "now_pct", "risen"),
    [
        pytest.param((98, 99), 100, False, id="nearly every step of a healthy run"),
        pytest.param((5, 6, 4), 28, False, id="a little more"),
        pytest.param((5, 6, 4), 31, True, id="far more than its habit"),
        pytest.param((), 100, False, id="the first epoch has nothing to compare with"),
    ],
)
def test_clipping_is_measured_against_the_runs_own_epochs(
    written: WrittenRun, look: Look, earlier_pct: tuple[int, ...], now_pct: int, risen: bool
) -> None:
    written.batches = 1000
    for epoch, share in enumerate(earlier_pct, start=1):
        written.finish_epoch(epoch, epoch, clipped=10 * share)
        written.save_checkpoint(epoch, epoch)
    epoch = len(earlier_pct) + 1
    written.beat(50, epoch=epoch, batch=200, clipped_epoch=2 * now_pct)
    assert ("clip_rate" in _found(look(), 100)) is risen
    written.beat(51, epoch=epoch, batch=199, clipped_epoch=199)  # the start of an epoch is no sample
    assert "clip_rate" not in _found(look(), 100)


@pytest.mark.parametrize(
    ("clipped", "norm", "p99", "mark", "words"),
    [
        pytest.param(0, 3.0, 6.0, Mark.DONE, "none", id="none"),
        pytest.param(1, 3.0, 6.0, Mark.DONE, "1 of 100 (1.0 %, limit 1 %)", id="few"),
        pytest.param(30, 6.0, 9.0, Mark.WARNING, "30 of 100 (30.0 %, limit 1 %)", id="many, of norms below max_norm"),
        pytest.param(98, 62.0, 140.0, Mark.DONE, "98 of 100 (98.0 %), as must be", id="the rule, nothing unusual"),
        pytest.param(98, 62.0, 620.0, Mark.WARNING, "10.0 times the median (limit 5)", id="the rule, and outliers"),
        pytest.param(98, None, None, Mark.WARNING, "limit 1 %", id="norms unknown"),
    ],
)
def test_few_clips_is_judged_by_number_and_rule(
    written: WrittenRun,
    look: Look,
    clipped: int,
    norm: float | None,
    p99: float | None,
    mark: Mark,
    words: str,
) -> None:
    written.event(EventKind.RUN_STARTED, 0, settings={"max_norm": 10.0})
    written.series(epoch=1, batch=100, loss=3.0, grad_norm_p50=norm, grad_norm_p99=p99)
    written.finish_epoch(1, 50, clipped=clipped, batches_done=100)
    view = look()
    report = judge_epoch(view, view.story()[0], ReportLimits())
    (judged,) = [one for one in report.judged if one.criterion is Criterion.CLIPS]
    assert judged.mark is mark
    assert words in judged.detail


def test_an_epoch_is_judged_by_the_limit_of_its_own_attempt(written: WrittenRun, look: Look) -> None:
    written.event(EventKind.RUN_STARTED, 0, settings={"max_norm": 500.0})
    written.series(epoch=1, batch=100, loss=3.0, grad_norm_p50=62.0, grad_norm_p99=140.0)
    written.finish_epoch(1, 50, clipped=12, batches_done=100)
    written.attempt = 2
    written.record()
    written.event(EventKind.RUN_STARTED, 60, settings={"max_norm": 5.0})
    view = look()
    report = judge_epoch(view, view.epochs[1, 1], ReportLimits())
    (judged,) = [one for one in report.judged if one.criterion is Criterion.CLIPS]
    assert judged.detail == "12 of 100 (12.0 %, limit 1 %)"


def _noise(index: int) -> float:
    """Between -1 and 1, with no pattern that matters."""
    return ((index * 7919) % 201 - 100) / 100


@pytest.mark.parametrize(
    ("losses", "spiked"),
    [
        pytest.param([5.0 - 0.05 * i + 0.1 * _noise(i) for i in range(60)], False, id="falling with noise"),
        pytest.param([8.0, 7.0, 6.0, 5.0] + [4.5 + 0.3 * _noise(i) for i in range(60)], False, id="warm-up"),
        pytest.param([3.0 + 0.1 * _noise(i) for i in range(40)] + [9.0], True, id="three times as large"),
        pytest.param([3.0 + 0.001 * _noise(i) for i in range(40)] + [3.2], False, id="tiny deviation, tiny rise"),
        pytest.param([3.0 + 2.5 * _noise(i) for i in range(40)] + [6.5], False, id="as noisy as ever"),
        pytest.param([3.0] * 5 + [9.0], False, id="too early to say"),
        pytest.param(
            [8.0 if i % 4 == 3 else 0.2 + 0.01 * _noise(i) for i in range(40)], False, id="two levels, as they were"
        ),
        pytest.param(
            [8.0 if i % 4 == 3 else 0.2 + 0.01 * _noise(i) for i in range(40)] + [30.0], True, id="above both levels"
        ),
        pytest.param(
            [3.0 + 0.1 * _noise(i) for i in range(40)] + [float("nan")], False, id="not finite is not a spike"
        ),
    ],
)
def test_a_spike_stands_out_of_the_runs_own_noise(
    written: WrittenRun, look: Look, losses: list[float], spiked: bool
) -> None:
    for index, loss in enumerate(losses, start=1):
        written.series(epoch=1, batch=index, loss=loss, after_s=index)
    found = _found(look(), 100)
    assert ("loss_spike" in found) is spiked
    if spiked:
        assert found["loss_spike"].nature is Nature.OCCURRENCE
        assert found["loss_spike"].ts == START_TS + len(losses)


def test_an_epoch_has_one_spike_however_many_stretches(written: WrittenRun, look: Look) -> None:
    for index in range(1, 50):
        written.series(epoch=1, batch=index, loss=9.0 if index in {40, 42} else 3.0, after_s=index)
    found = [one for check in CHECKS for one in check.look(look(), LIMITS, START_TS) if one.check == "loss_spike"]
    assert [one.ts - START_TS for one in found] == [40]


def _epochs(
    written: WrittenRun, losses: list[float], *, lr: float | None = 0.01, fitness: list[float] | None = None
) -> None:
    written.epochs = 100
    for index, loss in enumerate(losses, start=1):
        value = fitness[index - 1] if fitness else 0.3
        written.finish_epoch(index, index, loss=loss, lr=lr, fitness=value)
        written.save_checkpoint(index, index)
    written.beat(50, epoch=len(losses) + 1, batch=5)


@pytest.mark.parametrize(
    ("losses", "stuck"),
    [
        pytest.param([5, 4, 3, 3.1, 3.2, 3.1, 3.0, 3.3], True, id="no better for five epochs"),
        pytest.param([5, 4, 3, 3.1, 3.2, 3.1, 3.0], False, id="no better for four"),
        pytest.param([5, 4, 3, 3.1, 3.2, 3.1, 3.0, 2.99], False, id="better again"),
        pytest.param([5 - 0.01 * i for i in range(30)], False, id="slow, and still falling"),
        pytest.param([float("nan")] * 9, False, id="not finite is another matter"),
    ],
)
def test_a_loss_that_falls_no_more_is_told(written: WrittenRun, look: Look, losses: list[float], stuck: bool) -> None:
    _epochs(written, losses)
    assert ("loss_trend" in _found(look(), 100)) is stuck


STUCK = [5.0, 4.0, 3.0, 3.1, 3.2, 3.1, 3.0, 3.3]


def test_a_plateau_at_the_end_of_the_schedule_is_its_purpose(written: WrittenRun, look: Look) -> None:
    _epochs(written, STUCK)
    written.finish_epoch(9, 60, loss=3.2, lr=0.0001, fitness=0.3)
    written.save_checkpoint(9, 60)
    written.beat(61, epoch=10, batch=5)
    assert "loss_trend" not in _found(look(), 100)


def test_without_a_rate_the_share_of_epochs_tells_the_end(written: WrittenRun, look: Look) -> None:
    _epochs(written, STUCK, lr=None)
    assert "loss_trend" in _found(look(), 100)
    written.epochs = 10
    written.beat(51, epoch=9, batch=5)
    assert "loss_trend" not in _found(look(), 100)


def test_the_low_loss_of_a_warm_up_that_finds_no_box_is_no_measure(written: WrittenRun, look: Look) -> None:
    rates = [0.002, 0.004, 0.01, *(0.0099 - 0.0001 * step for step in range(12))]
    losses = [1.7, 2.5, 8.0, *(7.9 - 0.1 * step for step in range(12))]
    for epoch, (loss, lr) in enumerate(zip(losses, rates, strict=True), start=1):
        written.finish_epoch(epoch, epoch, loss=loss, lr=lr, fitness=0.3)
    written.beat(50, epoch=len(losses) + 1, batch=5)
    assert "loss_trend" not in _found(look(), 100)
    for epoch in range(len(losses) + 1, len(losses) + 7):
        written.finish_epoch(epoch, epoch, loss=7.5, lr=0.008, fitness=0.2)
    written.beat(60, epoch=len(losses) + 8, batch=5)
    assert "loss_trend" in _found(look(), 100)


def test_a_resume_makes_no_news_of_a_loss_that_rests(written: WrittenRun, look: Look) -> None:
    _epochs(written, [5.0, 4.0, 3.0, *[3.1] * 6])
    before = _found(look(), 100)["loss_trend"]
    written.attempt = 2
    written.record()
    written.beat(70, epoch=10, batch=5)
    assert _found(look(), 100)["loss_trend"].fingerprint == before.fingerprint


def test_a_better_validation_outweighs_a_loss_that_rests(written: WrittenRun, look: Look) -> None:
    _epochs(written, STUCK, fitness=[0.1, 0.2, 0.3, 0.3, 0.31, 0.3, 0.3, 0.3])
    assert "loss_trend" not in _found(look(), 100)


def test_a_missing_checkpoint_is_told_after_a_while_and_until_one_is_there(written: WrittenRun, look: Look) -> None:
    written.finish_epoch(1, 50)
    written.beat(51, epoch=2, batch=1)
    assert "checkpoint_missing" not in _found(look(350), 350)
    written.beat(351, epoch=2, batch=1)
    assert "checkpoint_missing" in _found(look(351), 351)
    written.save_checkpoint(1, 352)
    assert "checkpoint_missing" not in _found(look(353), 353)


def test_a_checkpoint_grows_old_by_the_length_of_an_epoch(written: WrittenRun, look: Look) -> None:
    written.finish_epoch(1, 1000, seconds=1000.0)
    written.save_checkpoint(0, 10)
    written.save_checkpoint(1, 1000)
    written.beat(3499, epoch=2, batch=5)
    assert "checkpoint_stale" not in _found(look(3499), 3499)
    written.beat(3502, epoch=2, batch=5)
    assert "checkpoint_stale" in _found(look(3502), 3502)


def test_old_checkpoints_of_a_run_that_is_started_again_are_not_yet_stale(written: WrittenRun, look: Look) -> None:
    written.finish_epoch(1, 1000, seconds=1000.0)
    written.save_checkpoint(1, 1000)
    written.attempt = 2
    written.record(started_ts=START_TS + 90_000)
    written.beat(90_010, epoch=2, batch=5)
    assert "checkpoint_stale" not in _found(look(90_010), 90_010)


def test_an_epoch_without_a_heartbeat_yet_is_late_from_its_start(written: WrittenRun, look: Look) -> None:
    for epoch in (1, 2):
        written.finish_epoch(epoch, epoch, seconds=1000.0)
        written.save_checkpoint(epoch, 1500)
    written.beat(3, epoch=2, batch=100)
    written.start_epoch(3, 3)
    assert "epoch_late" not in _found(look(1500), 1500)
    assert "epoch_late" in _found(look(1700), 1700)


def test_the_trainers_own_warning_of_growing_gradients_is_told_once_an_epoch(written: WrittenRun, look: Look) -> None:
    for batch in (5, 60):
        written.event(EventKind.GRADIENT_WARNING, batch, epoch=1, batch=batch, grad_norm=960.0, median=2.4, factor=400)
    found = [one for check in CHECKS for one in check.look(look(), LIMITS, START_TS) if one.check == "gradient_growth"]
    assert [one.ts - START_TS for one in found] == [60]
    written.attempt = 2
    written.record()
    assert "gradient_growth" not in _found(look(), 100)
