"""Which losses are judged: those that the training loop goes backward from, however the model is set."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.unit.trainer.batches.test_batch_guard import NAN, Net, good_batch
from trainmaster.trainer.batches.batch_guard import BatchGuard
from trainmaster.trainer.batches.batchnorm import BatchNormStatistics
from trainmaster.trainer.batches.judging import Judging
from trainmaster.trainer.batches.outcomes import Remark, StateHealed
from trainmaster.trainer.batches.progress import RunningLoss


class Scene:
    """A model whose losses are judged, and what is told of them."""

    def __init__(self) -> None:
        self.model = Net()
        self.running = RunningLoss()
        self.verdicts: list[Any] = []
        self.told: list[Any] = []
        statistics = BatchNormStatistics(self.model)
        nothing: Any = SimpleNamespace(
            device=torch.device("cpu"),
            args=SimpleNamespace(multi_scale=0.0),
            window_open=False,
            world_size=1,
            epoch=0,
            active=False,
            before_batch=lambda _: None,
            accumulates=lambda _: False,
            open=lambda: None,
            begin=lambda *_, **__: None,
            meets_the_model=lambda _: None,
            judged=self.verdicts.append,
            accepted=lambda _: None,
            failed=lambda *_: None,
            draw_again=lambda: None,
            look=lambda: None,
            spoil_statistics=lambda _: None,
            loss_spoiler=lambda: None,
        )
        self.judging = Judging(
            nothing,
            self.model,
            batches=BatchGuard(self.model, statistics, skip=True, agree=False, spikes=None),
            statistics=statistics,
            weights=nothing,
            work=nothing,
            window=nothing,
            rerun=nothing,
            position=nothing,
            running=self.running,
            drill=nothing,
            skip=True,
            emit=self.told.append,
        )
        self.judging.attach()


def bad_batch() -> dict[str, Any]:
    batch = good_batch()
    batch["img"][0, 0] = NAN
    return batch


@pytest.mark.parametrize("training", [True, False], ids=["", "batch norm stays as it is"])
def test_a_bad_batch_is_skipped_in_either_mode(training: bool) -> None:
    scene = Scene()
    scene.model.train(training)
    batch = bad_batch()
    scene.judging.before_batch(batch)
    loss, _ = scene.model.loss(batch)
    assert float(loss.detach()) == 0
    assert [verdict.reason for verdict in scene.verdicts] == ["nonfinite_loss"]
    assert scene.judging.loss_fresh


def test_a_loss_that_a_callback_evaluates_is_none_of_the_loop_s() -> None:
    scene = Scene()
    batch = good_batch()
    scene.judging.before_batch(batch)
    scene.model.eval()
    with torch.no_grad():
        scene.model.loss(bad_batch())
    scene.model.loss(batch)
    scene.model.loss(bad_batch())  # the loop's is made
    assert [verdict.reason for verdict in scene.verdicts] == [None]


def test_a_criterion_that_went_bad_is_put_right_and_costs_no_batch() -> None:
    scene = Scene()
    criterion = SimpleNamespace(proj=torch.ones(2), gains=SimpleNamespace(box=7.5), model=scene.model, name="of boxes")
    vars(scene.model)["criterion"] = criterion
    own = scene.model.__dict__["loss"]
    plain = type(scene.model).loss

    class WithCriterion(Net):
        def loss(self, batch: dict[str, Any], preds: Any = None) -> Any:
            parts, items = plain(self, batch, preds)
            factor = criterion.proj.mean() * criterion.gains.box
            return parts * factor, {name: value * factor for name, value in items.items()}

    scene.judging._batches.maker._loss = WithCriterion.loss.__get__(scene.model)
    for spoiled in (False, True):
        if spoiled:
            criterion.proj[0], criterion.gains.box = NAN, NAN
        batch = good_batch()
        scene.judging.before_batch(batch)
        own(batch)
    own(bad_batch())
    assert [verdict.reason for verdict in scene.verdicts] == [None, None, "nonfinite_loss"]
    assert scene.told == [StateHealed(what="criterion", tensors=2)]
    assert (criterion.proj.tolist(), criterion.gains.box) == ([1.0, 1.0], 7.5)


def test_a_loss_made_elsewhere_is_shown_as_the_loop_reckons_it_and_told_once() -> None:
    scene = Scene()
    scene.judging.passed_by({"box": torch.tensor(2.0), "cls": 1.0})
    scene.judging.passed_by({"box": torch.tensor(NAN), "cls": 3.0})
    assert scene.running.as_floats() == {"box": 2.0, "cls": 3.0}
    assert [type(one) for one in scene.told] == [Remark]
