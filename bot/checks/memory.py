"""The last answer of a check for each run, given again while nothing that it depends on has changed; and how much of
a long history is told."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from operator import is_
from typing import Final

from trainmaster.bot.checks.limits import CheckLimits
from trainmaster.bot.core.alerts.finding import Finding
from trainmaster.bot.core.run.view import RunView

Look = Callable[[RunView, CheckLimits, float], tuple[Finding, ...]]

MAX_TOLD: Final = 30
"""Epochs of a run of which one look tells, the newest: more than anybody reads, and a file with ten thousand of them
keeps no other run waiting."""
_MAX_RUNS: Final = 2000
_ALL: Final[list[dict[str, tuple[tuple[object, ...], tuple[Finding, ...]]]]] = []


def forget(run: str) -> None:
    """No answer about the run is kept: it is at rest, and answers weigh more than all else that is known of it."""
    for answers in _ALL:
        answers.pop(run, None)


def settled(view: RunView) -> tuple[object, ...]:
    """Which epochs there are, and all that have ended or had a bad batch: for a check that does not look at the curve
    of the one that is under way, which grows with every row of the series."""
    return (*view.epochs, *(one for one in view.epochs.values() if one.finished_ts is not None or one.num_bad))


def remembered(of: Callable[[RunView], tuple[object, ...]]) -> Callable[[Look], Look]:
    """For a check whose answer does not depend on the time and whose work grows with the history of a run.

    ``of`` names all the parts of the view that it depends on; they are compared by identity, since views share what did
    not change.
    """

    def decorate(check: Look) -> Look:
        answers: dict[str, tuple[tuple[object, ...], tuple[Finding, ...]]] = {}
        _ALL.append(answers)

        @wraps(check)
        def look(view: RunView, limits: CheckLimits, now: float) -> tuple[Finding, ...]:
            parts = (limits, *of(view))
            known = answers.get(view.run)
            if known is not None and len(parts) == len(known[0]) and all(map(is_, parts, known[0])):
                return known[1]
            found = check(view, limits, now)
            if len(answers) >= _MAX_RUNS:
                answers.clear()
            answers[view.run] = (parts, found)
            return found

        return look

    return decorate
