"""Checkpoints that were saved bad, are missing, or have become old."""

from __future__ import annotations

from trainmaster.bot.checks.limits import CheckLimits
from trainmaster.bot.core.alerts.finding import Finding, Nature, Severity
from trainmaster.bot.core.check_name import CheckName
from trainmaster.bot.core.conversation.message import ButtonStyle
from trainmaster.bot.core.conversation.tokens import moment
from trainmaster.bot.core.decisions.buttons import rollback_button
from trainmaster.bot.core.run.forecast import Basis, duration, forecast
from trainmaster.bot.core.run.view import RunView
from trainmaster.trainer.contract import Verdict


def check_checkpoints(view: RunView, limits: CheckLimits, now: float) -> tuple[Finding, ...]:
    """A condition while the newest saved checkpoint is attested contaminated, while the newest finished epoch has left
    none, and while the newest of all is so old that much would be lost."""
    return (*_contaminated(view, now), *_missing(view, limits, now), *_stale(view, limits, now))


def _missing(view: RunView, limits: CheckLimits, now: float) -> tuple[Finding, ...]:
    if not view.guarded or not view.state.active:
        return ()
    attempt = view.attempt
    finished = [epoch for epoch in view.story() if epoch.finished and epoch.attempt == attempt]
    if not finished:
        return ()
    last = finished[-1]
    assert last.finished_ts is not None
    saved = [one.epoch for one in view.checkpoints if one.epoch is not None]
    waited_s = view.trainer_now(now) - last.finished_ts
    if last.epoch in saved or waited_s <= limits.checkpoint_grace_s:
        return ()
    clean = view.last_clean
    return (
        Finding(
            run=view.run,
            check=CheckName.CHECKPOINT_MISSING,
            key=f"attempt{view.attempt}",
            severity=Severity.WARNING,
            nature=Nature.CONDITION,
            ts=now,
            title=f"{view.name}: epoch {last.epoch} ended {duration(waited_s)} ago and left no checkpoint "
            f"(limit {duration(limits.checkpoint_grace_s)})",
            body=("If the run ends now, this epoch is lost. Look at the space on its disk and at save= of the run.",),
            fields=(("Last clean checkpoint", f"epoch {clean.epoch}" if clean else "none"),),
            hint="/train status",
            resolution=f"{view.name}: a checkpoint was saved again",
        ),
    )


def _stale(view: RunView, limits: CheckLimits, now: float) -> tuple[Finding, ...]:
    if not view.state.active:
        return ()
    ahead = forecast(view, now)
    newest_ts = max((one.ts for one in view.checkpoints if one.ts is not None), default=None)
    if ahead.basis is not Basis.MEASURED or ahead.epoch_s is None or newest_ts is None:
        return ()
    started_ts = view.record.started_ts if view.record and view.record.started_ts else newest_ts
    age_s = view.trainer_now(now) - max(newest_ts, started_ts)
    limit_s = max(limits.checkpoint_stale_epochs * ahead.epoch_s, limits.checkpoint_grace_s)
    if age_s <= limit_s:
        return ()
    return (
        Finding(
            run=view.run,
            check=CheckName.CHECKPOINT_STALE,
            key=f"attempt{view.attempt}",
            severity=Severity.WARNING,
            nature=Nature.CONDITION,
            ts=now,
            title=f"{view.name}: the newest checkpoint is {duration(age_s)} old (limit {duration(limit_s)})",
            body=(f"An epoch takes {duration(ahead.epoch_s)}; what came since is lost if the run ends now.",),
            fields=(("Saved", moment(newest_ts)),),
            hint="/train status",
            resolution=f"{view.name}: a new checkpoint was saved",
        ),
    )


def _contaminated(view: RunView, now: float) -> tuple[Finding, ...]:
    latest = max((c for c in view.checkpoints if c.epoch is not None), key=lambda c: c.ts or 0.0, default=None)
    if latest is None or latest.verdict is not Verdict.CONTAMINATED:
        return ()
    clean = view.last_clean
    return (
        Finding(
            run=view.run,
            check=CheckName.CHECKPOINT_CONTAMINATED,
            key=f"epoch{latest.epoch}",
            severity=Severity.CRITICAL,
            nature=Nature.CONDITION,
            ts=latest.ts or now,
            title=f"{view.name}: the checkpoint of epoch {latest.epoch} is contaminated",
            body=latest.reasons or ("The trainer gave no reason.",),
            fields=(
                ("File", latest.file),
                ("Last clean checkpoint", f"epoch {clean.epoch}" if clean else "none"),
            ),
            hint="/train execute rollback",
            resolution=f"{view.name}: a clean checkpoint was saved",
            buttons=(rollback_button(view.run, ButtonStyle.DANGER),),
        ),
    )
