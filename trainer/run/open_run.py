"""The parts of a run whose directory is chosen and locked: everything that writes into it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psutil
import ultralytics
from ultralytics.utils import LOGGER, RANK

from trainmaster.trainer.batches.agreement import of_all
from trainmaster.trainer.batches.position import Position
from trainmaster.trainer.batches.progress import RunningLoss
from trainmaster.trainer.contract import RunLayout
from trainmaster.trainer.data.data_faults import DataFaults
from trainmaster.trainer.drill import Drill
from trainmaster.trainer.engines.protocol import EngineTrainer
from trainmaster.trainer.records.recorder import Recorder
from trainmaster.trainer.run.evaluation import Evaluation
from trainmaster.trainer.run.rank_ends import process_of, started_beside
from trainmaster.trainer.run.ranks import IS_FIRST
from trainmaster.trainer.run.reporter import Reporter
from trainmaster.trainer.settings.guard_settings import GuardSettings
from trainmaster.trainer.state.saver import Saver
from trainmaster.trainer.stop import StopSwitch


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRun:
    """One attempt of one run, from the moment that its directory is ours."""

    layout: RunLayout
    recorder: Recorder
    saver: Saver
    drill: Drill
    reporter: Reporter
    data_faults: DataFaults
    evaluation: Evaluation
    others: dict[int, psutil.Process | None] = field(default_factory=dict)
    """Processes of the other ranks on this host: those that their launcher started, and for certain once they have
    met."""

    def met(self, trainer: EngineTrainer, opened: Callable[..., OpenRun]) -> OpenRun:
        """Each rank knows the processes of the others on its host; all of them call this at the same moment.

        The attempt is that of the first, in the directory that it has chosen: a rank that no process of ours has
        launched (``torchrun``) has chosen for itself, another one where that is taken, and has it ``opened`` anew.
        """
        if trainer.world_size <= 1:
            return self
        here = self.recorder.host
        told = of_all((os.getpid(), here, self.layout, self.recorder.attempt))
        *_, layout, attempt = told[0]
        run = self
        if (layout, attempt) != (self.layout, self.recorder.attempt):
            run = opened(layout, attempt=attempt)
            trainer.save_dir, trainer.wdir = layout.root, layout.weights
            trainer.args.save_dir = str(layout.root)
        beside = {rank: pid for rank, (pid, host, *_) in enumerate(told) if rank != RANK and host == here}
        run.others.update((rank, process_of(pid)) for rank, pid in beside.items())
        return run

    @classmethod
    def begin(
        cls,
        layout: RunLayout,
        *,
        settings: GuardSettings,
        user: dict[str, Any],
        position: Position,
        running: RunningLoss,
        switch: StopSwitch,
        attempt: int | None,
    ) -> OpenRun:
        """The next attempt in ``layout``, which the caller has locked; only the first rank records.

        ``attempt`` is that of the process which launched this rank.
        """
        version = ultralytics.__version__
        recorder = Recorder(layout, warn=LOGGER.warning, silent=not IS_FIRST, attempt=attempt, ultralytics=version)
        reporter = Reporter(recorder, settings, position=position, running=running)
        data_faults = DataFaults(layout, recorder)
        return cls(
            layout=layout,
            recorder=recorder,
            saver=Saver(layout, recorder, settings, user=user),
            drill=Drill(layout, settings.drill),
            reporter=reporter,
            data_faults=data_faults,
            evaluation=Evaluation(reporter, switch, data_faults),
            others={} if attempt is None else started_beside(os.environ),
        )
