"""Two ranks on one machine: what one of them sees, both act on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.forked import TORCH, Nursery, nursery

RANK = """
import json, os, sys
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from tests.unit.trainer.batches.test_batch_guard import Net
from trainmaster.trainer.batches.agreement import joined
from trainmaster.trainer.batches.batch_guard import BatchGuard
from trainmaster.trainer.batches.batchnorm import BatchNormStatistics
from trainmaster.trainer.batches.loss_seam import LossSeam

rank, file = int(os.environ["RANK"]), sys.argv[1]
distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
torch.manual_seed(0)

class Trained(Net):
    def forward(self, x):
        return self.loss(x) if isinstance(x, dict) else super().forward(x)

model = Trained()
wrapped = DistributedDataParallel(model, find_unused_parameters=True, broadcast_buffers=False)
statistics = BatchNormStatistics(model)
guard = BatchGuard(model, statistics, skip=True, agree=True, spikes=None)
guard.stop_wanted = lambda: rank == 1 and number == 3
guard.cadence = lambda: 0 if rank else 2
seen = []

def judged(batch, preds=None):
    outcome, verdict = guard.judge(batch, preds)
    seen.append([verdict.reason, guard.stop_agreed])
    return outcome

LossSeam.attach(model, judged)
norms = []
for number in range(4):
    torch.manual_seed(10 * number + rank)
    images = torch.randn(4, 3)
    if (number, rank) in {(1, 0), (2, 1)}:
        images[0, 0] = float("nan")
    model.zero_grad()
    loss, _ = wrapped({"img": images})
    loss.sum().backward()
    norms.append([float(p.grad.norm()) for p in model.parameters()])
found = {"seen": seen, "norms": norms, "mean": model.norm.running_mean.isfinite().all().item()}
found["cadence"] = guard.cadence_agreed

# As with compile=True: the loop asks for predictions, and then for a loss.
class Compiled(Net):
    def loss(self, batch, preds=None):
        return preds.square().sum(), {"square": preds.detach().square().sum()}

compiled = Compiled()
wrapped = DistributedDataParallel(compiled, static_graph=True, broadcast_buffers=False)
guard = BatchGuard(compiled, BatchNormStatistics(compiled), skip=True, agree=True, spikes=None)
guard.join = lambda zero: joined(wrapped, zero)
norms = []
for number in range(4):
    torch.manual_seed(10 * number + rank)
    images = torch.randn(4, 3)
    if (number, rank) == (1, 1):
        images[0, 0] = float("nan")
    compiled.zero_grad()
    if number:
        preds = wrapped(images)
        loss = guard.judge({"img": images}, preds)[0][0]
    else:
        loss = guard.placeholder(ran=False)[0]
    loss.sum().backward()
    norms.append([p.grad is not None and float(p.grad.norm()) for p in compiled.parameters()])
print(json.dumps(found | {"compiled": norms}))
distributed.destroy_process_group()
"""


WINDOW = """
import json, os, sys
from types import SimpleNamespace
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from tests.unit.trainer.batches.test_batch_guard import Net
from trainmaster.trainer.batches.batchnorm import BatchNormStatistics
from trainmaster.trainer.batches.gradients import Gradients
from trainmaster.trainer.batches.own_numbers import OwnNumbers
from trainmaster.trainer.batches.window import MicroBatch, Rerun, Window

rank, file = int(os.environ["RANK"]), sys.argv[1]
distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
torch.manual_seed(0)

class Trained(Net):
    def forward(self, x):
        return self.loss(x) if isinstance(x, dict) else super().forward(x)

model = Trained()
wrapped = DistributedDataParallel(model, find_unused_parameters=True)
statistics = BatchNormStatistics(model)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
gradients = Gradients(model, optimizer)
args, device = SimpleNamespace(amp=False), torch.device("cpu")
trainer = SimpleNamespace(model=wrapped, optimizer=optimizer, world_size=2, amp=False, device=device, args=args)

def micro(index, bad):
    torch.manual_seed(10 * index + rank)
    images = torch.randn(4, 3)
    if [rank, index] == bad:
        images[0, 0] = 1e25  # the gradients stay finite, this rank's batch-norm variance does not
    return MicroBatch(epoch=0, index=index, batch={"img": images}, drawn_from=None, is_prepared=True)

