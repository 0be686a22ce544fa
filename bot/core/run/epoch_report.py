"""The five success criteria of an epoch, judged.

All batches, no NaN, few clips, validation done, loss smooth and falling.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from pathlib import PurePath
from statistics import median
from typing import Annotated

from trainmaster.bot.core.conversation.message import Item, Mark
from trainmaster.bot.core.conversation.words import losses_text, number_text
from trainmaster.bot.core.run.forecast import duration
from trainmaster.bot.core.run.state import RunState
from trainmaster.bot.core.run.view import EpochView, RunView
from trainmaster.bot.core.setting import Setting
from trainmaster.trainer.contract import Heartbeat, ReplayVerdict


class Criterion(StrEnum):
    """What an epoch must show to be called good."""

    BATCHES = "All batches"
    NONFINITE = "No NaN"
    CLIPS = "Few clipped gradients"
    VALIDATION = "Validation done"
    LOSS = "Loss smooth and falling"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportLimits:
    """When an epoch meets its success criteria."""

    few_clips_pct: Annotated[float, Setting("% of an epoch's steps", ge=0, le=100)] = 1.0
    """Clipping now and then is what it is for; beyond this the rate or the data is off."""
    clip_outlier_ratio: Annotated[float, Setting("times the median norm", gt=1)] = 5.0
    """Where the run's median norm lies above max_norm, clipping is its normal state and its share says nothing. Then
    in no stretch may 1 % of the steps have a larger norm than this (decision 0006)."""
    loss_rise_pct: Annotated[float, Setting("% against the epoch before", ge=0)] = 2.0
    """Augmentation and warm-up move the mean loss by about this much on healthy runs."""
    loss_jump_factor: Annotated[float, Setting("times the epoch's median", gt=1)] = 3.0
    """A stretch of batches with a mean loss above it is not smooth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One criterion with its verdict. Only ``DONE`` counts as met; ``RUNNING`` and ``WAITING`` are not yet decided."""

    criterion: Criterion
    mark: Mark
    detail: str

    @property
    def item(self) -> Item:
        """As a line of a checklist."""
        return Item(mark=self.mark, text=self.criterion.value, detail=self.detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochReport:
    """What an epoch was like, judged by the success criteria."""

    epoch: EpochView
    judged: tuple[Judged, ...]

    @property
    def num_met(self) -> int:
        """Criteria that are met."""
        return sum(one.mark is Mark.DONE for one in self.judged)

    @property
    def num_failed(self) -> int:
        """Criteria that are missed for good."""
        return sum(one.mark is Mark.FAILED for one in self.judged)

    @property
    def contaminated(self) -> bool:
        """Whether a bad batch went into the weights: it was seen and not skipped."""
        return self.epoch.num_in_weights > 0


def judge_epoch(view: RunView, epoch: EpochView, limits: ReportLimits) -> EpochReport:
    """The five criteria of ``epoch``, running or finished, as the run's story stands."""
    beat = _beat_of(view, epoch)
    earlier = next((one for one in reversed(view.story()) if one.epoch < epoch.epoch and one.losses), None)
    return EpochReport(
        epoch=epoch,
        judged=(
            _judge_batches(view, epoch, beat),
            _judge_nonfinite(epoch),
            _judge_clips(view, epoch, beat, limits),
            _judge_validation(view, epoch),
            _judge_loss(epoch, earlier, beat, limits),
        ),
    )


def _beat_of(view: RunView, epoch: EpochView) -> Heartbeat | None:
    beat = view.beat
    return beat if beat and beat.epoch == epoch.epoch and beat.attempt == epoch.attempt else None


def _judge_batches(view: RunView, epoch: EpochView, beat: Heartbeat | None) -> Judged:
    total = epoch.batches or (beat.batches if beat else None)
    done = epoch.batches_done if epoch.finished else (beat.batch if beat else None)
    counted = f"{_number(done)} of {_number(total)}"
    if epoch.finished and done is not None and done == total:
        mark = Mark.DONE
    elif epoch.finished:
        mark = Mark.FAILED if done is not None and total is not None else Mark.UNKNOWN
    else:
        mark = Mark.RUNNING if view.state.active and epoch == view.current else Mark.FAILED
        counted += f" ({100 * done / total:.0f} %)" if done is not None and total else ""
    if _is_untouched(view, epoch, beat):
        mark, counted = Mark.WAITING, "stopped before its first batch"
    return Judged(criterion=Criterion.BATCHES, mark=mark, detail=counted)


def _number(count: int | None) -> str:
    return "?" if count is None else f"{count:,}"


def _is_untouched(view: RunView, epoch: EpochView, beat: Heartbeat | None) -> bool:
    """Whether the epoch was stopped before it did anything: then nothing of it has failed."""
    stopped = view.state is RunState.STOPPED or epoch.attempt < view.attempt
    if epoch.finished or not stopped:
        return False
    done = beat.batch if beat is not None else epoch.batches_done
    return not done and not epoch.num_bad and not epoch.series


