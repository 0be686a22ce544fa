"""The whole guarded trainer in two ranks: two processes on the CPU, joined by gloo.

Ultralytics launches ranks for CUDA devices only, so its launcher is left out: the ranks are started here the way it
starts them, and told that there are two of them.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.integration.trainer.runs import events
from tests.integration.trainer.test_exact import MULTI_SCALE
from trainmaster.trainer.checkpoints.files import digest_of
from trainmaster.trainer.checkpoints.state import load_state
from trainmaster.trainer.contract import ExitCode, RunLayout
from trainmaster.trainer.levels import resolve
from trainmaster.trainer.run.ranks import VARIABLE

pytestmark = pytest.mark.training

RANK = """
import json, os, signal, sys
if sys.argv[4] != "null":
    os.environ[sys.argv[5]] = sys.argv[4]
from torch import distributed, nn

plain = nn.parallel.DistributedDataParallel

class OnCpu(plain):
    def __init__(self, module, device_ids=None, **settings):
        super().__init__(module, **settings)

nn.parallel.DistributedDataParallel = OnCpu
from ultralytics.utils import RANK
from trainmaster import GuardedDetectionTrainer

overrides, faults, meeting = json.loads(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3]

class Rank(GuardedDetectionTrainer):
    def __init__(self, **settings):
        super().__init__(**settings)
        self.world_size = 2

    def _setup_ddp(self):
        distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=RANK, world_size=2)

    def preprocess_batch(self, batch):
        batch = super().preprocess_batch(batch)
        here = [RANK, self.guard.position.ni]
        if here == faults.get("nan"):
            batch["img"][0, 0, 0, 0] = float("nan")
        return batch

    def optimizer_step(self):
        super().optimizer_step()
        if [RANK, self.guard.position.ni] == faults.get("stop"):  # too late to agree on it in this batch
            os.kill(os.getpid(), signal.SIGTERM)

trainer = Rank(overrides=overrides)
try:
    trainer.train()
finally:
    print(json.dumps([trainer.guard.position.epoch, trainer.guard.position.done]), file=sys.__stdout__, flush=True)
    distributed.destroy_process_group()
"""


def trained(
    python: Path, overrides: dict[str, Any], meeting: Path, *, resumed: dict[str, Any] | None = None, **faults: Any
) -> tuple[list[int], list[str]]:
    """Exit codes, and where each rank ended."""
    words = (json.dumps(overrides), json.dumps(faults), str(meeting), json.dumps(resumed), VARIABLE)
    said = [meeting.with_suffix(f".{rank}.said") for rank in range(2)]
    ranks = [rank_of(python, words, number, path) for number, path in enumerate(said)]
    codes = [rank.wait(200) for rank in ranks]
    outputs = [path.read_text(errors="replace") for path in said]
    assert all(outputs), [path.with_suffix(".errors").read_text(errors="replace") for path in said]
    return codes, [output.splitlines()[-1] for output in outputs]


def rank_of(python: Path, words: tuple[str, ...], number: int, said: Path) -> subprocess.Popen[bytes]:
    """It is told what torch's launcher tells each of two."""
    told = {"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": "2"}
    with said.open("wb") as output, said.with_suffix(".errors").open("wb") as errors:
        return subprocess.Popen([python, "-c", RANK, *words], env={**os.environ, **told}, stdout=output, stderr=errors)


@pytest.mark.timeout(300)
def test_two_ranks_skip_and_stop_together_and_go_on_as_if_never_stopped(
    settings: Callable[..., dict[str, Any]], ready: Path, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"  # ranks are told where their run is, as Ultralytics tells them
    # Three batches each; a rank draws the sizes of its own.
    overrides = settings(
        batch=8, nbs=8, epochs=3, imgsz=64, exact=True, workers=0, multi_scale=MULTI_SCALE, save_dir=str(runs / "run")
    )
    codes, places = trained(ready, overrides, tmp_path / "first", nan=[1, 1], stop=[1, 3])
    assert codes == [ExitCode.STOPPED] * 2
    assert places == ["[1, 2]"] * 2
    layout = RunLayout(runs / "run")
    (bad,) = events(layout, "bad_batch")
    assert (bad["epoch"], bad["batch"], bad["action"]) == (1, 2, "skipped")

    path = layout.states / "stop.pt"
    state = load_state(path)
    rows = [asdict(row) for row in resolve(state["guard"]["level"], state["user"], state["args"])]
    chosen = {"path": str(path), "sha256": digest_of(path).sha256}
    launched = {
        "settings": state["guard"],
        "user": state["user"],
        "resumed": {**chosen, "warmup_from": 0, "finishing": False, "rows": rows},
    }
    again = {**state["args"], "resume": str(path), "save_dir": str(layout.root)}
    codes, _ = trained(ready, again, tmp_path / "second", resumed=launched)
    assert codes == [ExitCode.FINISHED] * 2

    whole = RunLayout(runs / "whole")
    trained(ready, {**overrides, "save_dir": str(whole.root)}, tmp_path / "third", nan=[1, 1])
    left, right = (load_state(one.state_file(3)) for one in (layout, whole))
    assert not [name for name, value in left["model"].items() if not torch.equal(value, right["model"][name])]
    assert not [name for name, value in left["ema"].items() if not torch.equal(value, right["ema"][name])]
    assert [event["from_epoch"] for event in events(layout, "run_started")] == [None, 2]
