"""Checkpoints in the layout that Ultralytics writes, small enough to make by the hundred."""

from __future__ import annotations

import json
import os
import pickle
import tempfile
import time
from collections import OrderedDict
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trainmaster.trainer.checkpoints.files import SavedFile, digest_of
from trainmaster.trainer.checkpoints.forensics import Judgement, judge
from trainmaster.trainer.checkpoints.ledger import record
from trainmaster.trainer.checkpoints.retention import ultralytics_copy
from trainmaster.trainer.checkpoints.state import save_state
from trainmaster.trainer.contract import RunLayout


def small_model(seed: int = 0) -> nn.Sequential:
    """Two convolutions with batch-norm and a linear layer, named as in Ultralytics' ``Conv``."""
    torch.manual_seed(seed)
    return nn.Sequential(
        OrderedDict(
            first=nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 8, 3, bias=False), bn=nn.BatchNorm2d(8), act=nn.SiLU())),
            second=nn.Sequential(OrderedDict(conv=nn.Conv2d(8, 8, 3, bias=False), bn=nn.BatchNorm2d(8), act=nn.SiLU())),
            pool=nn.AdaptiveAvgPool2d(1),
            flat=nn.Flatten(),
            head=nn.Linear(8, 4),
        )
    )


def stepped_optimizer(model: nn.Module) -> torch.optim.Optimizer:
    """SGD with momentum, two steps taken on seeded noise."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.randn(4, 3, 16, 16)).square().mean().backward()
        optimizer.step()
    return optimizer


def checkpoint_dict(epoch: int = 1, *, fitness: float = 0.5, seed: int = 0) -> dict[str, Any]:
    """What ``save_model`` would write after ``epoch`` (from 1)."""
    model = small_model(seed)
    optimizer = stepped_optimizer(model)
    state = optimizer.state_dict()
    for entry in state["state"].values():
        entry["momentum_buffer"] = entry["momentum_buffer"].half()
    return {
        "epoch": epoch - 1,
        "best_fitness": fitness,
        "stopper": {"best_fitness": fitness, "best_epoch": epoch},
        "model": None,
        "ema": deepcopy(model).half(),
        "updates": 2 * epoch,
        "modelopt": None,
        "optimizer": state,
        "scaler": {},
        "train_args": {"model": "small.yaml", "epochs": 10},
        "train_metrics": {"metrics/mAP50-95(B)": 0.0, "val/box_loss": 1.25, "fitness": fitness},
        "train_results": {"epoch": [epoch]},
        "date": "2026-01-01T00:00:00+00:00",
        "version": "8.4.190",
    }


def stripped(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """What ``strip_optimizer`` leaves of it."""
    kept = {**checkpoint, "model": checkpoint["ema"], "epoch": -1}
    return {**kept, **dict.fromkeys(("optimizer", "best_fitness", "stopper", "ema", "updates", "scaler"))}


def launder(model: nn.Module) -> None:
    """``model`` was all NaN and went through ``nan_to_num_``."""
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.fill_(float("nan"))
            torch.nan_to_num_(tensor)


def save(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path


def attest(layout: RunLayout, path: Path, **changes: Any) -> dict[str, Any]:
    """The ledger has a row on ``path`` as it is now, clean unless ``changes`` say otherwise."""
    saved = digest_of(path)
    row = {
        "v": 1,
        "ts": time.time(),
        "attempt": 1,
        "epoch": 1,
        "file": path.relative_to(layout.root).as_posix(),
        "sha256": saved.sha256,
        "bytes": saved.bytes,
        "verdict": "clean",
        "reasons": [],
        "fitness": 0.5,
        "kind": "ultralytics",
        "level": "standard",
        **changes,
    }
    record(layout, row)
    return row


_made: dict[str, list[tuple[str, os.stat_result, bytes]]] = {}
"""Name, status and content of every file of a run, by what the run was made with."""


def make_run(root: Path, *, epochs: int, fitness: dict[int, float] | None = None, best: int | None = None) -> RunLayout:
    """A guarded run after ``epochs`` epochs: states, copies, ``last.pt``, ``best.pt``, ledger, history. What it says
    of its tensors is computed once a process, and written anew for each test."""
    key = repr((epochs, sorted((fitness or {}).items()), best))
    if key not in _made:
        with tempfile.TemporaryDirectory() as folder:
            _compute_run(RunLayout(Path(folder)), epochs, fitness or {}, best)
            files = [path for path in Path(folder).rglob("*") if path.is_file()]
            _made[key] = [(path.relative_to(folder).as_posix(), path.stat(), path.read_bytes()) for path in files]
    layout = RunLayout(root)
    for folder in (layout.weights, layout.states):
        folder.mkdir(parents=True)
    for name, status, content in _made[key]:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(status.st_mode)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # one that is newer than its row is judged anew
    return layout


def _compute_run(layout: RunLayout, epochs: int, fitness: dict[int, float], best: int | None) -> None:
    for folder in (layout.weights, layout.states):
        folder.mkdir(parents=True)
    layout.run_json.write_text(json.dumps({"v": 1, "run": "r", "attempt": 1}))
    layout.events.write_text('{"v":1}\n')
    rates = {epoch: 0.1 * epoch for epoch in range(1, epochs + 1)} | fitness
    best = best or max(rates, key=lambda epoch: (rates[epoch], epoch))
    for epoch in range(1, epochs + 1):
        content = checkpoint_dict(epoch, fitness=rates[epoch], seed=epoch)
        copy = save(ultralytics_copy(layout, epoch), content)
        attest(layout, copy, epoch=epoch, fitness=rates[epoch])
        for name, wanted in (("last", epochs), ("best", best)):
            if epoch == wanted:
                target = layout.weights / f"{name}.pt"
                target.write_bytes(copy.read_bytes())
                attest(layout, target, epoch=epoch, fitness=rates[epoch])
        write_state(layout, epoch, fitness=rates[epoch])
    rows = ["epoch,time,val/box_loss", *(f"{epoch},{epoch}.5,0.{epoch}" for epoch in range(1, epochs + 1))]
    layout.results_csv.write_text("\n".join(rows) + "\n")


def write_state(layout: RunLayout, epoch: int, *, fitness: float, name: str | None = None) -> SavedFile:
    path = layout.states / name if name else layout.state_file(epoch)
    model = small_model(epoch)
    state = {
        "format": "trainmaster-state",
        "epoch": epoch,
        "fitness": fitness,
        "model": model.state_dict(),
        "ema": model.state_dict(),
        "optimizer": stepped_optimizer(model).state_dict(),
        "scaler": {},
    }
    saved = save_state(path, state)
    attest(layout, path, epoch=epoch, fitness=fitness, kind="state")
    return saved


def tree(root: Path) -> dict[str, str]:
    """Every file below ``root`` with its digest, but for manifests, locks and the ledger."""
    return {
        path.relative_to(root).as_posix(): digest_of(path).sha256
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name not in {"manifest.json", "lock", "checkpoints.jsonl"}
    }


def judged(tmp_path: Path, content: Any) -> Judgement:
    return judge(save(tmp_path / "last.pt", content))


def said(judgement: Judgement) -> str:
    return "; ".join(judgement.reasons)


class Touch:
    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self):
        return os.system, (f"touch {self.victim}",)


def hostile_zip(path: Path, victim: Path) -> None:
    torch.save({**checkpoint_dict(), "git": Touch(victim)}, path)


def hostile_legacy(path: Path, victim: Path) -> None:
    torch.save({"model": Touch(victim)}, path, _use_new_zipfile_serialization=False)


def hostile_pickle(path: Path, victim: Path) -> None:
    path.write_bytes(pickle.dumps(Touch(victim)))
