"""One run in two places: its directory was renamed, or copied, as people do before they try something. Pure."""

from __future__ import annotations

from pathlib import Path

from trainmaster.bot.core.run.facts import ProcessStatus
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import TrainmasterError


def takes_over(view: RunView, known: RunView) -> bool:
    """Whether ``view`` is now what is watched as the run, where ``known``, of another place, was until now. A copy is
    the run only once it has gone on where the other has not, what the bot may not act on only where nothing else is,
    and a place that is gone is none."""
    if bool(view.watched_only) != bool(known.watched_only):
        return not view.watched_only
    if view.gone or known.gone:
        return not view.gone
    return _rank(view) > _rank(known)


def raise_if_it_trains(view: RunView, watched: Path) -> None:
    """The place of ``view``, whose run is watched in another one, is a mere copy.

    Raises:
        TrainmasterError: it trains for itself.
    """
    if not view.watched_only and _trains(view):
        raise TrainmasterError(
            "run-twice",
            f"{view.directory} trains under the id of the run in {watched}, so it is not watched.",
            "end one of the two; a copy that is to train for itself needs another id in its guard/run.json",
        )


def _rank(view: RunView) -> tuple[int, bool, float]:
    trains = _trains(view)  # of two that both do, the one that was there first stays
    return view.attempt, trains, view.beat.ts if view.beat is not None and not trains else 0.0


def _trains(view: RunView) -> bool:
    """Whose trainer a process is tells its lock."""
    process = view.process
    return process is not None and process.status is ProcessStatus.ALIVE and not view.process_fault
