from __future__ import annotations

import json
from typing import Any

import pytest

from trainmaster.trainer.arguments import split_arguments
from trainmaster.trainer.cli import selfcheck
from trainmaster.trainer.selfcheck.disks import NoRoomError


@pytest.mark.parametrize(
    ("early", "why"),
    [(KeyboardInterrupt(), "ended on request"), (NoRoomError("no room in /tmp.\nHint: TMPDIR=/a"), "no room in /tmp.")],
    ids=["interrupted", "no room"],
)
@pytest.mark.parametrize("wanted", [True, False], ids=["json", "table"])
def test_whoever_asked_for_json_gets_some_when_it_ends_early_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], early: BaseException, why: str, wanted: bool
) -> None:
    def ends(*_: Any) -> None:
        raise early

    monkeypatch.setattr(selfcheck, "run", ends)
    assert selfcheck.main(split_arguments(["--json"] if wanted else [])) == 1
    told = capsys.readouterr()
    assert why in told.err
    if not wanted:
        assert told.out == ""
        return
    found = json.loads(told.out)
    (row,) = found["rows"]
    assert (found["passed"], row["status"], row["value"].startswith(why)) == (False, "FAIL", True)
