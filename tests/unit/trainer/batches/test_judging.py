"""Which losses are judged: those that the training loop goes backward from, however the model is set."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.unit.trainer.batches.test_batch_guard import INF, NAN, Net, good_batch
from trainmaster.trainer.batches import judging
from trainmaster.trainer.batches.batch_guard import BatchGuard
from trainmaster.trainer.batches.batchnorm import BatchNormStatistics
from trainmaster.trainer.batches.judging import Judging
from trainmaster.trainer.batches.outcomes import Remark, StateHealed, WeightsLeapt
from trainmaster.trainer.batches.own_numbers import OwnNumbers
from trainmaster.trainer.batches.progress import RunningLoss
from trainmaster.trainer.batches.step_guard import StepGuard
from trainmaster.trainer.batches.weight_watch import WeightWatch


class Scene:
    """A model whose losses are judged, and what is told of them."""

    def __init__(self, *, ranks: int = 1) -> None:
        self.model = Net()
        self.running = RunningLoss()
        self.verdicts: list[Any] = []
        self.told: list[Any] = []
        statistics = BatchNormStatistics(self.model)
        nothing: Any = SimpleNamespace(
            device=torch.device("cpu"),
            args=SimpleNamespace(multi_scale=0.0),
            window_open=False,
            world_size=ranks,
            epoch=0,
            ema=None,
            active=False,
            before_batch=lambda _: None,
            accumulates=lambda _: False,
            count=lambda **_: None,
            begin=lambda *_, **__: None,
            meets_the_model=lambda *_, **__: None,
            judged=self.verdicts.append,
            accepted=lambda _: None,
            failed=lambda *_: None,
            draw_again=lambda: nothing.undo(),  # noqa: PLW0108 - it is put there later
            spoil_statistics=lambda _: None,
            **dict.fromkeys(("open", "look", "loss_spoiler"), lambda: None),
        )
        self.judging = Judging(
            nothing,
            self.model,
            batches=BatchGuard(self.model, statistics, skip=True, agree=False, spikes=None),
            statistics=statistics,
            numbers=OwnNumbers(self.model),
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


@pytest.mark.parametrize("good_before", [False, True], ids=["the first batch", "a later one"])
def test_weights_that_a_run_begins_with_are_to_blame_for_its_first_batch(*, good_before: bool) -> None:
    scene = Scene()
    weights = WeightWatch(scene.model, None, torch.optim.SGD(scene.model.parameters()))
    scene.judging._weights = SimpleNamespace(look=lambda: None, beyond=weights.beyond)  # type: ignore[assignment]
    if good_before:
        scene.judging.before_batch(good_batch())
        scene.model.loss(good_batch())
    scene.model.layer.weight.data.mul_(1e7)

    scene.judging.before_batch(good_batch())
    scene.model.loss(good_batch())

    assert scene.verdicts[-1].reason == "batchnorm_spike"
    why = "weights are larger than anything that trains: layer.weight, and no batch is to blame for what comes of that"
    assert scene.told == ([] if good_before else [WeightsLeapt(why=why, hopeless=True)])


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


def test_a_loss_after_the_loop_has_taken_its_own_is_somebody_else_s_though_the_model_trains() -> None:
    """A step that looks at the batch once more makes one (SAM), and a callback that measures something."""
    scene = Scene()
    scene.judging.before_batch(good_batch())
    scene.model.loss(good_batch())
    scene.judging.loss_fresh, scene.judging.taken = False, True
    assert not torch.isfinite(scene.model.loss(bad_batch())[0]).all()
    assert [verdict.reason for verdict in scene.verdicts] == [None]
    assert not scene.judging.loss_fresh
    assert scene.running.count == 1


def test_a_loss_that_a_batch_is_prepared_with_is_none_of_the_loop_s() -> None:
    scene = Scene()
    with scene.judging.preparing(bad_batch()):
        loss, _ = scene.model.loss(bad_batch())
        loss.sum().backward()  # an adversary's way to its image
    assert not scene.verdicts
    scene.model.loss(bad_batch())
    assert [verdict.reason for verdict in scene.verdicts] == ["nonfinite_loss"]


class Criterion:
    """Of a scene's model: its losses are multiplied by what it holds, wherever that stands."""

    def __init__(self, scene: Scene) -> None:
        self.proj = torch.ones(2)
        self.gains = SimpleNamespace(box=7.5)
        self.classes = [1.0, 1]
        self.model = scene.model
        self.name = "of boxes"
        vars(scene.model)["criterion"] = self
        self._scene, self._own = scene, scene.model.__dict__["loss"]
        scene.judging._batches.maker._loss = self._loss

    def _loss(self, batch: dict[str, Any], preds: Any = None) -> Any:
        parts, items = type(self.model).loss(self.model, batch, preds)
        factor = self.proj.mean() * float(self.gains.box) * float(self.classes[0]) * float(self.classes[1])
        return parts * factor, {name: value * factor for name, value in items.items()}

    def train(self, batch: dict[str, Any]) -> float:
        self._scene.judging.before_batch(batch)
        return float(self._own(batch)[0].detach().sum())

    @property
    def numbers(self) -> list[Any]:
        return [self.proj.tolist(), self.gains.box, self.classes]


