"""Whether a resume goes on with what was known of the level of the loss."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from trainmaster.trainer.engines.protocol import EngineTrainer
from trainmaster.trainer.state.full_state import spikes_of

KNOWN = {"recent": [1.0], "limit": 4.0, "run": 0, "age": 0}
ARGS = {"batch": 16, "box": 7.5, "data": "digits.yaml", "workers": 8, "epochs": 3, "lr0": 0.01}


def found(*, ranks: int = 1, saved_ranks: int | None = 1, **changed: Any) -> dict[str, Any] | None:
    trainer = SimpleNamespace(world_size=ranks, args=SimpleNamespace(**ARGS | changed))
    state = {"args": ARGS, "spikes": KNOWN} | ({} if saved_ranks is None else {"ranks": saved_ranks})
    return spikes_of(cast("EngineTrainer", trainer), state)


@pytest.mark.parametrize(
    "changed", [{}, {"workers": 0, "epochs": 9}, {"lr0": 0.001}, {"ranks": 0}, {"saved_ranks": None}]
)
def test_the_level_is_known_while_losses_are_made_as_before(changed: dict[str, Any]) -> None:
    assert found(**changed) == KNOWN


@pytest.mark.parametrize(
    "changed", [{"batch": 64}, {"box": 30.0}, {"data": "other.yaml"}, {"ranks": 4}, {"saved_ranks": 4}]
)
def test_a_loss_of_another_scale_is_learned_anew_and_is_no_spike(changed: dict[str, Any]) -> None:
    assert found(**changed) is None


def test_an_older_state_knows_no_level() -> None:
    trainer = SimpleNamespace(world_size=1, args=SimpleNamespace(**ARGS))
    assert spikes_of(cast("EngineTrainer", trainer), {"args": ARGS}) is None
