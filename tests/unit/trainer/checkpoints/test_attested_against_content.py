from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.trainer.checkpoints.making import attest, checkpoint_dict, said, save
from trainmaster.trainer.checkpoints.forensics import judge
from trainmaster.trainer.checkpoints.ledger import attestations
from trainmaster.trainer.contract import RunLayout, Verdict

NAN = float("nan")
CLEAN, UNKNOWN = Verdict.CLEAN, Verdict.UNKNOWN


@pytest.fixture
def layout(tmp_path: Path) -> RunLayout:
    layout = RunLayout(tmp_path / "run")
    for folder in (layout.weights, layout.guard):
        folder.mkdir(parents=True)
    return layout


@pytest.mark.parametrize(
    ("name", "value"),
    [("first.bn.running_var", 65_504.0), ("second.conv.weight", 5e4), ("second.bn.running_mean", 2e4)],
)
def test_an_attestation_does_not_overrule_what_the_file_shows(layout: RunLayout, name: str, value: float) -> None:
    content = checkpoint_dict()
    content["ema"].state_dict()[name].view(-1)[0] = value
    path = save(layout.weights / "last.pt", content)
    attest(layout, path)
    found = judge(path, attestations=attestations(layout))
    assert (found.verdict, found.attested) == (UNKNOWN, True)
    assert "attested clean when it was saved, against what it holds" in said(found)


def test_an_attestation_tells_what_the_history_leaves_open(layout: RunLayout) -> None:
    content = checkpoint_dict()
    content["train_results"] = {"train/box_loss": [NAN], "val/box_loss": [NAN]}
    path = save(layout.weights / "last.pt", content)
    assert judge(path).verdict is UNKNOWN
    attest(layout, path)
    assert judge(path, attestations=attestations(layout)).verdict is CLEAN