WHOLE = [[1.0, 1.0], 7.5, [1.0, 1]]


@pytest.mark.parametrize("value", [NAN, 1e30, -1e30, 1e39, np.float32(NAN), np.float16("inf"), 10**40], ids=repr)
@pytest.mark.parametrize("place", ["tensor", "gain", "list", "whole number"])
def test_a_criterion_that_went_bad_is_put_right_and_costs_no_batch(place: str, value: Any) -> None:
    scene = Scene()
    criterion = Criterion(scene)
    batch = good_batch()
    good = criterion.train(batch)
    match place:
        case "tensor":
            criterion.proj[0] = min(float(value), 1e38)
        case "gain":
            criterion.gains.box = value
        case "list":
            criterion.classes[0] = value
        case "whole number":
            criterion.classes[1] = value
    assert criterion.train(batch) == good
    assert criterion.train(bad_batch()) == 0
    assert [verdict.reason for verdict in scene.verdicts] == [None, None, "nonfinite_loss"]
    assert scene.told == [StateHealed(what="criterion", tensors=1)]
    assert criterion.numbers == WHOLE


def test_all_that_went_bad_in_a_criterion_is_put_right_at_once() -> None:
    scene = Scene()
    criterion = Criterion(scene)
    criterion.train(good_batch())
    criterion.proj[0], criterion.gains.box = NAN, NAN
    criterion.train(good_batch())
    criterion.train(bad_batch())
    assert [verdict.reason for verdict in scene.verdicts] == [None, None, "nonfinite_loss"]
    assert scene.told == [StateHealed(what="criterion", tensors=2)]
    assert criterion.numbers == WHOLE


@pytest.mark.parametrize("gain", [0.0, 15.0, -7.5, 1e6, 5e8])
def test_a_gain_that_somebody_may_have_changed_is_left_alone(gain: float) -> None:
    scene = Scene()
    criterion = Criterion(scene)
    criterion.train(good_batch())
    criterion.gains.box = gain
    criterion.train(good_batch())
    criterion.train(bad_batch())
    assert criterion.gains.box == gain
    assert not scene.told


def test_a_leap_that_is_not_to_blame_is_given_back_and_one_that_the_batch_makes_is_not() -> None:
    scene = Scene()
    criterion = Criterion(scene)
    criterion.train(good_batch())
    criterion.gains.box = 1e30
    criterion.train(bad_batch())
    assert criterion.gains.box == 1e30
    assert not scene.told
    criterion.train(good_batch())
    assert criterion.gains.box == 7.5

    def spoils(batch: dict[str, Any], preds: Any = None) -> Any:
        criterion.gains.box = 1e30
        return criterion._loss(batch, preds)

    scene.judging._batches.maker._loss = spoils
    assert criterion.train(good_batch()) == 0
    assert criterion.gains.box == 7.5


@pytest.mark.parametrize("value", [NAN, 1e30])
@pytest.mark.parametrize("place", ["tensor", "gain"])
def test_what_a_batch_without_labels_hides_is_not_noted_as_good(place: str, value: float) -> None:
    scene = Scene()
    criterion = Criterion(scene)
    batch = good_batch()
    good = criterion.train(batch)
    loss, scene.judging._batches.maker._loss = (
        scene.judging._batches.maker._loss,
        type(scene.model).loss.__get__(scene.model),
    )
    if place == "tensor":
        criterion.proj[1] = value
    else:
        criterion.gains.box = value
    scene.judging._position.epoch = 1
    criterion.train(good_batch())
    scene.judging._batches.maker._loss = loss
    assert criterion.train(batch) == good
    assert scene.told == [StateHealed(what="criterion", tensors=1)]


@pytest.mark.parametrize("what", ["criterion", "gains", "tuple", "array"])
def test_what_stands_in_another_s_place_is_put_right_by_what_both_have(what: str) -> None:
    scene = Scene()
    criterion = Criterion(scene)
    vars(criterion).update(pair=(1.0, 1.0), weights=np.ones(2))
    batch = good_batch()
    good = criterion.train(batch)
    match what:
        case "criterion":
            criterion = Criterion(scene)
            vars(criterion).update(pair=(1.0, 1.0), weights=np.ones(2))
            criterion.proj = torch.tensor([NAN, 1.0])
        case "gains":
            criterion.gains = SimpleNamespace(box=NAN)
        case "tuple":
            vars(criterion)["pair"], criterion.gains.box = (1.0, NAN), NAN
        case "array":
            vars(criterion)["weights"][1], criterion.gains.box = NAN, NAN
    assert criterion.train(batch) == good
    assert criterion.numbers == WHOLE
    assert vars(criterion)["pair"] == (1.0, 1.0)
    assert vars(criterion)["weights"].tolist() == [1.0, 1.0]


