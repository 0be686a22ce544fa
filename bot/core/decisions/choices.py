"""The ways to decide, each with what happens when. Pure."""

from __future__ import annotations

from trainmaster.bot.core.conversation.tokens import moment
from trainmaster.bot.core.decisions.plan import Incident, Milestone, Option, OptionName, Target
from trainmaster.bot.core.run.forecast import Forecast, duration, epochs_end_ts
from trainmaster.bot.core.run.view import RunView


def options_of(times: Forecast, target: Target, view: RunView, gives_up_s: float | None) -> tuple[Option, ...]:
    """To go back now, at the end of the running epoch, or not at all; only the first where no epoch is running."""
    epochs = view.total_epochs
    now = Option(
        name=OptionName.NOW,
        start_ts=times.now,
        end_ts=epochs_end_ts(times, start_ts=times.now, from_epoch=target.epoch, epochs=epochs),
        lost_s=gives_up_s,
    )
    now_points = (
        Milestone(ts=times.now, what=f"stop, back to the end of epoch {target.epoch}"),
        *_again(times, target, times.now, epochs),
    )
    if times.epoch_end_ts is None or times.epoch_left_s is None:
        return (_with(now, now_points),)
    end_ts = times.epoch_end_ts
    wait = Option(
        name=OptionName.AFTER_EPOCH,
        start_ts=end_ts,
        end_ts=epochs_end_ts(times, start_ts=end_ts, from_epoch=target.epoch, epochs=epochs),
        lost_s=None if gives_up_s is None else gives_up_s + times.epoch_left_s,
        note=f"less if the checkpoint of epoch {times.epoch} turns out clean",
    )
    wait_points = (
        Milestone(ts=times.now, what=f"goes on to the end of epoch {times.epoch}"),
        Milestone(ts=end_ts, what=f"after epoch {times.epoch}: stop, back to the end of epoch {target.epoch}"),
        *_again(times, target, end_ts, epochs),
    )
    forward = Option(name=OptionName.CONTINUE, start_ts=None, end_ts=times.run_end_ts, lost_s=0.0)
    forward_points = (
        Milestone(ts=times.now, what=f"goes on with epoch {times.epoch}"),
        Milestone(ts=end_ts, what=f"epoch {times.epoch} ends"),
    )
    return _with(now, now_points), _with(wait, wait_points), _with(forward, forward_points)


def incidents_of(view: RunView) -> tuple[Incident, ...]:
    """Bad batches of the run as it stands, by epoch."""
    return tuple(
        Incident(
            epoch=epoch.epoch,
            num_bad=epoch.num_bad,
            num_skipped=epoch.num_skipped,
            num_in_weights=epoch.num_in_weights,
        )
        for epoch in view.story()
        if epoch.num_bad
    )


def timeline(option: Option) -> str:
    """The option as lines of “+4 h, at such a time: what happens”, ready for a field of a message."""
    if not option.milestones:
        return "times not known yet"
    now = option.milestones[0].ts
    return "\n".join(
        f"{'now' if one.ts <= now else '+' + duration(one.ts - now)}, {moment(one.ts)}: {one.what}"
        for one in option.milestones
    )


def _again(times: Forecast, target: Target, start_ts: float, epochs: int | None) -> tuple[Milestone, ...]:
    """The first epoch that is trained once more, and where the run then is as far as it is now."""
    if times.epoch_s is None:
        return ()
    first = target.epoch + 1
    points = [Milestone(ts=start_ts + times.epoch_s, what=f"epoch {first} is trained anew")]
    if times.epoch is not None and times.epoch > first:
        num_epochs = times.epoch - target.epoch
        points.append(
            Milestone(ts=start_ts + num_epochs * times.epoch_s, what=f"epoch {times.epoch} ends, as far as it is now")
        )
    last_ts = start_ts + times.epoch_s * ((epochs or 0) - target.epoch)
    return tuple(one for one in points if epochs is None or one.ts < last_ts)


def _with(option: Option, points: tuple[Milestone, ...]) -> Option:
    ends = () if option.end_ts is None else (Milestone(ts=option.end_ts, what="the run ends"),)
    return Option(
        name=option.name,
        start_ts=option.start_ts,
        end_ts=option.end_ts,
        lost_s=option.lost_s,
        note=option.note,
        milestones=(*points, *ends),
    )
