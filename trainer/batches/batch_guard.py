"""Decides on a batch where its loss is made: one read of the device, before the backward pass."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import nn

from trainmaster.trainer.batches.agreement import any_rank
from trainmaster.trainer.batches.batchnorm import BatchNormStatistics
from trainmaster.trainer.batches.labels import bad_labels, num_classes_of, without_bad_labels
from trainmaster.trainer.batches.loss_seam import Loss, LossMaker
from trainmaster.trainer.batches.spikes import SpikeWatch
from trainmaster.trainer.contract import SkipReason
from trainmaster.trainer.engines.loss_form import LossForm

ABSURD: Final = 1e9
"""What neither a loss nor a number that it is multiplied by comes near; Ultralytics' losses stay below a million."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchVerdict:
    """What is known of a batch once its loss is there. ``reason`` is None for a good one."""

    reason: SkipReason | None
    loss: float
    losses: dict[str, float]
    labels_bad: bool = False
    is_own: bool = True
    """Whether it was this rank's part of the batch that was bad, and not another's."""
    statistics_healed: int = 0
    """Batch-norm tensors that were not finite before the forward pass, put back for it."""


class BatchGuard:
    """The loss of the live model, judged.

    A bad batch gives a zero loss that is connected to nothing: its backward pass adds nothing to the gradients that
    the good micro-batches before it have left, and the batch-norm statistics are put back.
    """

    def __init__(
        self,
        model: nn.Module,
        statistics: BatchNormStatistics,
        *,
        skip: bool,
        agree: bool,
        spikes: SpikeWatch | None,
        form: LossForm | None = None,
    ) -> None:
        self._model = model
        self.maker = LossMaker(model, form)
        self._num_classes = num_classes_of(model)
        self._statistics = statistics
        self._skip = skip
        self._agree = agree
        self._spikes = spikes
        self._spikes_without_objects = copy.deepcopy(spikes)
        """Of batches that hold no object: their losses have a level of their own, far below."""
        self._items: dict[str, torch.Tensor] = {}
        self.host_items: dict[str, torch.Tensor] = {}
        """Losses of the last good batch, 0-dim float32 on the CPU."""
        self.stop_wanted: Callable[[], bool] = bool
        self.doubted: Callable[[], bool] = bool
        """Asked of a loss that is finite and absurd: whether it was made with what nobody can have meant."""
        self.draw_again: Callable[[], None] = lambda: None
        """Called before a batch runs again in place of itself: it draws what it drew."""
        self.stop_agreed = False
        """Whether any rank was asked to stop; all ranks learn it at the same batch."""
        self.break_wanted: Callable[[], bool] = bool
        """Asked where there are ranks: whether somebody wants this one's loop to end its epoch here."""
        self.break_agreed = False
        """Whether that is so in any rank."""
        self.join: Callable[[torch.Tensor], torch.Tensor] = lambda zero: zero
        """Asked where there are ranks: for a zero whose backward pass DDP counts as one of the model."""
        self.settings: Callable[[], int] = int
        """Asked where there are ranks: a number of what a step is taken with, below 2**24."""
        self.same_settings = True
        """Whether all ranks take the step with the same."""
        self.cadence: Callable[[], float] = float
        """Asked where there are ranks: after how many batches the first of them steps; 0 in the others."""
        self.cadence_agreed = 0
        """What the first has said; 0 where there is but one."""

    def placeholder(self, *, ran: bool = True) -> Loss:
        """A loss whose backward pass changes no gradient, and items of the right names and device. ``ran``: whether the
        model did, so that DDP waits for the gradient of every parameter; a disconnected loss would hang it."""
        parameter = next(self._model.parameters())
        if self._agree and ran:
            zero = sum((p.sum() * 0.0 for p in self._model.parameters() if p.requires_grad), parameter.new_zeros(()))
            zero = self.join(zero)
        else:
            zero = torch.zeros((), device=parameter.device, requires_grad=True)
        return zero, {name: torch.zeros_like(value) for name, value in self._items.items()}

    @property
    def loss_names(self) -> tuple[str, ...]:
        """Names of the losses, as far as they are known."""
        return tuple(self._items)

    def know(self, names: tuple[str, ...]) -> None:
        """Names of the losses before the first batch tells them: a resumed run begins with placeholders."""
        device = next(self._model.parameters()).device
        self._items = {name: torch.zeros((), device=device) for name in names}

    def judge(
        self,
        batch: dict[str, Any],
        preds: Any = None,
        *,
        before: torch.Tensor | None = None,
        labels_bad: bool = False,
        spoil: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> tuple[Loss, BatchVerdict]:
        """What the training loop gets as loss, and the verdict. ``spoil`` changes the loss first, for a drill.

        ``before`` is the statistics' flag from before the forward pass: when they were bad already, the batch is not
        to blame, and runs again on statistics that are good.
        """
        if self._skip and (labels_bad or bad_labels(batch, self._num_classes)):
            labels_bad, batch = True, without_bad_labels(batch, self._num_classes)
        loss, items = self._made(batch, preds, spoil)
        holds_objects = not _is_empty(batch.get("cls"))
        verdict = self._verdict(loss, before, labels_bad=labels_bad, holds_objects=holds_objects)
        if verdict is None:
            del loss, items
            num_healed = max(self._statistics.heal(), 1)
            self.draw_again()
            loss, items = self._made(batch, None, spoil)
            verdict = self._verdict(loss, None, labels_bad=labels_bad, holds_objects=holds_objects)
            assert verdict is not None
            verdict = replace(verdict, statistics_healed=num_healed)
        if verdict.reason is None or not self._skip:
            self._statistics.accept()
            return (loss, items), verdict
        self._statistics.restore()
        return self.placeholder(), verdict

    def _made(self, batch: dict[str, Any], preds: Any, spoil: Callable[[torch.Tensor], torch.Tensor] | None) -> Loss:
        loss, items = self.maker.raw(batch, preds)
        self._items = {name: value.detach() for name, value in items.items()}
        return (loss if spoil is None else spoil(loss)), items

    @property
    def spikes(self) -> dict[str, Any] | None:
        """What is known of the level of the loss, for a saved state; None where spikes are left alone."""
        if self._spikes is None or self._spikes_without_objects is None:
            return None
        return {**self._spikes.as_record(), _WITHOUT_OBJECTS: self._spikes_without_objects.as_record()}

    def know_spikes(self, record: Mapping[str, Any] | None) -> None:
        """Go on from :attr:`spikes`; an older trainer saved none, or made no difference by objects."""
        if self._spikes is None or self._spikes_without_objects is None or not record:
            return
        self._spikes.load(record)
        if _WITHOUT_OBJECTS in record:
            self._spikes_without_objects.load(record[_WITHOUT_OBJECTS])

    @torch.no_grad()
    def _verdict(
        self, loss: torch.Tensor, before: torch.Tensor | None, *, labels_bad: bool, holds_objects: bool
    ) -> BatchVerdict | None:
        """None when the statistics were bad before the forward pass."""
        now = self._statistics.flag()
        parts = [loss.detach().sum(), *self._items.values(), now, now if before is None else before]
        host = torch.stack([part.reshape(()).float() for part in parts]).cpu()
        *values, flag, flag_before = host.tolist()
        if before is not None and self._skip and not self._agree and not math.isfinite(flag_before):
            return None
        total = values[0]
        host_items = dict(zip(self._items, host[1:-2], strict=True))
        reason = own = self._reason(values, flag, labels_bad=labels_bad)
        if self._skip and reason is None and abs(total) > ABSURD and self.doubted():
            reason = own = SkipReason.LOSS_SPIKE
        if self._agree:
            number = self.settings()
            wishes = (self.stop_wanted(), self.break_wanted(), number, -number, holds_objects, self.cadence())
            reason, total, shared = _agreed(reason, total, wishes, loss.device)
            self.stop_agreed, self.break_agreed = bool(shared[0]), bool(shared[1])
            self.same_settings, holds_objects = shared[2] == -shared[3], bool(shared[4])
            self.cadence_agreed = math.ceil(shared[5])
        spikes = self._spikes if holds_objects else self._spikes_without_objects
        if reason is None and spikes is not None and spikes.is_spike(total):
            reason = SkipReason.LOSS_SPIKE
            own = reason if values[0] >= total else None
        if reason is None or not self._skip:
            self.host_items = host_items
        losses = dict(zip(self._items, values[1:], strict=True))
        is_own = own is not None or reason is None
        return BatchVerdict(reason=reason, loss=values[0], losses=losses, labels_bad=labels_bad, is_own=is_own)

    @staticmethod
    def _reason(losses: list[float], flag: float, *, labels_bad: bool) -> SkipReason | None:
        if labels_bad or not all(map(math.isfinite, losses)):
            return SkipReason.NONFINITE_LOSS
        if math.isfinite(flag):
            return None
        return SkipReason.NONFINITE_BATCHNORM if math.isnan(flag) else SkipReason.BATCHNORM_SPIKE


_REASONS: Final = tuple(SkipReason)
_WITHOUT_OBJECTS: Final = "without_objects"


def _is_empty(classes: Any) -> bool:
    """Whether a batch holds no object; of one that says nothing of objects, that is not known."""
    return isinstance(classes, torch.Tensor) and not classes.numel()


def _agreed(
    reason: SkipReason | None, loss: float, wishes: tuple[float, ...], device: torch.device
) -> tuple[SkipReason | None, float, list[float]]:
    """The gravest reason, the largest loss and the largest of each of the ``wishes`` of all ranks.

    Loss and statistics are local to a rank under DDP: without this, ranks would part ways.
    """
    code = 0.0 if reason is None else float(_REASONS.index(reason) + 1)
    own = [code, loss if math.isfinite(loss) else -math.inf, *map(float, wishes)]
    code, largest, *most = any_rank(torch.tensor(own, device=device)).tolist()
    agreed = _REASONS[int(code) - 1] if code else None
    return agreed, (largest if agreed is None else loss), most
