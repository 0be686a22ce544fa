"""What replays of a bad batch say when not each of them can be made."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from trainmaster.trainer.batches.batch_guard import BatchVerdict
from trainmaster.trainer.batches.outcomes import FailedBatch
from trainmaster.trainer.batches.second_look import Again
from trainmaster.trainer.contract import SkipReason
from trainmaster.trainer.incidents.replays import Replayed, marked, replayed, with_single_precision

GOOD = Again(loss=1.0, losses_finite=True, statistics=0.0, gradients_finite=None)
BAD = Again(loss=float("nan"), losses_finite=False, statistics=0.0, gradients_finite=None)
NO_MEMORY = torch.OutOfMemoryError("CUDA out of memory")
VERDICT = BatchVerdict(reason=SkipReason.NONFINITE_LOSS, loss=float("nan"), losses={})


def shown(*passes: Again | Exception, verdict: BatchVerdict | None = VERDICT) -> Replayed:
    coming = iter(passes)

    def again(*_: Any, **__: Any) -> Again:
        one = next(coming)
        if isinstance(one, Exception):
            raise one
        return one

    look: Any = SimpleNamespace(without_trace=nullcontext, again=again)
    trainer: Any = SimpleNamespace(model=nn.Linear(1, 1), world_size=1, device=torch.device("cpu"), amp=False)
    trainer.args = SimpleNamespace(amp=False)
    bad = FailedBatch(
        epoch=0,
        index=0,
        reason=SkipReason.NONFINITE_LOSS,
        action="skipped",
        verdict=verdict,
        grad_norm=None,
        worst=[],
        batch={},
        rng={},
        num_steps=0,
        look=look,
    )
    return replayed(bad, trainer)


@pytest.mark.parametrize(
    ("passes", "verdict", "was_bad"),
    [
        ((BAD, BAD), "deterministic", (True, True)),
        ((GOOD, BAD), "not_reproducible", (False, True)),
        ((GOOD, NO_MEMORY), "not_reproducible", (False,)),
        ((BAD, NO_MEMORY), None, (True,)),
        ((NO_MEMORY,), None, ()),
    ],
    ids=["both bad", "one bad", "good, then no memory", "bad, then no memory", "no memory"],
)
def test_one_good_replay_acquits_and_a_bad_one_alone_convicts_nobody(
    passes: tuple[Again | Exception, ...], verdict: str | None, was_bad: tuple[bool, ...]
) -> None:
    found = shown(*passes)
    assert (found.verdict, found.bad) == (verdict, was_bad)
    assert (found.left_out is not None) == any(isinstance(one, Exception) for one in passes)


def test_a_batch_whose_loss_is_made_elsewhere_is_not_replayed_by_another() -> None:
    found = shown(GOOD, GOOD, verdict=None)
    assert (found.verdict, found.left_out) == (None, "its loss was made elsewhere than in the model's method loss")


@pytest.mark.parametrize(
    ("trained_in", "finite", "labels_bad", "verdict"),
    [
        ("float16", True, False, "overflow"),
        ("float16", True, True, "deterministic"),
        ("float16", False, False, "deterministic"),
        ("float16", None, False, "deterministic"),
        ("float32", True, False, "deterministic"),
    ],
    ids=["finite in single precision", "but without its bad labels", "bad there too", "not known", "trained there"],
)
def test_an_overflow_is_what_single_precision_mends(
    trained_in: str, finite: bool | None, labels_bad: bool, verdict: str
) -> None:
    found = with_single_precision(shown(BAD, BAD), trained_in, finite, labels_bad=labels_bad)
    assert found.verdict == verdict


def test_a_batch_whose_replay_ended_the_trainer_is_not_run_again_at_each_resume(tmp_path: Path) -> None:
    mark, batch = tmp_path / "replaying.json", {"epoch": 3, "batch": 7}
    with marked(mark, batch) as may:
        assert may
        left = mark.read_bytes()
    assert not mark.exists(), "what ended in order may run again"
    mark.write_bytes(left)  # as a kill leaves it
    with marked(mark, {"epoch": 3, "batch": 8}) as may:
        assert may, "another one may"
    mark.write_bytes(left)
    with marked(mark, batch) as may:
        assert not may
    with marked(mark, batch) as may:
        assert may, "it is told once"
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_takes_no_mark_keeps_no_batch_from_running_again(tmp_path: Path) -> None:
    with marked(tmp_path / "gone" / "replaying.json", {"epoch": 1, "batch": 1}) as may:
        assert may
