"""A resume under another Ultralytics: the same model is told of, another one refused before anything moves."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import ultralytics
from ultralytics.nn.tasks import DetectionModel

from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.contract import RunLayout
from trainmaster.trainer.engines import installed
from trainmaster.trainer.state.same import model as same_model
from trainmaster.trainer.state.same.model import require_same_model

NOW = ultralytics.__version__


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    model = DetectionModel("yolo11n.yaml", verbose=False)
    return {"task": "detect", "model_yaml": dict(model.yaml), "model": model.state_dict()}


@pytest.fixture
def state(made: dict[str, Any]) -> dict[str, Any]:
    return {**made, "model_yaml": copy.deepcopy(made["model_yaml"]), "model": dict(made["model"])}


@pytest.fixture
def layout(tmp_path: Path) -> RunLayout:
    layout = RunLayout(tmp_path / "night")
    layout.guard.mkdir(parents=True)
    trained_by(layout, "trainmaster.trainer.guard:GuardedDetectionTrainer")
    return layout


def trained_by(layout: RunLayout, trainer_class: str) -> None:
    layout.run_json.write_text(json.dumps({"trainer_class": trainer_class}), encoding="utf-8")


def test_the_same_version_that_makes_the_same_model_is_told_nothing(layout: RunLayout, state: dict[str, Any]) -> None:
    assert require_same_model(layout, {**state, "ultralytics": NOW}) is None


def test_another_model_of_the_same_version_is_refused_with_the_file_that_was_edited(
    layout: RunLayout, state: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = replace(installed.look(), num_files=2, edited=("ultralytics/nn/tasks.py",), gone=())
    monkeypatch.setattr(installed, "look", lambda: found)
    state["model"][next(iter(state["model"]))] = torch.zeros(1, 2)
    with pytest.raises(ArgumentsError, match=r"tasks\.py was edited\): 1 of \d+ tensors have another shape") as refused:
        require_same_model(layout, {**state, "ultralytics": NOW})
    assert f"pip install --force-reinstall --no-deps ultralytics=={NOW}" in refused.value.hint


@pytest.mark.parametrize(
    ("changes", "asked"),
    [
        pytest.param({}, False, id="as-published"),
        pytest.param({"edited": ("a.py",)}, True, id="edited"),
        pytest.param({"gone": ("a.py",)}, True, id="gone"),
        pytest.param({"num_files": 0}, True, id="nobody-knows"),
    ],
)
def test_a_large_model_is_built_only_where_something_may_be_other(
    layout: RunLayout, state: dict[str, Any], monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], asked: bool
) -> None:
    monkeypatch.setattr(same_model, "SMALL_NUM_VALUES", 1_000)
    as_published = replace(installed.look(), num_files=2, edited=(), gone=())
    monkeypatch.setattr(installed, "look", lambda: replace(as_published, **changes))
    name = next(iter(state["model"]))
    other = {**state, "model": {**state["model"], name: torch.zeros(1, 2)}, "ultralytics": NOW}
    if asked:
        with pytest.raises(ArgumentsError, match="another shape"):
            require_same_model(layout, other)
    else:
        assert require_same_model(layout, other) is None


def test_another_version_that_makes_the_same_model_is_told(layout: RunLayout, state: dict[str, Any]) -> None:
    note = require_same_model(layout, {**state, "ultralytics": "8.3.230"})
    assert note == f"Ultralytics is {NOW} now and was 8.3.230 when this state was saved"


def test_a_state_that_does_not_know_its_version_is_compared_all_the_same(
    layout: RunLayout, state: dict[str, Any]
) -> None:
    assert require_same_model(layout, state) is None
    state["model"].pop(next(iter(state["model"])))
    with pytest.raises(ArgumentsError, match="1 are new"):
        require_same_model(layout, state)


def test_another_shape_is_refused_with_the_tensor_and_the_version_to_install(
    layout: RunLayout, state: dict[str, Any]
) -> None:
    name = next(iter(state["model"]))
    state["model"][name] = torch.zeros(1, 2)
    with pytest.raises(ArgumentsError) as refused:
        require_same_model(layout, {**state, "ultralytics": "8.4.100"})
    assert f"1 of {len(state['model'])} tensors have another shape, such as {name}: (16, 3, 3, 3), was (1, 2)" in (
        refused.value.message
    )
    assert f"can't be resumed under Ultralytics {NOW}" in refused.value.message
    assert "pip install ultralytics==8.4.100" in refused.value.hint


def test_a_recipe_that_can_t_be_built_is_refused(layout: RunLayout, state: dict[str, Any]) -> None:
    state["model_yaml"]["head"] = [[-1, 1, "GoneModule", [64]]]
    with pytest.raises(ArgumentsError, match="can't build its recipe"):
        require_same_model(layout, state)


def test_a_user_s_own_trainer_may_make_any_model(layout: RunLayout, state: dict[str, Any]) -> None:
    trained_by(layout, "mine:GuardedDetectionTrainer")
    assert require_same_model(layout, {**state, "model": {}}) is None


def test_asking_changes_no_random_state(layout: RunLayout, state: dict[str, Any]) -> None:
    before = torch.get_rng_state()
    require_same_model(layout, state)
    assert torch.equal(before, torch.get_rng_state())
