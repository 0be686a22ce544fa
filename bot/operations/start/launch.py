"""How a run's trainer is started, as its record and its cluster tell."""

from __future__ import annotations

import math
import sys
from pathlib import Path

from trainmaster.bot.core.decisions.plan import Launch
from trainmaster.bot.core.run.facts import RunRecord
from trainmaster.bot.core.run.forecast import batch_s
from trainmaster.bot.core.run.job import JobFact
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import CommandError
from trainmaster.trainer.contract import Phase

_SIGNAL_LATE_S = 30.0
"""``--signal`` comes up to 10 s late (measured), and the scheduler looks every 30 s on a busy cluster."""
_MIN_MARGIN_S = 60.0
"""For what no measurement of a small run shows: a network disk in its worst minute."""


def launch_of(view: RunView) -> Launch:
    """How the run's trainer is started.

    Raises:
        CommandError: its record does not say.
    """
    record = view.record
    if record is not None and record.relaunch is not None:
        how = record.relaunch
        return Launch(python=sys.executable, cwd=Path(how.cwd), log=Path(how.log), argv=how.argv, env=how.env)
    if record is None or not record.python or not record.cwd:
        raise CommandError(
            "run-unguarded",
            f"run {view.name} does not record its Python and its folder.",
            "resume it by hand: trainmaster resume RUN_DIR from=EPOCH",
        )
    job = view.process.job if view.process is not None else None
    waited = job is not None and job.reason == "" and job.start_ts is not None and job.submit_ts is not None
    return Launch(
        python=record.python,
        cwd=Path(record.cwd),
        log=view.log,
        options=_options(record, job),
        margin_s=stop_margin_s(view) if record.job is not None else None,
        waited_s=max(0.0, (job.start_ts or 0.0) - (job.submit_ts or 0.0)) if job is not None and waited else None,
    )


def _options(record: RunRecord, job: JobFact | None) -> tuple[str, ...] | None:
    """Those of its job; of one that was submitted by hand with the time limit that its cluster tells, which an older
    trainer could not know. None where it is no job."""
    if record.job is None:
        return None
    options = record.job.options
    if record.launch_key is not None or job is None or job.limit_ts is None or job.start_ts is None:
        return options
    if job.id != record.job.id or any(word.startswith("--time=") for word in options):
        return options
    return (*options, f"--time={math.ceil((job.limit_ts - job.start_ts) / 60)}")


def stop_margin_s(view: RunView) -> int | None:
    """From a cluster's request to end until the time limit of the job: two batches and three saves of this run, as
    measured, and what Slurm may be late; None while no save was."""
    save_s = view.phases.longest_s.get(Phase.SAVING)
    if save_s is None:
        return None
    return math.ceil(_SIGNAL_LATE_S + 2 * (batch_s(view) or 0.0) + 3 * save_s + _MIN_MARGIN_S)
