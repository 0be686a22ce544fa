from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from trainmaster.trainer.batches import labels
from trainmaster.trainer.data.data_faults import LeftOut
from trainmaster.trainer.run import evaluation
from trainmaster.trainer.run.evaluation import Evaluation
from trainmaster.trainer.run.validation import Counted, sound_labels
from trainmaster.trainer.stop import StopRequested, StopSwitch


def test_labels_bound_for_a_device_are_looked_at_before_they_go(monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[torch.Tensor] = []
    read = labels._on_host
    monkeypatch.setattr(labels, "_on_host", lambda value: None if any(value is one for one in moved) else read(value))

    def to_device(batch: dict[str, Any]) -> dict[str, Any]:
        there = {key: value.clone() for key, value in batch.items()}
        moved.extend(there.values())
        return there

    validator = SimpleNamespace(preprocess=to_device)
    fine = {"img": torch.zeros(2, 3, 4, 4), "cls": torch.tensor([[0.0], [1.0]]), "batch_idx": torch.tensor([0.0, 1.0])}
    no_class = {**fine, "cls": torch.tensor([[0.0], [7.0]])}
    no_number = {**fine, "cls": torch.tensor([[math.nan], [1.0]])}
    found: list[bool] = []
    with sound_labels(validator, 2, coming=lambda _: None, found=found.append):
        num_labels = [len(validator.preprocess(batch)["cls"]) for batch in (fine, no_class, no_number)]
    assert found == [False, True, True]
    assert num_labels == [2, 1, 1]
    assert validator.preprocess is to_device


class Model(torch.nn.Module):
    """Whose loss is the number that a batch is."""

    def loss(self, batch: dict[str, Any], preds: Any = None) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        del preds
        return batch["img"], {"box_loss": batch["img"]}


def validated(losses: list[float], others: list[Any], monkeypatch: pytest.MonkeyPatch) -> tuple[float, Any]:
    """The mean loss of a validation whose batches have ``losses``, and who was told what."""
    model = Model()
    told = SimpleNamespace(num_bad_in_validation=0, notices=[], unreadable=[])
    told.notice = told.notices.append
    faults: Any = SimpleNamespace(batch=lambda *_, **__: None, taken=list, tell=told.unreadable.extend)
    monkeypatch.setattr(evaluation, "of_all", lambda own: [own, *others])
    trainer: Any = SimpleNamespace(
        world_size=1 + len(others),
        ema=SimpleNamespace(ema=model),
        validator=SimpleNamespace(preprocess=lambda batch: batch),
        loss_names=("box_loss",),
        label_loss_items=lambda items, prefix: {f"{prefix}/{name}": float(value) for name, value in items.items()},
    )

    def stock() -> tuple[dict[str, float], float]:
        added = [float(model.loss({"img": torch.tensor(loss)})[1]["box_loss"]) for loss in losses]
        return {"val/box_loss": sum(added) / len(added), "mAP": 0.5}, 0.5

    switch = StopSwitch(on_request=print, on_second=print)
    metrics, fitness = Evaluation(told, switch, faults).within_training(trainer, stock)
    assert (metrics["mAP"], fitness) == (0.5, 0.5)
    return metrics["val/box_loss"], told


NO_FILES: list[tuple[str, LeftOut]] = []


@pytest.mark.parametrize(
    ("losses", "others", "mean", "num_bad"),
    [
        ([1.0, 4.0], [], 2.5, 0),
        ([math.nan, 4.0, 2.0], [], 3.0, 1),
        ([4.0, math.nan, 2.0], [], 3.0, 1),
        ([4.0, 2.0], [(Counted(num_bad=2, sums={"box_loss": 0.0}), NO_FILES)], 3.0, 2),
        ([math.inf], [(Counted(num_good=2, sums={"box_loss": 5.0}), NO_FILES), (Counted(), NO_FILES)], 2.5, 1),
        ([math.nan], [], 0.0, 1),
    ],
    ids=["none bad", "the first", "amid", "all of another rank", "all of this rank", "all"],
)
def test_bad_validation_batches_of_any_rank_are_left_out_of_the_mean_and_counted(
    monkeypatch: pytest.MonkeyPatch, losses: list[float], others: list[Any], mean: float, num_bad: int
) -> None:
    found, told = validated(losses, others, monkeypatch)
    assert (found, told.num_bad_in_validation, len(told.notices)) == (pytest.approx(mean), num_bad, bool(num_bad))


def test_what_another_rank_could_not_read_while_it_validated_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = ("val_batch", LeftOut(file="a.png", why="gone"))
    _, told = validated([1.0], [(Counted(num_good=1, sums={"box_loss": 1.0}), [gone])], monkeypatch)
    assert told.unreadable == [gone]


@pytest.mark.parametrize("first", [True, False], ids=["first", "another"])
def test_a_stop_ends_the_validation_of_the_first_rank_and_with_it_that_of_all(
    monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    monkeypatch.setattr(evaluation.ranks, "IS_FIRST", first)
    switch = StopSwitch(on_request=print, on_second=print)
    switch.requested = "SIGTERM"
    trainer: Any = SimpleNamespace(ema=SimpleNamespace(ema=Model()), validator=None, world_size=2)
    ran: list[bool] = []
    faults: Any = SimpleNamespace(batch=lambda *_, **__: None)
    judged = Evaluation(SimpleNamespace(notice=print), switch, faults)
    if first:
        with pytest.raises(StopRequested):
            judged.final(trainer, lambda: ran.append(True))
    else:
        judged.final(trainer, lambda: ran.append(True))
    assert bool(ran) is not first


def gather(told: list[str]) -> Any:
    def gathered() -> None:
        told.append("gathered")

    return gathered


def fail() -> None:
    raise ValueError("own")


@pytest.mark.parametrize(
    ("fails", "other", "asked", "told"),
    [
        (None, None, [None], ["gathered"]),
        (None, "ValueError: x", [None], ["in rank 1, ValueError: x"]),
        ("before", None, ["ValueError: own"], ["ValueError: own"]),
        ("before", "ValueError: own", ["ValueError: own"], ["ValueError: own"]),
        ("after", None, [None], ["gathered", "ValueError: own"]),
    ],
    ids=["none", "another", "this one", "both", "this one, of what all have found"],
)
def test_a_final_evaluation_that_fails_in_one_rank_ends_that_of_all(
    monkeypatch: pytest.MonkeyPatch, fails: str | None, other: str | None, asked: list[Any], told: list[str]
) -> None:
    seen: list[Any] = []
    said: list[str] = []
    validator = SimpleNamespace(preprocess=print, gather_stats=gather(said))
    monkeypatch.setattr(evaluation, "of_all", lambda own: [seen.append(own) or own, other])
    trainer: Any = SimpleNamespace(ema=SimpleNamespace(ema=Model()), validator=validator, world_size=2)

    def stock() -> None:
        if fails == "before":
            fail()
        validator.gather_stats()
        if fails == "after":
            fail()

    reporter: Any = SimpleNamespace(notice=lambda text: said.append(text.partition("saved: ")[2]))
    faults: Any = SimpleNamespace(batch=lambda *_, **__: None)
    Evaluation(reporter, StopSwitch(on_request=print, on_second=print), faults).final(trainer, stock)
    assert seen == asked  # as often as the others ask: none waits in vain
    assert said == told
    validator.gather_stats()
    assert seen == asked