def found(bad):
    window = Window(cut=False)
    statistics.start_window()
    micros = [micro(index, bad) for index in range(4)]
    measure = lambda: gradients.measure(statistics.flag(), states=False)
    search = Rerun(trainer, statistics, OwnNumbers(model), window).search(micros, measure)
    finite = model.norm.running_var.isfinite().all().item()
    norms = [float(p.grad.norm()) for p in model.parameters()]
    culprits = [one.index for one in search.culprits]
    return {"culprits": culprits, "over": search.is_over, "norms": norms, "finite": finite}

print(json.dumps([found([1, 2]), found([0, 1]), found(None)]))
distributed.destroy_process_group()
"""
SPIKES = """
import json, os, sys
import torch
from torch import distributed

from tests.unit.trainer.batches.test_batch_guard import Net
from trainmaster.trainer.batches.batch_guard import BatchGuard
from trainmaster.trainer.batches.batchnorm import BatchNormStatistics
from trainmaster.trainer.batches import spikes

spikes.LEAST = 8

class Plain(Net):
    def loss(self, batch, preds=None):
        value = (self.layer(torch.ones(3)) * 0).sum() + batch["img"].sum()
        return value, {"square": value.detach()}

rank, file = int(os.environ["RANK"]), sys.argv[1]
distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)

def judged(spike_of):
    model = Plain()
    guard = BatchGuard(model, BatchNormStatistics(model), skip=True, agree=True, spikes=spikes.SpikeWatch())
    seen = []
    for number in range(24):
        loss = 1.0 + 0.01 * ((number * 7 + rank) % 5)
        if number == 20 and rank in spike_of:
            loss = 50.0
        if number == 12 and rank == 1:
            loss = float("nan")
        verdict = guard.judge({"img": torch.tensor([loss])})[1]
        if verdict.reason:
            seen.append([number, verdict.reason, verdict.is_own])
    return seen

print(json.dumps([judged([1]), judged([0, 1]), judged([])]))
distributed.destroy_process_group()
"""


@pytest.fixture(scope="module")
def forks() -> Iterator[Nursery]:
    with nursery(*TORCH, "tests.unit.trainer.batches.test_batch_guard", "trainmaster.trainer.batches.window") as made:
        yield made


def told(forks: Nursery, script: str, folder: Path) -> tuple[Any, Any]:
    """What each of two ranks that run ``script`` prints last."""
    ranks = forks.two_ranks(script, str(folder / "meeting"), folder=folder / "said")
    assert [rank.code for rank in ranks] == [0, 0], ranks
    left, right = (json.loads(rank.output.splitlines()[-1]) for rank in ranks)
    return left, right


@pytest.mark.training
def test_both_ranks_skip_what_one_of_them_cannot_use_and_stop_together(forks: Nursery, tmp_path: Path) -> None:
    left, right = told(forks, RANK, tmp_path)

    assert left["seen"] == right["seen"]
    assert left["seen"] == [[None, False], ["nonfinite_loss", False], ["nonfinite_loss", False], [None, True]]
    assert left["norms"] == right["norms"]
    assert all(norm == 0 for skipped in left["norms"][1:3] for norm in skipped)
    assert all(norm > 0 for norm in left["norms"][3][:1])
    assert left["mean"]
    assert right["mean"]
    assert (left["cadence"], right["cadence"]) == (2, 2)
    # DDP sums no gradient any more where the first backward pass of a static graph is none of the model's.
    assert left["compiled"] == right["compiled"]
    assert [all(norm is False for norm in left["compiled"][0]), any(left["compiled"][1])] == [True, False]
    assert any(left["compiled"][2])
    assert any(left["compiled"][3])


@pytest.mark.training
def test_a_window_run_again_has_the_same_culprits_in_both_ranks(forks: Nursery, tmp_path: Path) -> None:
    left, right = told(forks, WINDOW, tmp_path)
    assert left == right
    assert [one["culprits"] for one in left] == [[2], [1], []]
    assert all(one["over"] and one["finite"] for one in left)


@pytest.mark.training
def test_a_loss_spike_of_one_rank_is_skipped_by_both_and_is_its_own(forks: Nursery, tmp_path: Path) -> None:
    left, right = told(forks, SPIKES, tmp_path)
    bad = [12, "nonfinite_loss"]
    assert left == [
        [[*bad, False], [20, "loss_spike", False]],
        [[*bad, False], [20, "loss_spike", True]],
        [[*bad, False]],
    ]
    assert right == [[[*bad, True], [20, "loss_spike", True]], [[*bad, True], [20, "loss_spike", True]], [[*bad, True]]]
