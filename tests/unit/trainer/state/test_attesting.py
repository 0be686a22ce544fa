"""What is attested of a file is no better than what the file shows."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.trainer.checkpoints.making import checkpoint_dict, save, small_model, stepped_optimizer
from trainmaster.trainer.checkpoints.attest import Examination
from trainmaster.trainer.checkpoints.catalog import last_clean
from trainmaster.trainer.checkpoints.files import digest_of
from trainmaster.trainer.checkpoints.ledger import attestations
from trainmaster.trainer.contract import RunLayout, Verdict
from trainmaster.trainer.records.recorder import Recorder
from trainmaster.trainer.settings.guard_settings import GuardSettings
from trainmaster.trainer.state.attesting import Attesting, SaidOfFile
from trainmaster.trainer.state.saver import Saver

CLEAN = Examination(verdict=Verdict.CLEAN, reasons=())


def dead_channel(content: dict[str, Any]) -> None:
    content["ema"].second.bn.running_var[0] = 0.0


def constant(content: dict[str, Any]) -> None:
    content["ema"].second.bn.running_mean.fill_(0.25)


def overflowed(content: dict[str, Any]) -> None:
    content["optimizer"]["state"][0]["momentum_buffer"].view(-1)[0] = 7e4


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (lambda _: None, Verdict.CLEAN),
        (dead_channel, Verdict.CONTAMINATED),
        (constant, Verdict.UNKNOWN),
        (overflowed, Verdict.CONTAMINATED),
    ],
    ids=["sound", "dead channel", "constant statistics", "a momentum beyond half precision"],
)
def test_a_file_is_attested_and_told_as_what_it_shows(tmp_path: Path, change: Any, verdict: Verdict) -> None:
    layout, told = RunLayout(tmp_path / "night"), []
    layout.guard.mkdir(parents=True)
    recorder = Recorder(layout, warn=lambda _: None)
    recorder.event = lambda _, **fields: told.append(fields)  # type: ignore[method-assign]
    content = checkpoint_dict()
    change(content)
    said = SaidOfFile(epoch=1, examination=CLEAN, fitness=0.5, kind="ultralytics")
    attesting = Attesting(layout=layout, recorder=recorder, level="standard", look=lambda: None)
    saved = digest_of(save(layout.weights / ".last.pt.partial", content))

    attesting.attest("weights/last.pt", saved, said, layout.weights / ".last.pt.partial")
    (layout.weights / ".last.pt.partial").rename(layout.weights / "last.pt")
    attesting.tell("weights/last.pt", saved, said)

    (row,) = attestations(layout)
    assert (row.verdict, told[0]["verdict"]) == (verdict, verdict), row.reasons
    assert (last_clean(layout) is not None) is (verdict is Verdict.CLEAN)


@pytest.mark.parametrize(("eps", "verdict"), [(1e-3, Verdict.CLEAN), (1e6, Verdict.CONTAMINATED)], ids=str)
def test_what_the_live_layers_train_with_counts_for_what_is_saved(tmp_path: Path, eps: float, verdict: Verdict) -> None:
    layout, model = RunLayout(tmp_path / "night"), small_model()
    saver = Saver(layout, Recorder(layout, warn=lambda _: None), GuardSettings(), user={})
    model.second.bn.eps = eps
    trainer: Any = SimpleNamespace(model=model, optimizer=stepped_optimizer(model), ema=None)
    assert saver._examine(trainer).verdict is verdict
