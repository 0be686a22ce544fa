"""One run in two places: its directory was renamed, or copied, as people do before they try something. Pure."""

from __future__ import annotations

from trainmaster.bot.core.run.facts import ProcessStatus
from trainmaster.bot.core.run.view import RunView


def takes_over(view: RunView, known: RunView) -> bool:
    """Whether ``view`` is now what is watched as the run, where ``known``, of another place, was until now. A copy is
    the run only once it has gone on where the other has not, and a place that is gone is none."""
    if view.gone or known.gone:
        return not view.gone
    return _rank(view) > _rank(known)


def _rank(view: RunView) -> tuple[int, bool, float]:
    process = view.process
    # Whose trainer it is tells its lock; of two that both train, the one that was there first stays.
    trains = process is not None and process.status is ProcessStatus.ALIVE and not view.process_fault
    return view.attempt, trains, view.beat.ts if view.beat is not None and not trains else 0.0