def _judge_nonfinite(epoch: EpochView) -> Judged:
    figures = nonfinite_text(epoch, training=False)  # the training losses have a criterion of their own
    spoilt = any(not name.startswith("train/") for name in epoch.nonfinite_columns)
    if epoch.num_bad == 0:
        mark = Mark.FAILED if spoilt else (Mark.WARNING if figures else Mark.DONE)
        return Judged(criterion=Criterion.NONFINITE, mark=mark, detail=figures or "none seen")
    beside = f"; {figures}" if figures else ""
    if epoch.num_in_weights:
        text = f"{epoch.num_bad:,} bad, {epoch.num_in_weights:,} of them went into the weights{beside}"
        return Judged(criterion=Criterion.NONFINITE, mark=Mark.FAILED, detail=text)
    text = f"{epoch.num_bad:,} bad, {bad_batches_fate(epoch)}{beside}"
    mark = Mark.FAILED if spoilt else Mark.WARNING
    return Judged(criterion=Criterion.NONFINITE, mark=mark, detail=text)


def nonfinite_text(epoch: EpochView, *, training: bool = True) -> str:
    """Which figures of a finished epoch are not finite, in words; empty when all are. ``training``: its losses too."""
    columns, count = epoch.nonfinite_columns, epoch.num_bad_in_validation
    if not columns and not count:
        return ""  # nearly all epochs, asked of each at every look
    said = []
    for what, prefix in (("training", "train/"), ("validation", "val/"))[not training :]:
        losses = [name.removeprefix(prefix) for name in columns if name.startswith(prefix)]
        if losses:
            said.append(f"{what} loss not finite: {', '.join(name.removesuffix('_loss') for name in losses)}")
    others = [name for name in columns if not name.startswith(("train/", "val/"))]
    if others:
        said.append(f"not finite: {', '.join(name.removeprefix('metrics/') for name in others)}")
    if count:
        said.append(f"{count} validation batch{'es' if count != 1 else ''} with a loss that is not finite, left out")
    return "; ".join(said)


def bad_batches_fate(epoch: EpochView) -> str:
    """What became of the epoch's bad batches, when none of them went into the weights."""
    if epoch.num_recomputed == 0:
        return "skipped without a trace"
    if epoch.num_skipped == 0:
        return "run again and good"
    return f"{epoch.num_skipped} skipped without a trace, {epoch.num_recomputed} run again and good"


def replays_text(epoch: EpochView) -> str:
    """What the replays of the epoch's bad batches say about where the trouble is; empty when nothing is known."""
    batches = epoch.bad_batches
    suspect = [one for one in batches if one.replay is ReplayVerdict.NOT_REPRODUCIBLE]
    if suspect:
        which = f"batch {suspect[-1].batch:,} was" if len(suspect) == 1 else f"{len(suspect)} of them were"
        return f"Run again at once, {which} good: not reproducible. Suspect the hardware (GPU, memory), not the data."
    last = batches[-1].replay if batches else None
    if last is ReplayVerdict.OVERFLOW:
        return "Run again twice at once: bad both times, good in single precision. It overflows; amp=false avoids that."
    if last is ReplayVerdict.DETERMINISTIC:
        return "Run again twice at once: bad both times. It is the data or the recipe, not the hardware."
    return ""


def _judge_clips(view: RunView, epoch: EpochView, beat: Heartbeat | None, limits: ReportLimits) -> Judged:
    clipped = epoch.num_clipped if epoch.finished else (beat.clipped_epoch if beat else None)
    total = epoch.batches_done if epoch.finished else (beat.batch if beat else None)
    if clipped is None or not total:
        return Judged(criterion=Criterion.CLIPS, mark=Mark.UNKNOWN, detail="not reported")
    share_pct = 100 * clipped / total
    if clipped == 0:
        return Judged(criterion=Criterion.CLIPS, mark=Mark.DONE, detail="none")
    counted = f"{clipped:,} of {total:,} ({share_pct:.1f} %"
    if share_pct <= limits.few_clips_pct:
        return Judged(criterion=Criterion.CLIPS, mark=Mark.DONE, detail=f"{counted}, limit {limits.few_clips_pct:g} %)")
    max_norm, middle, ratio = view.max_norms.get(epoch.attempt), epoch.norm_p50, epoch.norm_outlier_ratio
    if max_norm is None or middle is None or ratio is None or middle <= max_norm:
        detail = f"{counted}, limit {limits.few_clips_pct:g} %)"
        return Judged(criterion=Criterion.CLIPS, mark=Mark.WARNING, detail=detail)
    # Clipping is the rule here, so its share says nothing: the criterion is that no norm is unusual for this run.
    usual = ratio <= limits.clip_outlier_ratio
    detail = (
        f"{counted}), as must be with a median norm of {number_text(middle)} and max_norm {number_text(max_norm)}; "
        f"largest norms {ratio:.1f} times the median (limit {limits.clip_outlier_ratio:g})"
    )
    return Judged(criterion=Criterion.CLIPS, mark=Mark.DONE if usual else Mark.WARNING, detail=detail)


