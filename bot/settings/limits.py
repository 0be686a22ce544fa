"""What is made of several settings, or of one by reckoning. Everything else is ``settings.part(CheckLimits)``."""

from __future__ import annotations

from dataclasses import replace

from trainmaster.bot.alerting.limits import AlertLimits, Audience, NoOwners, OwnerBook, Tier
from trainmaster.bot.core.alerts.finding import Severity
from trainmaster.bot.operations.limits import OperationLimits
from trainmaster.bot.settings.model import Settings


def audience(settings: Settings, owners: OwnerBook = NoOwners()) -> Audience:  # noqa: B008 - it holds nothing
    """Who hears of critical alerts."""
    on_call = settings.oncall_users or ((settings.oncall_usergroup,) if settings.oncall_usergroup else ())
    step_s = settings.part(AlertLimits).escalate_after_s
    tiers: list[Tier] = []
    for after_s, users in settings.escalate_to:
        before_s = tiers[-1].after_s if tiers else 0.0
        due_s = before_s + step_s if after_s is None else max(before_s, after_s)
        tiers.append(Tier(after_s=due_s, users=users))
    elsewhere = {Severity.INFO: settings.info_channel} if settings.info_channel else {}
    return Audience(on_call=on_call, escalation=tuple(tiers), channel_by_severity=elsewhere, owners=owners)


def named_people(settings: Settings) -> frozenset[str]:
    """Everybody whom the settings name, user groups included."""
    return frozenset((*settings.oncall_users, *(user for _, users in settings.escalate_to for user in users)))


def operation_limits(settings: Settings) -> OperationLimits:
    """How stops and rollbacks are decided. The last reminder mentions everybody to whom alerts escalate."""
    everybody = dict.fromkeys(user for _, users in settings.escalate_to for user in users)
    return replace(settings.part(OperationLimits), escalate_to=tuple(everybody))
