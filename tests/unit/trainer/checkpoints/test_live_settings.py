from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.unit.trainer.checkpoints.making import checkpoint_dict, judged, said, small_model
from trainmaster.trainer.checkpoints.live_settings import examine_settings
from trainmaster.trainer.contract import Verdict

NAN = math.nan


def test_modules_as_they_are_made_are_clean() -> None:
    model = small_model()
    model.stride = torch.tensor([8.0, 16.0])  # type: ignore[assignment]
    assert examine_settings("ema", model).verdict is Verdict.CLEAN
    assert examine_settings("ema", model).reasons == ()


@pytest.mark.parametrize(
    ("place", "name", "value", "reason"),
    [
        ("first.bn", "eps", NAN, "a setting of its modules is not a number: first.bn.eps"),
        ("first.bn", "eps", 1e18, "a setting of its modules that none can be: first.bn.eps is 1e+18"),
        ("second.bn", "momentum", -3.0, "a setting of its modules that none can be: second.bn.momentum is -3"),
        ("", "stride", torch.tensor([8.0, NAN]), "a setting of its modules is not a number: stride"),
        ("head", "scales", [1.0, {"up": NAN}], "a setting of its modules is not a number: head.scales"),
    ],
    ids=["nan eps", "huge eps", "odd momentum", "stride", "nested"],
)
def test_what_a_live_module_carries_is_judged_as_in_its_file(
    tmp_path: Path, place: str, name: str, value: Any, reason: str
) -> None:
    content = checkpoint_dict()
    setattr(content["ema"].get_submodule(place), name, value)
    found = examine_settings("ema", content["ema"])
    assert (found.verdict, found.reasons) == (Verdict.CONTAMINATED, (f"ema: {reason}",))
    in_file = judged(tmp_path, content)
    assert (in_file.verdict, reason in said(in_file)) == (Verdict.CONTAMINATED, True), said(in_file)
