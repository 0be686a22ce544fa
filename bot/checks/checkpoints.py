"""Checkpoints that were saved bad, and epochs that left none."""

from __future__ import annotations

from bot.checks.limits import CheckLimits
from bot.core.finding import Finding, Nature, Severity
from bot.core.message import ActionId, Button, ButtonStyle
from bot.core.view import RunView
from trainer.contract import Verdict


def check_checkpoints(view: RunView, limits: CheckLimits, now: float) -> tuple[Finding, ...]:
    """A condition while the newest saved checkpoint is attested contaminated."""
    del limits
    latest = max((c for c in view.checkpoints if c.epoch is not None), key=lambda c: c.ts or 0.0, default=None)
    if latest is None or latest.verdict is not Verdict.CONTAMINATED:
        return ()
    clean = view.last_clean
    return (
        Finding(
            run=view.run,
            check="checkpoint_contaminated",
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
            buttons=(
                Button(
                    action=ActionId.PROPOSE_ROLLBACK,
                    label="Propose rollback",
                    value=view.run,
                    style=ButtonStyle.DANGER,
                ),
            ),
        ),
    )
