"""Was it the card? A bad batch runs twice more at once: what is bad each time is in the data or the recipe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from torch import nn
from ultralytics.utils.torch_utils import unwrap_model

from trainmaster.trainer.batches import precision
from trainmaster.trainer.batches.outcomes import FailedBatch
from trainmaster.trainer.batches.second_look import Again
from trainmaster.trainer.contract import ReplayVerdict, SkipReason, read_json, replace_json
from trainmaster.trainer.engines.protocol import EngineTrainer

NUM_REPLAYS: Final = 2
"""One that is good proves that batch and weights are; a second tells a card that fails now and then from one that
failed once. Both together cost at most two steps."""
ENDED_THE_TRAINER: Final = "the trainer hung or ended while it ran again the last time; suspect the card or its driver"
SAME_SPIKE: Final = 0.01
"""Share of its loss by which a spike may differ when it comes again. Kernels that add in any order differ by a
hundred-thousandth; a loss that hardware made up is another number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What the replays of one incident showed: a verdict, or why there is none, or why it is of one replay."""

    verdict: ReplayVerdict | None = None
    left_out: str | None = None
    losses: tuple[float, ...] = ()
    bad: tuple[bool, ...] = ()

    def as_record(self) -> dict[str, Any]:
        """Keys of an incident's record."""
        return {
            "replay": self.verdict,
            "replay_left_out": self.left_out,
            "replay_losses": list(self.losses),
            "replay_bad": list(self.bad),
        }


@contextmanager
def marked(path: Path, batch: dict[str, int]) -> Iterator[bool]:
    """Whether ``batch`` may run again: not where ``path`` says that a trainer ended in the middle of that. What hangs
    or dies of it would do so at each resume."""
    ended_there = False
    with suppress(OSError):  # a full disk: nothing warns then
        ended_there = read_json(path) == batch
        if not ended_there:
            replace_json(path, dict(batch))
    try:
        yield not ended_there
    finally:
        with suppress(OSError):
            path.unlink()


def replayed(bad: FailedBatch, trainer: EngineTrainer) -> Replayed:
    """``bad`` ran twice more through the live weights, in the precision and with the draws of the first time.

    Of the training nothing changes: not its weights, gradients, optimizer, scaler, buffers or random generators. No
    other rank takes part: of gradients, which are summed over ranks, it tells of this one's part. A loss that was bad
    runs forward only; a gradient, forward and backward.
    """
    if (known := _known_without(bad, trainer)) is not None:
        return known
    backward = bad.reason is SkipReason.NONFINITE_GRADIENT
    again: list[Again] = []
    left_out = None
    try:
        for _ in range(NUM_REPLAYS):  # each without what the one before left in the batch-norm statistics
            with bad.look.without_trace(), precision.as_trained(trainer):
                again.append(bad.look.again(bad.batch, bad.rng, backward=backward))
    except Exception as error:  # noqa: BLE001 - no memory above all; a loss of the user's own may raise anything
        said = str(error).strip().partition("\n")[0]
        named = said if isinstance(error, RuntimeError) and said else repr(error).partition("\n")[0]
        left_out = f"it could not be run again: {named}"
    was_bad = tuple(_bad_again(bad, one) for one in again)
    losses = tuple(one.loss for one in again)
    if left_out is not None:  # a good one acquits, whatever became of the next
        verdict = None if all(was_bad) else ReplayVerdict.NOT_REPRODUCIBLE
        return Replayed(verdict=verdict, left_out=left_out, losses=losses, bad=was_bad)
    return Replayed(verdict=verdict_of(was_bad), losses=losses, bad=was_bad)


def verdict_of(bad: Sequence[bool]) -> ReplayVerdict:
    """What replays say that were ``bad`` or good: one good one is enough to acquit batch and weights."""
    return ReplayVerdict.DETERMINISTIC if all(bad) else ReplayVerdict.NOT_REPRODUCIBLE


def with_single_precision(
    found: Replayed, trained_in: str, finite: bool | None, *, labels_bad: bool = False
) -> Replayed:
    """``found``, of a batch that was ``trained_in`` a precision and is ``finite`` in single precision, if known.

    One with ``labels_bad`` ran without these in single precision: that it was finite acquits no label.
    """
    overflowed = (
        not labels_bad and found.verdict is ReplayVerdict.DETERMINISTIC and trained_in != "float32" and bool(finite)
    )
    if not overflowed:
        return found
    return Replayed(verdict=ReplayVerdict.OVERFLOW, losses=found.losses, bad=found.bad)


def _known_without(bad: FailedBatch, trainer: EngineTrainer) -> Replayed | None:
    """What needs no replay, or can have none."""
    if bad.action == "observed":
        return Replayed(left_out="level observe looks on")
    if bad.action == "recomputed":  # all of its accumulation window has run again, and was good
        return Replayed(verdict=ReplayVerdict.NOT_REPRODUCIBLE)
    if bad.by_association:
        return Replayed(left_out="it fell with its accumulation window; which batch was bad is not known")
    if bad.verdict is not None and bad.verdict.labels_bad:  # a label is the same number however often it is read
        return Replayed(verdict=ReplayVerdict.DETERMINISTIC)
    if bad.verdict is None:
        return Replayed(left_out="its loss was made elsewhere than in the model's method loss")
    if any(isinstance(module, nn.SyncBatchNorm) for module in unwrap_model(trainer.model).modules()):
        return Replayed(left_out="its batch-norm layers need every rank")
    return None


def _bad_again(bad: FailedBatch, again: Again) -> bool:
    then = bad.verdict.loss if bad.verdict is not None else None
    if bad.reason is SkipReason.LOSS_SPIKE and then is not None and again.sound:
        return abs(again.loss - then) <= SAME_SPIKE * abs(then)
    return not again.sound
