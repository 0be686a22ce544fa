"""A written run and the view of it as the supervisor would read it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.run_dirs import START_TS, WrittenRun
from trainmaster.bot.core.run.facts import ProcessFact, ProcessStatus
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.reading.run_files import RunReader

Look = Callable[..., RunView]


@pytest.fixture
def written(tmp_path: Path) -> WrittenRun:
    return WrittenRun(tmp_path)


@pytest.fixture
def look(written: WrittenRun) -> Look:
    """The view after ``after_s``, with a process that is alive unless told otherwise."""

    def read(after_s: float = 100.0, *, status: ProcessStatus = ProcessStatus.ALIVE, **process: Any) -> RunView:
        view = RunReader(written.layout.root, first_seen_ts=START_TS).read(START_TS + after_s)
        return replace(view, process=ProcessFact(status=status, ts=START_TS + after_s, **process))

    return read
