"""What the dashboard is drawn from, and the words that every part of it uses. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Final

from rich.style import Style
from rich.text import Text

from trainmaster.bot.core.run.forecast import duration
from trainmaster.bot.core.run.state import RunState
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.terminal.glyphs import Glyphs
from trainmaster.trainer.contract import Phase, RunRecordState

SILENT_AFTER_S: Final = 120.0
"""A trainer beats once a second at least while it trains; a slow batch or validation may take longer."""
PLAIN: Final = Style()
GOOD: Final = Style(color="green")
WARNING: Final = Style(color="yellow")
BAD: Final = Style(color="red", bold=True)
FAINT: Final = Style(dim=True)
STRONG: Final = Style(bold=True)

_STYLES: Final = {
    RunState.FINISHED: GOOD,
    RunState.STOPPED: WARNING,
    RunState.GAVE_UP: BAD,
    RunState.REFUSED: BAD,
    RunState.CRASHED: BAD,
    RunState.DIED: BAD,
    RunState.UNKNOWN: WARNING,
    RunState.SUSPENDED: WARNING,
}
_BY_RECORDS: Final = {
    Phase.STARTUP: "starting",
    Phase.FIRST_BATCH: "starting",
    Phase.TRAINING: "training",
    Phase.VALIDATING: "validating",
    Phase.SAVING: "saving",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A run to show. ``epoch_losses`` and ``frame_losses`` are the console's, of a run that has no series: the means
    at each epoch's end so far, and the running mean within the newest epoch."""

    view: RunView
    epoch_losses: Mapping[int, Mapping[str, float]]
    frame_losses: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """Where it is drawn: ``width`` and ``height`` in cells (None: as long as it likes), ``now`` and its ``zone``."""

    width: int
    height: int | None
    glyphs: Glyphs
    now: float
    zone: tzinfo | None

    def clock(self, ts: float, *, seconds: bool = True) -> str:
        """``02:13:04``, or without ``seconds`` ``02:13``; with the date when that is not today."""
        try:
            then = datetime.fromtimestamp(ts, UTC).astimezone(self.zone)
        except (OverflowError, ValueError, OSError):
            return "unknown"
        today = datetime.fromtimestamp(self.now, UTC).astimezone(self.zone).date()
        same_day = "%H:%M:%S" if seconds else "%H:%M"
        return then.strftime(same_day if then.date() == today else "%d %b %H:%M")

    def line(self, *parts: tuple[str, Style] | str) -> Text:
        """One line of the picture, never wider than it; a part without a style is plain."""
        text = Text(no_wrap=True)
        left = self.width
        for part in parts:
            words, style = part if isinstance(part, tuple) else (part, PLAIN)
            fitted = self.glyphs.fit(words, left)
            text.append(fitted, style=style)
            left = self.width - text.cell_len
            if fitted != words:
                break
        return text


def silent_s(view: RunView, now: float) -> float | None:
    """How long the run has written nothing; None when it never did."""
    return None if view.heartbeat is None else max(0.0, now - view.heartbeat.ts)


def state_of(view: RunView, canvas: Canvas) -> tuple[str, Style]:
    """The run's state in a few words. Where no process can be seen, what its records say, and that they say it; of a
    job in the queue of a cluster, when it starts or what it waits for."""
    quiet_s = silent_s(view, canvas.now)
    silent = quiet_s is not None and quiet_s > SILENT_AFTER_S
    if view.state is RunState.UNKNOWN:
        return _unseen(view, quiet_s if silent else None)
    if view.state is RunState.PENDING:
        return _waiting(view, canvas), WARNING
    if not view.state.active:
        return view.state.value, _STYLES[view.state]
    if silent and quiet_s is not None:
        return f"{view.state.value}, silent {duration(quiet_s)}", WARNING
    return view.state.value, GOOD


def _waiting(view: RunView, canvas: Canvas) -> str:
    job = view.process.job if view.process is not None else None
    if job is not None and job.start_ts is not None:
        return f"waits until {canvas.clock(job.start_ts, seconds=False)}"
    return f"waits: {canvas.glyphs.text(job.reason)}" if job is not None and job.reason else "waits in the queue"


def _unseen(view: RunView, silent_for_s: float | None) -> tuple[str, Style]:
    record = view.record
    if record is None or record.state is not RunRecordState.RUNNING or view.beat is None:
        submitted = record is not None and record.state is RunRecordState.SUBMITTED
        return ("submitted" if submitted else "unknown"), WARNING
    if silent_for_s is not None:
        return f"unknown, silent {duration(silent_for_s)}", WARNING
    phase = _BY_RECORDS.get(view.beat.phase, "running") if view.beat.phase else "running"
    return f"{phase}, by its {'heartbeat' if view.guarded else 'log'}", GOOD


def place_of(view: RunView) -> tuple[int | None, int | None, int | None, int | None]:
    """Epoch, epochs, batch and batches: by the newest heartbeat, else by the newest epoch that is known."""
    beat, current = view.beat, view.current
    if beat is not None and beat.epoch:
        return beat.epoch, view.total_epochs, beat.batch, beat.batches
    if current is None:
        return None, view.total_epochs, None, None
    return current.epoch, view.total_epochs, current.batches_done, current.batches


def shares_of(view: RunView) -> tuple[float | None, float | None]:
    """How much of the running epoch and of the whole run is done, from 0 to 1; None where nothing tells."""
    epoch, epochs, batch, batches = place_of(view)
    if view.state is RunState.FINISHED:
        return 1.0, 1.0
    of_epoch = min(1.0, batch / batches) if batch is not None and batches else None
    current = view.current
    if current is not None and current.epoch == epoch and current.finished:
        of_epoch = 1.0
    if not epoch or not epochs:
        return of_epoch, None
    return of_epoch, min(1.0, (epoch - 1 + (of_epoch or 0.0)) / epochs)


def watched_from_its_start(view: RunView) -> bool:
    """Whether the time that the newest epoch took so far is known: of a log alone, only of epochs that began while it
    was watched."""
    current = view.current
    return view.guarded or (
        current is not None and current.started_ts is not None and current.started_ts > view.first_seen_ts
    )
