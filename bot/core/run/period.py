"""What happened to a run since a moment: for the digest, and for a bot that was away. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from trainmaster.bot.core.run.state import RunState
from trainmaster.bot.core.run.view import EpochView, RunView

_ENDS = frozenset({RunState.STOPPED, RunState.FINISHED, RunState.GAVE_UP, RunState.REFUSED, RunState.CRASHED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """Counts are of the time since ``since_ts``. ``ended`` is the state that the run ended in meanwhile; None when it
    did not end, or ended earlier."""

    since_ts: float
    num_epochs: int
    num_bad: int
    num_skipped: int
    num_clipped: int
    ended: RunState | None

    @property
    def eventful(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self.num_epochs or self.num_bad or self.ended)


def period(view: RunView, since_ts: float) -> Period:
    """What happened to the run since then. An epoch's clips count when the epoch ended since then, or still runs; of a
    storm of bad batches only the newest have their times, so all of it counts when the oldest of those is new."""
    finished = [epoch for epoch in view.epochs.values() if (epoch.finished_ts or 0.0) >= since_ts]
    bad = [_bad_since(epoch, since_ts) for epoch in view.epochs.values()]
    beat = view.beat
    running = view.current is not None and not view.current.finished and beat is not None and view.state.active
    return Period(
        since_ts=since_ts,
        num_epochs=len(finished),
        num_bad=sum(number for number, _ in bad),
        num_skipped=sum(skipped for _, skipped in bad),
        num_clipped=sum(epoch.num_clipped or 0 for epoch in finished)
        + ((beat.clipped_epoch or 0) if running and beat else 0),
        ended=_ended(view, since_ts),
    )


def lived(view: RunView, since_ts: float) -> bool:
    """Whether the run was at work at some time since then."""
    if view.state.active:
        return True
    beat_ts = view.heartbeat.ts if view.heartbeat else 0.0
    return max(beat_ts, _updated_ts(view)) >= since_ts


def _bad_since(epoch: EpochView, since_ts: float) -> tuple[int, int]:
    if not epoch.bad_batches:
        return 0, 0
    if epoch.bad_batches[0].ts >= since_ts:
        return epoch.num_bad, epoch.num_skipped
    new = [one for one in epoch.bad_batches if one.ts >= since_ts]
    return len(new), sum(one.skipped for one in new)


def _ended(view: RunView, since_ts: float) -> RunState | None:
    if view.state in _ENDS and _updated_ts(view) >= since_ts:
        return view.state
    # Of a process that had no time to write its end, the last heartbeat is the last that is known.
    beat_ts = view.beat.ts if view.beat else _updated_ts(view)
    return view.state if view.state is RunState.DIED and beat_ts >= since_ts else None


def _updated_ts(view: RunView) -> float:
    return (view.record.updated_ts or view.record.started_ts or 0.0) if view.record else 0.0
