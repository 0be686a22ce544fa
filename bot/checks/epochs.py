"""An epoch finished: its five criteria, told once."""

from __future__ import annotations

from bot.checks.limits import CheckLimits
from bot.checks.memory import remembered
from bot.core.epoch_report import EpochReport, epoch_fields, judge_epoch
from bot.core.finding import Finding, Nature, Severity
from bot.core.message import ActionId, Button, ButtonStyle
from bot.core.view import RunView

CHECK = "epoch_finished"


@remembered(of=lambda view: (view.epochs, view.checkpoints, view.attempt, view.record and view.record.layers))
def check_epochs(view: RunView, limits: CheckLimits, now: float) -> tuple[Finding, ...]:
    """One occurrence for each finished pass of an epoch, undone ones included: they were told when they ended."""
    del now
    return tuple(
        _finding(view, judge_epoch(view, epoch, limits.report)) for epoch in view.epochs.values() if epoch.finished
    )


def _finding(view: RunView, report: EpochReport) -> Finding:
    epoch = report.epoch
    assert epoch.finished_ts is not None
    buttons: tuple[Button, ...] = ()
    if report.contaminated:
        buttons = (
            Button(
                action=ActionId.PROPOSE_ROLLBACK, label="Execute rollback", value=view.run, style=ButtonStyle.DANGER
            ),
            Button(action=ActionId.CONTINUE_RUN, label="Continue forward", value=view.run),
        )
    return Finding(
        run=view.run,
        check=CHECK,
        key=f"attempt{epoch.attempt}/epoch{epoch.epoch}",
        severity=Severity.WARNING if report.contaminated else Severity.INFO,
        nature=Nature.OCCURRENCE,
        ts=epoch.finished_ts,
        title=f"{view.name}: epoch {epoch.epoch}{f' of {epoch.epochs}' if epoch.epochs else ''} finished, "
        f"{report.num_met} of {len(report.judged)} criteria met",
        body=(recommendation(view, report),) if report.contaminated else (),
        fields=epoch_fields(epoch),
        items=tuple(one.item for one in report.judged),
        hint=f"/train epoch {epoch.epoch} progress",
        buttons=buttons,
    )


def recommendation(view: RunView, report: EpochReport) -> str:
    """What to do about a contaminated epoch, by rule: what went into the weights stays in them, so go back as long as
    there is something clean to go back to and less than the whole run is lost by it."""
    epoch, clean = report.epoch, view.last_clean
    left = epoch.num_in_weights
    seen = f"{left} bad batch{'es' if left != 1 else ''} went into the weights"
    if clean is None or clean.epoch is None:
        return f"{seen}. Recommended: continue forward, since there is no clean checkpoint to go back to."
    if clean.epoch >= epoch.epoch:
        return f"{seen}, and its checkpoint is attested clean. Recommended: continue forward."
    lost = epoch.epoch - clean.epoch
    given_up = f"{lost} epoch{'s' if lost != 1 else ''}"
    return f"{seen}. Recommended: execute rollback to the end of epoch {clean.epoch}, which gives up {given_up}."
