"""Settings -> the limits of checks, alerts and operations."""

from __future__ import annotations

from trainmaster.bot.alerting.limits import AlertLimits, Audience, Tier
from trainmaster.bot.checks.limits import CheckLimits, DutyLimits, HostLimits
from trainmaster.bot.core.alerts.finding import Severity
from trainmaster.bot.core.run.epoch_report import ReportLimits
from trainmaster.bot.core.run.storm import StormLimits
from trainmaster.bot.operations.limits import OperationLimits
from trainmaster.bot.settings.model import Settings


def check_limits(settings: Settings) -> CheckLimits:
    """What a check calls trouble."""
    return CheckLimits(
        clear_batches=settings.clear_batches,
        startup_timeout_s=settings.startup_timeout_s,
        stall_factor=settings.stall_factor,
        stall_min_s=settings.stall_min_s,
        stall_max_s=settings.stall_max_s,
        validation_timeout_s=settings.validation_timeout_s,
        phase_min_s=settings.phase_min_s,
        phase_max_s=settings.phase_max_s,
        slow_factor=settings.slow_factor,
        slow_window_s=settings.slow_window_s,
        late_factor=settings.late_factor,
        late_min_s=settings.late_min_s,
        clip_rise_pct=settings.clip_rise_pct,
        clip_min_batches=settings.clip_min_batches,
        gradient_growth_factor=settings.gradient_growth_factor,
        spike_mads=settings.spike_mads,
        spike_rise_pct=settings.spike_rise_pct,
        loss_patience_epochs=settings.loss_patience_epochs,
        loss_lr_share=settings.loss_lr_share,
        checkpoint_grace_s=settings.checkpoint_grace_s,
        checkpoint_stale_epochs=settings.checkpoint_stale_epochs,
        report=ReportLimits(
            few_clips_pct=settings.few_clips_pct,
            clip_outlier_ratio=settings.clip_outlier_ratio,
            loss_rise_pct=settings.loss_rise_pct,
            loss_jump_factor=settings.loss_jump_factor,
        ),
    )


def host_limits(settings: Settings) -> HostLimits:
    """What is called trouble of the host."""
    return HostLimits(
        disk_free_min_gib=settings.disk_free_min_gib,
        disk_free_critical_gib=settings.disk_free_critical_gib,
        memory_available_min_pct=settings.memory_available_min_pct,
        swap_in_max_mib_s=settings.swap_in_max_mib_s,
        gpu_hot_c=settings.gpu_hot_c,
        gpu_hot_margin_c=settings.gpu_hot_margin_c,
        gpu_memory_free_min_gib=settings.gpu_memory_free_min_gib,
    )


def duty_limits(settings: Settings) -> DutyLimits:
    """What is called trouble of the bot itself."""
    return DutyLimits(faults_in_a_row=settings.bot_faults_in_a_row)


def alert_limits(settings: Settings) -> AlertLimits:
    """When an alert fires, is repeated and resolves."""
    return AlertLimits(
        hold_warning_s=settings.hold_warning_s,
        resolve_hold_s=settings.resolve_hold_s,
        repeat_critical_s=settings.repeat_critical_s,
        repeat_warning_s=settings.repeat_warning_s,
        silence_s=settings.silence_s,
    )


def audience(settings: Settings) -> Audience:
    """Who hears of critical alerts."""
    on_call = settings.oncall_users or ((settings.oncall_usergroup,) if settings.oncall_usergroup else ())
    tiers: list[Tier] = []
    for after_s, users in settings.escalate_to:
        before_s = tiers[-1].after_s if tiers else 0.0
        due_s = before_s + settings.escalate_after_s if after_s is None else max(before_s, after_s)
        tiers.append(Tier(after_s=due_s, users=users))
    elsewhere = {Severity.INFO: settings.info_channel} if settings.info_channel else {}
    return Audience(on_call=on_call, escalation=tuple(tiers), channel_by_severity=elsewhere)


def operation_limits(settings: Settings) -> OperationLimits:
    """How stops and rollbacks are decided and how long their steps may take."""
    return OperationLimits(
        approvals_required=settings.approvals_required,
        allow_self_approval=settings.allow_self_approval,
        approval_ttl_s=settings.approval_ttl_s,
        reminder_s=settings.approval_reminder_s,
        escalate_to=tuple(dict.fromkeys(user for _, users in settings.escalate_to for user in users)),
        propose_on_storm=settings.propose_on_storm,
        storm_ttl_s=settings.storm_approval_ttl_s,
        storm=StormLimits(num_bad=settings.storm_bad_batches, window_batches=settings.storm_window_batches),
        stop_grace_s=settings.stop_grace_s,
        stop_grace_max_s=settings.stop_grace_max_s,
    )
