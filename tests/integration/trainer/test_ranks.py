"""Two ranks on one machine: what one of them sees, both act on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

RANK = """
import json, sys
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from tests.unit.trainer.batches.test_batch_guard import Net
from trainmaster.trainer.batches.batch_guard import BatchGuard
from trainmaster.trainer.batches.batchnorm import BatchNormStatistics
from trainmaster.trainer.batches.loss_seam import LossSeam

rank, file = int(sys.argv[1]), sys.argv[2]
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
print(json.dumps({"seen": seen, "norms": norms, "mean": model.norm.running_mean.isfinite().all().item()}))
distributed.destroy_process_group()
"""


@pytest.mark.training
def test_both_ranks_skip_what_one_of_them_cannot_use_and_stop_together(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    ranks = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", RANK, str(rank), str(tmp_path / "meeting")],
            cwd=root,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [rank.communicate(timeout=90) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], outputs
    left, right = (json.loads(output.splitlines()[-1]) for output, _ in outputs)

    assert left["seen"] == right["seen"]
    assert left["seen"] == [[None, False], ["nonfinite_loss", False], ["nonfinite_loss", False], [None, True]]
    assert left["norms"] == right["norms"]
    assert all(norm == 0 for skipped in left["norms"][1:3] for norm in skipped)
    assert all(norm > 0 for norm in left["norms"][3][:1])
    assert left["mean"]
    assert right["mean"]
