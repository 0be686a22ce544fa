"""A training that is killed in mid-epoch and resumed ends with the bits of the one that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import torch
from ultralytics.models.yolo.detect import DetectionTrainer

from trainmaster.trainer.checkpoints.state import load_state
from trainmaster.trainer.contract import ExitCode, RunLayout
from trainmaster.trainer.selfcheck.made import BATCHES, differing, quiet, settings
from trainmaster.trainer.selfcheck.report import Row, Status, last_words
from trainmaster.trainer.selfcheck.spoiled import PLAN_VARIABLE, Spoil, SpoilPlan

EPOCHS: Final = 3
KILLED_AT: Final = BATCHES + 3
"""In the middle of the second epoch, from 0."""
TRAIN: Final = "import json, sys\nfrom trainmaster.trainer.selfcheck.spoiled import SpoiledTrainer\n\
SpoiledTrainer(overrides=json.loads(sys.argv[1])).train()\n"
TIMEOUT_S: Final = 60.0


def rows(part: str, folder: Path, device: str | None) -> Iterator[Row]:
    """One row for the kill, one for the bits."""
    common: dict[str, Any] = {"epochs": EPOCHS, "exact": True, "snapshot_s": 1e-4, "level": "guard"}
    whole, killed = folder / "runs" / "whole", folder / "runs" / "killed"
    undisturbed = _start(settings(folder, device, **common, name=whole.name), None)
    plan = SpoilPlan(fault=Spoil.KILL, batch=KILLED_AT)
    died = _start(settings(folder, device, **common, name=killed.name), plan)
    _, said = died.communicate(timeout=TIMEOUT_S)
    code = died.returncode
    yield Row(
        part=part,
        name="kill -9 in the middle of an epoch",
        status=Status.OK if code == -signal.SIGKILL else Status.FAILED,
        value=f"the training ended with code {code}",
        limit=str(-signal.SIGKILL),
        detail="" if code == -signal.SIGKILL else last_words(said.splitlines()),
    )
    resumed = subprocess.run(
        [sys.executable, "-P", "-m", "trainmaster.trainer", "resume", str(killed)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    yield _ended(part, "resume", resumed.returncode, resumed.stderr)
    _, said = undisturbed.communicate(timeout=TIMEOUT_S)
    if undisturbed.returncode:
        yield _ended(part, "the same training, not killed", undisturbed.returncode, said)
    elif resumed.returncode == ExitCode.FINISHED:
        yield _compared(part, folder, device, whole, killed)


def _ended(part: str, name: str, code: int, said: str) -> Row:
    good = code == ExitCode.FINISHED
    return Row(
        part=part,
        name=name,
        status=Status.OK if good else Status.FAILED,
        value=f"exit code {code}",
        limit="0",
        detail="" if good else last_words(said.splitlines()),
    )


def _start(overrides: dict[str, Any], plan: SpoilPlan | None) -> subprocess.Popen[str]:
    import json  # noqa: PLC0415 - here only

    return subprocess.Popen(
        [sys.executable, "-P", "-c", TRAIN, json.dumps(overrides)],
        env={**os.environ, PLAN_VARIABLE: plan.exported() if plan else ""},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="backslashreplace",
    )


def _compared(part: str, folder: Path, device: str | None, whole: Path, killed: Path) -> Row:
    left, right = _last_state(whole), _last_state(killed)
    changed = differing(left, right)
    detail = ""
    if changed:
        kernels = _not_deterministic(folder, device)
        named = f"; kernels without a deterministic form: {', '.join(kernels)}" if kernels else ""
        detail = f"differ: {', '.join(changed[:3])}{named}"
    return Row(
        part=part,
        name="the resumed run ends with the same bits",
        status=Status.FAILED if changed or not left else Status.OK,
        value=f"{len(left)} tensors compared, {len(changed)} differ",
        limit="0",
        detail=detail,
    )


def _last_state(run: Path) -> dict[str, torch.Tensor]:
    """Every tensor of the newest full state of a run, by its place."""
    states = sorted(RunLayout(run).states.glob("*.pt"), key=lambda path: path.stat().st_mtime)
    found: dict[str, torch.Tensor] = {}
    if states:
        state = load_state(states[-1])
        for name in ("model", "ema", "optimizer", "scaler"):
            _collect(name, state.get(name), found)
    return found


def _collect(name: str, value: Any, found: dict[str, torch.Tensor]) -> None:
    if isinstance(value, torch.Tensor):
        found[name] = value
    elif isinstance(value, dict):
        for key, item in value.items():
            _collect(f"{name} {key}", item, found)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _collect(f"{name} {index}", item, found)


def _not_deterministic(folder: Path, device: str | None) -> list[str]:
    """Names of the operations of a training step that torch knows no deterministic form of on this device."""
    with warnings.catch_warnings(record=True) as caught, quiet():
        warnings.simplefilter("always")
        trainer = DetectionTrainer(overrides=settings(folder, device, name="kernels"))
        trainer.add_callback("on_train_start", lambda _: torch.use_deterministic_algorithms(mode=True, warn_only=True))
        trainer.train()
    mark = " does not have a deterministic implementation"
    return sorted({text.split(mark, maxsplit=1)[0] for one in caught if mark in (text := str(one.message))})
