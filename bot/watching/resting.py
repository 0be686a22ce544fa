"""Runs at rest: over, all told, nothing asked. While their files stay as they are, nobody looks closer.

Finished runs stay in RUNS_DIR for months, and soon are most of what is there.
"""

from __future__ import annotations

import logging
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from trainmaster.bot.core.run.facts import ProcessFact, ProcessStatus
from trainmaster.bot.core.run.state import RunState
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import StoreError

_LOG = logging.getLogger(__name__)

CLOSER_S: Final = 3600.0
"""After this a run at rest is looked at in full all the same: for what no file and no word of the bot's own tells."""
BRIEF_S: Final = 1200.0
"""The same for one whose curves were never read, as most are after a start."""
_ENDS: Final = frozenset(
    {RunState.FINISHED, RunState.STOPPED, RunState.GAVE_UP, RunState.REFUSED, RunState.CRASHED},
)


@runtime_checkable
class RestingSource(Protocol):
    """A reader that can tell cheaply that there is nothing to read."""

    def glance(self, now: float) -> RunView:
        """The view without the curves of a run that has been over for long; never raises."""
        ...

    def unchanged(self) -> bool:
        """Whether a read would find what the last one found. Opens no file."""
        ...

    def rest(self, view: RunView) -> RunView:
        """``view`` without its curves, which are held no longer."""
        ...


class ToldRuns(Protocol):
    """What is told of runs."""

    def at_rest(self, run: str) -> bool:
        """Whether the last look at the run left nothing to tell, and nobody did anything about its alerts since."""
        ...


class DoneToRuns(Protocol):
    """What is done to runs."""

    def concerned(self) -> frozenset[str]:
        """Runs that something is asked, planned or done about.

        Raises:
            StoreError: that can't be told.
        """
        ...

    def leaves_alone(self, view: RunView) -> bool:
        """Whether nothing is to be done about the run while it is as it is.

        Raises:
            StoreError: that can't be told.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rest:
    view: RunView
    since_ts: float
    for_s: float
    hands_off: str


class RestingRuns:
    """Which runs are at rest, by their places. Used from the event loop."""

    def __init__(self, alerts: ToldRuns, operations: DoneToRuns) -> None:
        self._alerts = alerts
        self._operations = operations
        self._rests: dict[Path, _Rest] = {}
        self._concerned: frozenset[str] | None = None
        """None while that can't be told, and then nothing rests."""

    def begin_round(self) -> None:
        """Whom operations concern is known as of now: asked once for all runs."""
        try:
            self._concerned = self._operations.concerned()
        except StoreError as error:
            _LOG.warning("no run rests: %s", error)
            self._concerned = None

    def known(self, place: Path, now: float, hands_off: str) -> RunView | None:
        """What is known of the run if it is at rest; None when it must be looked at in full."""
        rest = self._rests.get(place)
        if rest is None:
            return None
        run = rest.view.run
        stays = (
            0 <= now - rest.since_ts < rest.for_s
            and rest.hands_off == hands_off
            and self._is_unconcerned(run)
            and self._alerts.at_rest(run)
        )
        if not stays:
            del self._rests[place]
        return rest.view if stays else None

    def consider(self, place: Path, view: RunView, now: float, hands_off: str) -> None:
        """The run was looked at in full and that was told: it rests from now on, or not."""
        self._rests.pop(place, None)
        if view.state not in _ENDS or view.read_errors or not _is_settled(view.process):
            return
        try:
            if not (self._is_unconcerned(view.run) and self._alerts.at_rest(view.run)):
                return
            if not self._operations.leaves_alone(view):
                return
        except StoreError:
            return
        # Spread out, so that what was begun together is not all looked at closer together.
        share = 0.5 + zlib.crc32(str(place).encode("utf-8", "surrogateescape")) / 2**33
        for_s = share * (BRIEF_S if view.brief else CLOSER_S)
        self._rests[place] = _Rest(view=view, since_ts=now, for_s=for_s, hands_off=hands_off)

    def keep(self, place: Path, view: RunView) -> None:
        """The run rests on, and ``view`` is what is known of it."""
        rest = self._rests.get(place)
        if rest is not None and rest.view is not view:
            self._rests[place] = _Rest(view=view, since_ts=rest.since_ts, for_s=rest.for_s, hands_off=rest.hands_off)

    def wake(self, place: Path) -> None:
        """The next look at the run is a full one."""
        self._rests.pop(place, None)

    def _is_unconcerned(self, run: str) -> bool:
        return self._concerned is not None and run not in self._concerned


def _is_settled(process: ProcessFact | None) -> bool:
    """Whether no more is to be learnt of what ran, unless it changes: of a process on another host nothing ever is."""
    if process is None or process.status is ProcessStatus.ALIVE:
        return True
    if process.status is ProcessStatus.UNKNOWN:
        return not process.silent
    return process.over and process.status is not ProcessStatus.ZOMBIE and not process.orphans
