"""Which findings get which pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.run_dirs import START_TS, WrittenRun
from trainmaster.bot.core.alerts.finding import Finding, Nature, Severity
from trainmaster.bot.core.alerts.sketches import sketch_of
from trainmaster.bot.core.check_name import CheckName
from trainmaster.bot.core.conversation.picture import Sketch
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.reading.run_files import RunReader

RUN = "digits-0001"


@pytest.fixture
def view(tmp_path: Path) -> RunView:
    run = WrittenRun(tmp_path)
    run.start_epoch(1, 0)
    run.bad_batch(1, 42, 50, incident="0003")
    run.start_epoch(2, 100)
    return RunReader(run.layout.root, first_seen_ts=START_TS).read(START_TS + 200)


def finding(check: CheckName, key: str = "") -> Finding:
    return Finding(
        run=RUN, check=check, key=key, severity=Severity.INFO, nature=Nature.OCCURRENCE, ts=START_TS, title="digits"
    )


@pytest.mark.parametrize(
    ("check", "key", "wanted"),
    [
        (CheckName.NONFINITE, "attempt1/epoch1", Sketch(run=RUN, epoch=1, incident="0003")),
        (CheckName.NONFINITE, "attempt1/epoch2", Sketch(run=RUN, epoch=2)),
        (CheckName.LOSS_SPIKE, "attempt1/epoch1", Sketch(run=RUN, epoch=1)),
        (CheckName.GRADIENT_TREND, "attempt1", Sketch(run=RUN, epoch=2)),
        (CheckName.EPOCH_FINISHED, "attempt1/epoch1", Sketch(run=RUN, curves=True)),
        (CheckName.RUN_FINISHED, "attempt1", Sketch(run=RUN, curves=True)),
        (CheckName.DISK_LOW, "root", None),
        (CheckName.PROCESS_DIED, "attempt1", None),
    ],
)
def test_a_finding_gets_the_pictures_that_explain_it(
    view: RunView, check: CheckName, key: str, wanted: Sketch | None
) -> None:
    assert sketch_of(view, finding(check, key)) == wanted


def test_nothing_is_drawn_of_a_run_whose_python_is_not_started(view: RunView) -> None:
    others = replace(view, watched_only="owned by uid 7")
    assert sketch_of(others, finding(CheckName.NONFINITE, "attempt1/epoch1")) is None
