"""What one of two ranks finds at a step, both act on: their weights stay the same, and none waits for the other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.forked import TORCH, Nursery, nursery

pytestmark = pytest.mark.training

STEPS = """
import json, os, sys
from types import SimpleNamespace
import torch
from torch import distributed, nn
from torch.amp.grad_scaler import GradScaler

from trainmaster.trainer.batches.batchnorm import BatchNormStatistics
from trainmaster.trainer.batches.gradients import Gradients
from trainmaster.trainer.batches.stepping import Stepping
from trainmaster.trainer.batches.weight_watch import WeightWatch
from trainmaster.trainer.batches.window import Window

rank, file = int(os.environ["RANK"]), sys.argv[1]
distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
NAN = float("nan")

def stepped(spoil, *, skipped=False, gradient=0.5):
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    trainer = SimpleNamespace(
        model=model, optimizer=optimizer, scaler=GradScaler("cpu", enabled=False), ema=None,
        device=torch.device("cpu"), amp=False, world_size=2,
    )
    told, recovered = [], []
    nothing = SimpleNamespace(
        due=lambda _: True, spoil_gradients=lambda _: None, end_streak=lambda: None, count=lambda: False,
        mend_scale=lambda: False, failed=lambda *_, **__: None, is_judged=True, forget=lambda: None,
        recover=lambda *_: recovered.append(True),
    )
    window = Window(cut=False)
    stepping = Stepping(
        trainer, model, gradients=Gradients(model, optimizer), statistics=BatchNormStatistics(model), work=nothing,
        weights=WeightWatch(model, None, optimizer), recovery=nothing, overflows=nothing, position=nothing,
        drill=nothing, window=window, max_norm=10.0, skip=True,
        emit=lambda one: told.append(str(getattr(one, "why", one))),
    )
    def step(value):
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, value)
        stepping.step(None)
    step(0.25)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, gradient)
    window.count(skipped=skipped)
    if rank == 1:
        spoil(model, optimizer, stepping)
    before = [one.clone() for one in model.parameters()]
    stepping.step(None)
    steps = [float((one - old).detach().sum()) for one, old in zip(model.parameters(), before)]
    momenta = [float(state["momentum_buffer"].sum()) for state in optimizer.state.values()]
    return {"told": told, "recovered": len(recovered), "moved": any(steps), "momenta": momenta, "steps": steps}

def gradient(model, optimizer, stepping):
    model.weight.grad[0, 0] = NAN

def momentum(model, optimizer, stepping):
    optimizer.state[model.weight]["momentum_buffer"][0, 0] = NAN

def saved(model, optimizer, stepping):
    momentum(model, optimizer, stepping)
    stepping.sound()

def rate(model, optimizer, stepping):
    optimizer.param_groups[0]["lr"] = NAN

def replaced(model, optimizer, stepping):
    stepping.replaced = "the optimizer"

def looked(model, optimizer, stepping):
    model.weight.data[0, 0] = 1e30
    stepping.heal()  # before a validation, say, and nothing ends there

def parted(model, optimizer, stepping):
    for parameter in model.parameters():
        parameter.grad *= 1.5  # of this rank's batches alone, say

def nothing(model, optimizer, stepping):
    pass

found = {one.__name__: stepped(one) for one in (gradient, momentum, saved, rate, replaced, looked, parted, nothing)}
print(json.dumps(found | {"skipped": stepped(nothing, skipped=True, gradient=0.0)}))
distributed.destroy_process_group()
"""


@pytest.fixture(scope="module")
def forks() -> Iterator[Nursery]:
    with nursery(*TORCH, "trainmaster.trainer.batches.stepping") as made:
        yield made


def test_a_step_is_taken_left_out_or_the_last_in_both_ranks_alike(forks: Nursery, tmp_path: Path) -> None:
    ranks = forks.two_ranks(STEPS, str(tmp_path / "meeting"), folder=tmp_path / "said")
    assert [rank.code for rank in ranks] == [0, 0], ranks
    left, right = (json.loads(rank.output.splitlines()[-1]) for rank in ranks)
    healed = "StateHealed(what='optimizer', tensors=1)"
    assert [one["saved"].pop("told") for one in (left, right)] == [[healed], [healed] * 2]
    differ = "Remark(text='the ranks step with other gradients than each other, so their weights part ways')"
    assert [one.pop("parted")["told"] for one in (left, right)] == [[differ]] * 2
    assert left == right
    found: dict[str, Any] = left
    assert (found["gradient"]["recovered"], found["gradient"]["moved"]) == (1, False)
    assert found["momentum"] == {**found["nothing"], "told": [healed]}  # as if it had not been
    assert found["saved"] | {"told": []} == found["nothing"]
    for name, words in (
        ("rate", "in rank 1, the optimizer's lr is nan"),
        ("replaced", "in rank 1, the optimizer was"),
        ("looked", "in rank 1, "),
    ):
        (why,) = found[name]["told"]
        assert why.startswith(words)
        assert not found[name]["moved"]
    assert found["nothing"]["moved"]
    # Of a window whose every batch was skipped, ranks have zeros for gradients, and momentum would step with them.
    assert not found["skipped"]["moved"]
    assert found["skipped"]["told"] == []
