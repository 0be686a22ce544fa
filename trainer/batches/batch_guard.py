"""Decides on a batch where its loss is made: one read of the device, before the backward pass."""

from __future__ import annotations

import math
import types
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import distributed, nn

from trainmaster.trainer.batches.batchnorm import BatchNormStatistics
from trainmaster.trainer.batches.labels import bad_labels, num_classes_of, without_bad_labels
from trainmaster.trainer.contract import SkipReason


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchVerdict:
    """What is known of a batch once its loss is there. ``reason`` is None for a good one."""

    reason: SkipReason | None
    loss: float
    losses: dict[str, float]
    labels_bad: bool = False
    statistics_healed: int = 0
    """Batch-norm tensors that were not finite before the forward pass, put back for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BadBatch:
    """A batch that was judged bad, for the record. ``epoch`` and ``index`` count from 0."""

    epoch: int
    index: int
    reason: SkipReason
    action: str
    verdict: BatchVerdict | None
    grad_norm: float | None
    worst: list[tuple[str, float]]
    batch: dict[str, Any]
    rng: dict[str, Any]
    by_association: bool = False
    """Lost with its accumulation window, in which the bad one could not be found."""


class LossSeam:
    """Stands in for ``loss`` on the live model *instance*, and for nothing else.

    A copy of the model (the EMA is one) and a pickle of it (a callback may save one) have their own class's ``loss``
    back, so that nothing of the guard ever reaches a checkpoint.
    """

    def __init__(self, model: nn.Module, guarded_loss: Callable[..., Any]) -> None:
        self._model = model
        self._guarded_loss = guarded_loss

    def __call__(self, batch: dict[str, Any], preds: Any = None) -> Any:
        """The guarded loss of ``batch``."""
        return self._guarded_loss(batch, preds)

    def _state_without(self) -> dict[str, Any]:
        state: dict[str, Any] = type(self._model).__getstate__(self._model)  # type: ignore[attr-defined]  # since 3.11
        return {name: value for name, value in state.items() if name not in _SEAM_NAMES}

    @classmethod
    def attach(cls, model: nn.Module, guarded_loss: Callable[..., Any]) -> None:
        """Losses of ``model`` are made by ``guarded_loss(batch, preds)``."""
        seam = cls(model, guarded_loss)
        model.__dict__.update(zip(_SEAM_NAMES, (seam, seam._state_without), strict=True))

    @staticmethod
    def detach(model: nn.Module) -> None:
        """``model`` is as its class made it."""
        for name in _SEAM_NAMES:
            model.__dict__.pop(name, None)


_SEAM_NAMES: Final = ("loss", "__getstate__")
"""What a seam puts on a model. Copying and pickling both ask the instance for its state (``object.__reduce_ex__``)."""


class BatchGuard:
    """The loss of the live model, judged.

    A bad batch gives a zero loss that is connected to nothing: its backward pass adds nothing to the gradients that
    the good micro-batches before it have left, and the batch-norm statistics are put back.
    """

    def __init__(
        self, model: nn.Module, statistics: BatchNormStatistics, *, skip: bool, agree: bool, spikes: SpikeWatch | None
    ) -> None:
        self._model = model
        self._stock_loss = types.MethodType(type(model).loss, model)
        self._loss: Callable[..., Any] = self._stock_loss
        self._inside = False
        self._num_classes = num_classes_of(model)
        self._statistics = statistics
        self._skip = skip
        self._agree = agree
        self._spikes = spikes
        self._items: dict[str, torch.Tensor] = {}
        self.host_items: dict[str, torch.Tensor] = {}
        """Losses of the last good batch, 0-dim float32 on the CPU."""
        self.stop_wanted: Callable[[], bool] = bool
        self.stop_agreed = False
        """Whether any rank was asked to stop; all ranks learn it at the same batch."""

    def placeholder(self) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """A loss whose backward pass changes no gradient, and items of the right names and device."""
        parameter = next(self._model.parameters())
        if self._agree:  # DDP waits for the gradient of every parameter, so a disconnected loss would hang it
            zero = sum((p.sum() * 0.0 for p in self._model.parameters() if p.requires_grad), parameter.new_zeros(()))
        else:
            zero = torch.zeros((), device=parameter.device, requires_grad=True)
        return zero, {name: torch.zeros_like(value) for name, value in self._items.items()}

    def know(self, names: tuple[str, ...]) -> None:
        """Names of the losses before the first batch tells them: a resumed run begins with placeholders."""
        device = next(self._model.parameters()).device
        self._items = {name: torch.zeros((), device=device) for name in names}

    @property
    def inside(self) -> bool:
        """Whether a loss is being made: one asked for within is that of a loss which wraps ours."""
        return self._inside

    def use(self, own_loss: Callable[..., Any]) -> None:
        """``own_loss(batch, preds)`` makes the losses to judge: somebody put it on the model in place of its own."""
        self._loss = own_loss

    def raw_loss(self, batch: dict[str, Any], preds: Any = None) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The model's own loss, unjudged."""
        if self._inside:
            return self._stock_loss(batch, preds)
        self._inside = True
        try:
            return self._loss(batch, preds)
        finally:
            self._inside = False

    def judge(
        self,
        batch: dict[str, Any],
        preds: Any = None,
        *,
        before: torch.Tensor | None = None,
        labels_bad: bool = False,
        spoil: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> tuple[tuple[torch.Tensor, dict[str, torch.Tensor]], BatchVerdict]:
        """What the training loop gets as loss, and the verdict. ``spoil`` changes the loss first, for a drill.

        ``before`` is the statistics' flag from before the forward pass: when they were bad already, the batch is not
        to blame, and runs again on statistics that are good.
        """
        if self._skip and (labels_bad or bad_labels(batch, self._num_classes)):
            labels_bad, batch = True, without_bad_labels(batch, self._num_classes)
        loss, items = self._made(batch, preds, spoil)
        verdict = self._verdict(loss, before, labels_bad=labels_bad)
        if verdict is None:
            del loss, items
            num_healed = max(self._statistics.heal(), 1)
            loss, items = self._made(batch, None, spoil)
            verdict = self._verdict(loss, None, labels_bad=labels_bad)
            assert verdict is not None
            verdict = replace(verdict, statistics_healed=num_healed)
        if verdict.reason is None or not self._skip:
            self._statistics.accept()
            return (loss, items), verdict
        self._statistics.restore()
        return self.placeholder(), verdict

    def _made(
        self, batch: dict[str, Any], preds: Any, spoil: Callable[[torch.Tensor], torch.Tensor] | None
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        loss, items = self.raw_loss(batch, preds)
        self._items = {name: value.detach() for name, value in items.items()}
        return (loss if spoil is None else spoil(loss)), items

    @torch.no_grad()
    def _verdict(self, loss: torch.Tensor, before: torch.Tensor | None, *, labels_bad: bool) -> BatchVerdict | None:
        """None when the statistics were bad before the forward pass."""
        now = self._statistics.flag()
        parts = [loss.detach().sum(), *self._items.values(), now, now if before is None else before]
        host = torch.stack([part.reshape(()).float() for part in parts]).cpu()
        *values, flag, flag_before = host.tolist()
        if before is not None and self._skip and not self._agree and not math.isfinite(flag_before):
            return None
        total = values[0]
        host_items = dict(zip(self._items, host[1:-2], strict=True))
        reason = self._reason(values, flag, labels_bad=labels_bad)
        if self._agree:
            reason, total, self.stop_agreed = _agreed(reason, total, self.stop_wanted(), loss.device)
        if reason is None and self._spikes is not None and self._spikes.is_spike(total):
            reason = SkipReason.LOSS_SPIKE
        if reason is None or not self._skip:
            self.host_items = host_items
        losses = dict(zip(self._items, values[1:], strict=True))
        return BatchVerdict(reason=reason, loss=total, losses=losses, labels_bad=labels_bad)

    @staticmethod
    def _reason(losses: list[float], flag: float, *, labels_bad: bool) -> SkipReason | None:
        if labels_bad or not all(map(math.isfinite, losses)):
            return SkipReason.NONFINITE_LOSS
        if math.isfinite(flag):
            return None
        return SkipReason.NONFINITE_BATCHNORM if math.isnan(flag) else SkipReason.BATCHNORM_SPIKE


class SpikeWatch:
    """Loss spikes by median and median absolute deviation of the last good losses, which one wild value cannot move.

    ``factor`` robust standard deviations above the median, and at least ``ratio`` times it: a converged loss that
    hardly varies makes a small deviation look large. After ``level_after`` in a row it is no spike but a new level
    (mosaic was closed, say), and the watch starts over.
    """

    def __init__(
        self, *, window: int = 256, least: int = 64, factor: float = 12.0, ratio: float = 4.0, level_after: int = 4
    ) -> None:
        self._level_after = level_after
        self._run = 0
        self._recent: deque[float] = deque(maxlen=window)
        self._least = least
        self._factor = factor
        self._ratio = ratio
        self._limit = math.inf
        self._age = 0

    def is_spike(self, loss: float) -> bool:
        """Whether ``loss`` is far out of line; only losses that are not are remembered."""
        if not math.isfinite(loss):
            return False
        if loss > self._limit:
            self._run += 1
            if self._run < self._level_after:
                return True
            self._recent.clear()
            self._limit = math.inf
        self._run = 0
        self._recent.append(loss)
        self._age += 1
        if len(self._recent) >= self._least and (self._limit == math.inf or self._age >= 16):
            self._limit, self._age = self._new_limit(), 0
        return False

    def _new_limit(self) -> float:
        ordered = sorted(self._recent)
        median = ordered[len(ordered) // 2]
        deviation = sorted(abs(value - median) for value in ordered)[len(ordered) // 2]
        return max(median + self._factor * 1.4826 * deviation, median * self._ratio)


@dataclass(frozen=True, slots=True, kw_only=True)
class SkipLimit:
    """How many bad batches are put up with; see :class:`guard_settings.GuardSettings` for the reasons."""

    streak: int
    count: int
    window: int


class SkipBudget:
    """Counts bad batches and says when it is enough."""

    def __init__(self, limit: SkipLimit) -> None:
        self._limit = limit
        self._positions: deque[int] = deque()
        self._seen = 0
        self._spent = False
        self.streak = 0

    def batch_over(self) -> None:
        """The batch in work is over; it was a good one unless it was spent."""
        self._seen += 1
        if not self._spent:
            self.streak = 0
        self._spent = False

    def spend(self, *, batches_per_epoch: int) -> str | None:
        """One batch is lost; why to give up, or None."""
        self.streak += 1
        self._spent = True
        self._positions.append(self._seen)
        while self._positions and self._positions[0] <= self._seen - self._limit.window:
            self._positions.popleft()
        if self.streak >= self._limit.streak:
            return f"{self.streak} bad batches in a row; the limit is {self._limit.streak}"
        covered = min(self._seen + 1, self._limit.window)
        allowed = max(self._limit.count, 2 * math.ceil(covered / max(batches_per_epoch, 1)))
        if len(self._positions) > allowed:
            return f"{len(self._positions)} bad batches among the last {covered}; the limit is {allowed}"
        return None


_REASONS: Final = tuple(SkipReason)


def _agreed(
    reason: SkipReason | None, loss: float, stop: bool, device: torch.device
) -> tuple[SkipReason | None, float, bool]:
    """The gravest reason, the largest loss and any wish to stop of all ranks.

    Loss and statistics are local to a rank under DDP: without this, ranks would part ways.
    """
    code = 0.0 if reason is None else float(_REASONS.index(reason) + 1)
    shared = torch.tensor([code, loss if math.isfinite(loss) else -math.inf, float(stop)], device=device)
    distributed.all_reduce(shared, op=distributed.ReduceOp.MAX)
    code, largest, stop_any = shared.tolist()
    agreed = _REASONS[int(code) - 1] if code else None
    return agreed, (largest if agreed is None else loss), bool(stop_any)