def _judge_validation(view: RunView, epoch: EpochView) -> Judged:
    if not epoch.finished:
        waits = view.state.active or _is_untouched(view, epoch, _beat_of(view, epoch))
        mark = Mark.WAITING if waits else Mark.FAILED
        return Judged(
            criterion=Criterion.VALIDATION,
            mark=mark,
            detail="at the epoch's end" if view.state.active else "never reached",
        )
    if not epoch.validated:
        return Judged(criterion=Criterion.VALIDATION, mark=Mark.FAILED, detail="the epoch ended without it")
    return Judged(criterion=Criterion.VALIDATION, mark=Mark.DONE, detail=metrics_text(epoch) or "done")


def metrics_text(epoch: EpochView) -> str:
    """The headline metrics: mAP50 and mAP50-95 of boxes, or top-1 and top-5 accuracy; empty when neither is known."""
    wanted = (
        ("mAP50", "metrics/mAP50(B)"),
        ("mAP50-95", "metrics/mAP50-95(B)"),
        ("top-1", "metrics/accuracy_top1"),
        ("top-5", "metrics/accuracy_top5"),
    )
    return ", ".join(f"{label} {_metric(epoch.metrics[key])}" for label, key in wanted if key in epoch.metrics)


def _metric(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else number_text(value)


def _judge_loss(epoch: EpochView, before: EpochView | None, beat: Heartbeat | None, limits: ReportLimits) -> Judged:
    losses = epoch.losses if epoch.finished else (beat.losses if beat else {})
    if not losses:
        return Judged(criterion=Criterion.LOSS, mark=Mark.UNKNOWN, detail="no loss reported yet")
    total = sum(losses.values())
    if not math.isfinite(total):
        return Judged(criterion=Criterion.LOSS, mark=Mark.FAILED, detail="not finite")
    jump = _largest_jump(epoch)
    if jump is not None and jump > limits.loss_jump_factor:
        detail = f"{total:.3f}, with a stretch at {jump:.1f} times the median (limit {limits.loss_jump_factor:g})"
        return Judged(criterion=Criterion.LOSS, mark=Mark.WARNING, detail=detail)
    previous = before.total_loss if before else None
    if before is None or previous is None or not math.isfinite(previous) or previous == 0:
        return _without_earlier(epoch, total)
    change_pct = 100 * (total - previous) / abs(previous)
    detail = f"{previous:.3f} to {total:.3f} ({change_pct:+.1f} %)"
    if change_pct < 0:
        return Judged(criterion=Criterion.LOSS, mark=Mark.DONE, detail=detail)
    mark = Mark.WARNING if change_pct <= limits.loss_rise_pct or not epoch.finished else Mark.FAILED
    return Judged(criterion=Criterion.LOSS, mark=mark, detail=detail)


def _without_earlier(epoch: EpochView, total: float) -> Judged:
    """The first epoch is compared with itself: its last third against its first."""
    rows = [loss for _, loss in epoch.series if math.isfinite(loss)]
    third = len(rows) // 3
    if third == 0:
        return Judged(criterion=Criterion.LOSS, mark=Mark.UNKNOWN, detail=f"{total:.3f}, no earlier epoch to compare")
    first, last = sum(rows[:third]) / third, sum(rows[-third:]) / third
    detail = f"{first:.3f} to {last:.3f} within the epoch"
    return Judged(criterion=Criterion.LOSS, mark=Mark.DONE if last < first else Mark.WARNING, detail=detail)


def _largest_jump(epoch: EpochView) -> float | None:
    """Largest mean loss of a stretch that follows a lower one, over the median; None with too few stretches."""
    rows = [loss for _, loss in epoch.series if math.isfinite(loss)]
    middle = median(rows) if len(rows) >= 5 else 0.0
    if middle <= 0:
        return None
    return max((after / middle for before, after in pairwise(rows) if after > before), default=None)


def epoch_fields(epoch: EpochView) -> tuple[tuple[str, str], ...]:
    """Duration, losses and checkpoint of a finished epoch; a criterion of its own tells its metrics."""
    fields = []
    if epoch.seconds is not None:
        fields.append(("Took", duration(epoch.seconds)))
    if epoch.losses:
        fields.append(("Mean loss", losses_text(epoch.losses)))
    if epoch.checkpoint:
        fields.append(("Checkpoint", f"{epoch.checkpoint.verdict}, {PurePath(epoch.checkpoint.file).name}"))
    return tuple(fields)
