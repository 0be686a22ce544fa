from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from trainmaster.trainer.checkpoints.state import load_state
from trainmaster.trainer.data.sampling import random_state
from trainmaster.trainer.incidents.incident_weights import Scenes, digests_of


def trainer_of(model: nn.Module) -> Any:
    return SimpleNamespace(model=model, args=SimpleNamespace(task="detect", amp=False), amp=False)


def folder(root: Path, name: str) -> str:
    (root / name).mkdir()
    return name


def test_a_scene_serves_every_incident_until_the_optimizer_steps(tmp_path: Path) -> None:
    model, scenes, rng = nn.Linear(2, 2), Scenes(tmp_path), random_state()
    first = scenes.keep(folder(tmp_path, "0001"), trainer_of(model), rng, steps=4)
    second = scenes.keep(folder(tmp_path, "0002"), trainer_of(model), rng, steps=4)
    third = scenes.keep(folder(tmp_path, "0003"), trainer_of(model), rng, steps=5)

    assert [kept["scene"] for kept in (first, second, third)] == ["0001", "0001", "0003"]
    assert torch.equal(load_state(tmp_path / "0001" / "scene.pt")["model"]["weight"], model.weight)
    assert torch.equal(load_state(tmp_path / "0002" / "rng.pt")["torch"], rng["torch"])


@pytest.mark.parametrize(
    ("limit", "value", "why"),
    [
        ("MAX_SCENES", 1, "the limit is 1"),
        ("MAX_SCENE_BYTES", 20, "would pass 20 bytes"),
        ("FREE_FACTOR", 10**15, "bytes are free"),
    ],
    ids=["number", "size", "disk"],
)
def test_a_scene_that_is_left_out_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int, why: str
) -> None:
    model = nn.Linear(2, 2)
    if limit == "MAX_SCENES":
        Scenes(tmp_path).keep(folder(tmp_path, "0001"), trainer_of(model), {}, steps=1)
    monkeypatch.setattr(f"trainmaster.trainer.incidents.incident_weights.{limit}", value)

    kept = Scenes(tmp_path).keep(folder(tmp_path, "0002"), trainer_of(model), {}, steps=2)

    assert kept["scene"] is None
    assert why in str(kept["scene_left_out"])
    assert not (tmp_path / "0002" / "scene.pt").exists()


def test_the_same_random_state_has_the_same_name() -> None:
    torch.manual_seed(1)
    before = random_state()
    torch.manual_seed(1)
    assert digests_of(random_state()) == digests_of(before)
    torch.rand(1)
    assert digests_of(random_state())["torch"] != digests_of(before)["torch"]
