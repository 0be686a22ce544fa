"""How findings are handed on, be they of a run or of something beside runs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from trainmaster.bot.core.alerts.finding import Finding
from trainmaster.bot.core.check_name import CheckName
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import StoreError
from trainmaster.bot.ports import Clock

_LOG = logging.getLogger(__name__)


class Sink(Protocol):
    """Where findings go: tracked, stored and announced in one transaction."""

    def process(self, view: RunView, findings: Sequence[Finding], unjudged: frozenset[CheckName], now: float) -> None:
        """The findings of one look at one run. ``unjudged`` are conditions whose absence is no evidence.

        Raises:
            StoreError: nothing of it was stored; the next look repeats it.
        """
        ...


class BesideRuns:
    """Findings about what is no run, under the ``name`` that stands in place of a run's id."""

    def __init__(self, sink: Sink, name: str, clock: Clock) -> None:
        self._sink = sink
        self._name = name
        self._began_ts = clock.now()

    def tell(self, findings: Sequence[Finding], now: float, *, unjudged: frozenset[CheckName] = frozenset()) -> bool:
        """Whether they are stored; else the next look repeats them."""
        view = RunView(directory=Path("/"), name=self._name, ts=now, first_seen_ts=self._began_ts)
        try:
            self._sink.process(view, findings, unjudged, now)
        except StoreError:
            _LOG.exception("findings-not-stored: %s; the next look repeats them", self._name)
            return False
        return True