def test_what_a_criterion_remembers_of_a_bad_batch_is_no_fault_of_it() -> None:
    scene = Scene()
    criterion = Criterion(scene)

    def remembers(batch: dict[str, Any], preds: Any = None) -> Any:
        made = criterion._loss(batch, preds)
        vars(criterion)["last"] = float(made[0].detach().sum())
        return made

    scene.judging._batches.maker._loss = remembers
    criterion.train(good_batch())
    criterion.train(bad_batch())
    assert [verdict.reason for verdict in scene.verdicts] == [None, "nonfinite_loss"]
    assert not scene.told


def test_a_criterion_is_finite_when_a_state_is_saved() -> None:
    scene = Scene()
    criterion = Criterion(scene)
    criterion.train(good_batch())
    scene.judging.heal_numbers()
    assert not scene.told
    criterion.proj[0], criterion.gains.box = NAN, 1e30
    scene.judging.heal_numbers()
    assert scene.told == [StateHealed(what="criterion", tensors=1)]
    assert criterion.numbers == [[1.0, 1.0], 1e30, [1.0, 1]]  # a batch will tell of the leap


@pytest.mark.parametrize(
    ("setting", "value"), [("eps", NAN), ("eps", 1e18), ("momentum", INF), ("momentum", -3.0)], ids=str
)
def test_a_setting_of_a_module_that_none_can_be_is_put_right_before_a_batch_is_lost_or_a_state_saved(
    setting: str, value: float
) -> None:
    scene = Scene()
    for epoch in range(2):
        scene.judging.before_batch(good_batch())
        scene.model.__dict__["loss"](good_batch())
        scene.judging._position.epoch = epoch
    known = getattr(scene.model.norm, setting)
    setattr(scene.model.norm, setting, value)
    scene.judging.before_batch(good_batch())
    scene.model.__dict__["loss"](good_batch())
    scene.judging.heal_numbers()
    assert [verdict.reason for verdict in scene.verdicts] == [None] * 3
    assert scene.told == [StateHealed(what="model", tensors=1)]
    assert getattr(scene.model.norm, setting) == known


@pytest.mark.parametrize(("value", "reason"), [(NAN, "nonfinite_loss"), (1e30, "loss_spike")])
def test_of_several_ranks_a_criterion_is_put_right_for_the_next_batch(
    monkeypatch: pytest.MonkeyPatch, value: float, reason: str
) -> None:
    monkeypatch.setattr(judging, "of_all", lambda own: [own, own])
    scene = Scene(ranks=2)
    criterion = Criterion(scene)
    batch = good_batch()
    scene.judging._batches.cadence_agreed = 3
    good = criterion.train(batch)
    criterion.gains.box = value
    assert criterion.train(good_batch()) == 0
    assert criterion.train(batch) == good
    assert [verdict.reason for verdict in scene.verdicts] == [None, reason, None]
    assert scene.told == [StateHealed(what="criterion", tensors=1)]
    assert scene.judging._trainer.accumulate == 3  # as in the first rank


def test_an_absurd_loss_of_a_whole_criterion_is_no_fault_of_it() -> None:
    scene = Scene()
    criterion = Criterion(scene)
    criterion.gains.box = 1e12
    criterion.train(good_batch())
    criterion.train(good_batch())
    assert [verdict.reason for verdict in scene.verdicts] == [None, None]
    assert criterion.gains.box == 1e12


def test_a_loss_made_elsewhere_is_shown_as_the_loop_reckons_it_and_told_once() -> None:
    scene = Scene()
    scene.judging.passed_by({"box": torch.tensor(2.0), "cls": 1.0})
    scene.judging.passed_by({"box": torch.tensor(NAN), "cls": 3.0})
    assert scene.running.as_floats() == {"box": 2.0, "cls": 3.0}
    assert [type(one) for one in scene.told] == [Remark]


def test_a_running_mean_that_a_callback_sets_is_no_loss_made_elsewhere() -> None:
    scene = Scene()
    guard: Any = object.__new__(StepGuard)
    guard._judging = scene.judging
    batch = good_batch()
    scene.judging.before_batch(batch)
    scene.model.__dict__["loss"](batch)
    guard.loss_was_taken({"box": 1.0})
    shown = scene.running.as_floats()
    for mean in ({"box": torch.tensor(NAN)}, NAN, None):
        guard.loss_was_taken(mean)
    assert scene.running.as_floats() == shown
    assert not scene.told
    scene.judging.before_batch(batch)
    guard.loss_was_taken({"box": 2.0})
    assert scene.running.as_floats()["box"] == 2.0
    assert [type(one) for one in scene.told] == [Remark]


def test_statistics_put_right_for_a_batch_let_it_draw_what_it_drew() -> None:
    scene = Scene()
    drawn: list[int] = []
    scene.judging._batches.draw_again = lambda: drawn.append(len(scene.verdicts))
    scene.judging.before_batch(good_batch())
    scene.model.loss(good_batch())
    next(scene.model.buffers())[0] = NAN
    scene.judging.before_batch(good_batch())
    scene.model.loss(good_batch())
    assert drawn == [1]
    assert [verdict.statistics_healed for verdict in scene.verdicts] == [0, 1]
