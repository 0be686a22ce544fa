"""What a look makes of a cluster's word and of a run's files together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.support.clocks import SetClock
from tests.support.run_dirs import START_TS, WrittenRun
from tests.unit.conftest import Look
from trainmaster.bot.checks import CheckLimits
from trainmaster.bot.core.run.facts import Identity, ProcessFact, ProcessStatus
from trainmaster.bot.core.run.job import EndCause, JobFact
from trainmaster.bot.core.run.state import RunState
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.watching.look import Looker

FORGOTTEN = ProcessFact(status=ProcessStatus.GONE, ts=START_TS, detail="the job is over, how it ended is not known")
ENDED = replace(FORGOTTEN, job=JobFact(id="17", cause=EndCause.NODE_FAIL, end_ts=START_TS + 90))


@dataclass(frozen=True)
class Files:
    view: RunView

    def read(self, now: float) -> RunView:
        del now
        return self.view

    def log_tail(self) -> tuple[str, ...]:
        return ()


@dataclass(frozen=True)
class Cluster:
    fact: ProcessFact

    def inspect(self, identity: Identity) -> ProcessFact:
        del identity
        return self.fact


@pytest.mark.parametrize(
    ("fact", "beat_s", "state"),
    [
        pytest.param(FORGOTTEN, 95.0, RunState.UNKNOWN, id="forgotten by a controller that lost its state, and alive"),
        pytest.param(FORGOTTEN, 80.0, RunState.DIED, id="forgotten, and silent"),
        pytest.param(ENDED, 95.0, RunState.DIED, id="known to have ended: told elsewhere"),
    ],
)
def test_trainer_that_is_seen_to_live_is_not_dead_because_its_job_is_forgotten(
    written: WrittenRun, look: Look, fact: ProcessFact, beat_s: float, state: RunState
) -> None:
    written.record(job={"id": "17", "cluster": "lab", "restart": 0, "node": "n1", "partition": "gpu", "options": []})
    written.beat(beat_s, epoch=1, batch=7)
    looker = Looker(
        inspector=Cluster(fact),
        limits=CheckLimits(),
        clock=SetClock(START_TS + 100),
        stacks=None,
        trainers=None,
        hands_off=lambda _place: "",
        next_start=None,
    )
    view = looker.look(Path("runs/night"), Files(replace(look(), beat_seen_ts=START_TS + beat_s))).view
    assert view is not None
    assert view.state is state
