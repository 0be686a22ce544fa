"""An epoch finished: its five criteria, told once."""

from __future__ import annotations

from collections.abc import Sequence

from trainmaster.bot.checks.limits import CheckLimits
from trainmaster.bot.checks.memory import MAX_TOLD, remembered, settled
from trainmaster.bot.core.alerts.finding import Finding, Nature, Severity
from trainmaster.bot.core.check_name import CheckName
from trainmaster.bot.core.conversation.message import ActionId, Button, ButtonStyle
from trainmaster.bot.core.conversation.words import counted
from trainmaster.bot.core.run.epoch_report import EpochReport, epoch_fields, judge_epoch
from trainmaster.bot.core.run.forecast import duration
from trainmaster.bot.core.run.view import EpochView, RunView
from trainmaster.trainer.contract import Verdict


@remembered(
    of=lambda view: (
        *(view.brief, view.checkpoints, view.attempt, view.record and view.record.layers, view.trainer_behind_s),
        *settled(view),
    )
)
def check_epochs(view: RunView, limits: CheckLimits, now: float) -> tuple[Finding, ...]:
    """One occurrence for each finished pass of an epoch, undone ones included: they were told when they ended. Without
    its curves none is judged. Nothing is told of those before the newest :data:`MAX_TOLD` that was not told by then,
    and nothing of those that ended before the run was seen: of a thousand runs they are most of a first look."""
    if view.brief:
        return ()
    finished = [epoch for _, epoch in sorted(view.epochs.items()) if epoch.finished_ts is not None][-MAX_TOLD:]
    news = [epoch for epoch in finished if (epoch.finished_ts or 0.0) >= view.news_from_ts]
    spoilt = _with_bad_weights(view) if news else ()
    return tuple(_finding(view, judge_epoch(view, epoch, limits.report), spoilt) for epoch in news)


def _with_bad_weights(view: RunView) -> tuple[EpochView, ...]:
    return tuple(one for one in view.epochs.values() if one.num_in_weights)


def _finding(view: RunView, report: EpochReport, spoilt: Sequence[EpochView]) -> Finding:
    epoch = report.epoch
    assert epoch.finished_ts is not None
    buttons: tuple[Button, ...] = ()
    since = contaminated_since(view, report, spoilt)
    if since is not None:
        buttons = _choices(view, epoch)
    return Finding(
        run=view.run,
        check=CheckName.EPOCH_FINISHED,
        key=f"attempt{epoch.attempt}/epoch{epoch.epoch}",
        severity=Severity.WARNING if since is not None else Severity.INFO,
        nature=Nature.OCCURRENCE,
        ts=epoch.finished_ts,
        title=f"{view.name}: epoch {epoch.epoch}{f' of {epoch.epochs}' if epoch.epochs else ''} finished, "
        f"{report.num_met} of {len(report.judged)} criteria met",
        body=(recommendation(view, report, since),) if since is not None else (),
        fields=epoch_fields(epoch),
        items=tuple(one.item for one in report.judged),
        hint=f"/train epoch {epoch.epoch} progress",
        buttons=buttons,
    )


def _choices(view: RunView, epoch: EpochView) -> tuple[Button, ...]:
    """The one that is recommended stands out."""
    clean = view.last_clean
    back = clean is not None and clean.epoch is not None and clean.epoch < epoch.epoch
    first, second = (ButtonStyle.DANGER, ButtonStyle.PLAIN) if back else (ButtonStyle.PLAIN, ButtonStyle.PRIMARY)
    return (
        Button(action=ActionId.PROPOSE_ROLLBACK, label="Execute rollback", value=view.run, style=first),
        Button(action=ActionId.CONTINUE_RUN, label="Continue forward", value=view.run, style=second),
    )


def contaminated_since(view: RunView, report: EpochReport, spoilt: Sequence[EpochView]) -> EpochView | None:
    """The epoch in which bad batches went into the weights that this one ended with: itself, or an earlier one of its
    attempt after which no checkpoint was attested clean. None when there is none. ``spoilt``: the epochs of the view
    with such batches."""
    if report.contaminated:
        return report.epoch
    epoch = report.epoch
    own = epoch.checkpoint
    if own is not None and own.verdict is Verdict.CLEAN:
        return None
    if view.record is not None and not view.record.guarded:
        return None  # nothing attests, and a NaN on an unguarded console proves an incident, not contamination
    clean = max(
        (
            one.epoch
            for one in view.checkpoints
            if one.epoch is not None and one.verdict is Verdict.CLEAN and one.resumable
        ),
        default=-1,
    )
    earlier = [one for one in spoilt if one.attempt == epoch.attempt]
    return min((one for one in earlier if clean < one.epoch < epoch.epoch), key=lambda one: one.epoch, default=None)


def recommendation(view: RunView, report: EpochReport, since: EpochView) -> str:
    """What to do about a contaminated epoch, by rule: what went into the weights stays in them, so go back as long as
    there is something clean to go back to and less than the whole run is lost by it."""
    epoch, clean = report.epoch, view.last_clean
    left = since.num_in_weights
    seen = f"{counted(left, 'bad batch', 'bad batches')} went into the weights"
    if since.epoch != epoch.epoch:
        seen += f" in epoch {since.epoch}, and they are in them still"
    if clean is None or clean.epoch is None:
        return f"{seen}. Recommended: continue forward, since there is no clean checkpoint to go back to."
    if clean.epoch >= epoch.epoch:
        return f"{seen}, and its checkpoint is attested clean. Recommended: continue forward."
    lost = epoch.epoch - clean.epoch
    given_up = counted(lost, "epoch")
    took_s = [one.seconds for one in view.story() if clean.epoch < one.epoch <= epoch.epoch]
    if took_s and None not in took_s:
        given_up += f" ({duration(sum(one or 0.0 for one in took_s))} of training)"
    return f"{seen}. Recommended: execute rollback to the end of epoch {clean.epoch}, which gives up {given_up}."
