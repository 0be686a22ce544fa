"""Which pictures belong to which finding."""

from __future__ import annotations

import re
from typing import Final

from trainmaster.bot.core.alerts.finding import Finding
from trainmaster.bot.core.check_name import BAD_NUMBERS, CheckName
from trainmaster.bot.core.conversation.picture import Sketch
from trainmaster.bot.core.run.view import EpochView, RunView

_OF_AN_EPOCH: Final = BAD_NUMBERS | {CheckName.RUN_GAVE_UP}
"""The epoch's curves show whether it was a spike or a trend."""
_OF_THE_RUN: Final = frozenset({CheckName.EPOCH_FINISHED, CheckName.RUN_FINISHED})
_WITH_IMAGES: Final = frozenset({CheckName.NONFINITE, CheckName.RUN_GAVE_UP})
_EPOCH: Final = re.compile(r"(?:^|/)epoch(\d{1,6})(?:/|$)")


def sketch_of(view: RunView, finding: Finding) -> Sketch | None:
    """What is to be drawn for the message about ``finding``; None when nothing is, or when the run's Python is not to
    be started."""
    if view.watched_only or view.record is None:
        return None
    if finding.check in _OF_THE_RUN:
        return Sketch(run=view.run, curves=True)
    if finding.check not in _OF_AN_EPOCH:
        return None
    named = _EPOCH.search(finding.key)
    number = int(named[1]) if named else (view.current.epoch if view.current else None)
    if number is None:
        return Sketch(run=view.run, curves=True)
    incident = _incident(view.epoch(number)) if finding.check in _WITH_IMAGES else None
    return Sketch(run=view.run, epoch=number, incident=incident)


def _incident(epoch: EpochView | None) -> str | None:
    """That of the epoch's newest bad batch that was kept."""
    kept = [bad.incident for bad in epoch.bad_batches if bad.incident] if epoch is not None else []
    return kept[-1] if kept else None
