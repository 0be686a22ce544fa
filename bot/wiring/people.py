"""Settings -> what speaks to people: the way to the workspace, and whoever is called beyond it."""

from __future__ import annotations

from trainmaster.bot.alerting.pipeline import AlertPipeline
from trainmaster.bot.errors import SettingsError
from trainmaster.bot.paging.apprise_sender import INSTALL, AppriseSender, is_installed, not_understood
from trainmaster.bot.paging.limits import PagingLimits
from trainmaster.bot.paging.pager import Pager, Ways
from trainmaster.bot.ports import Clock
from trainmaster.bot.settings.model import Settings
from trainmaster.bot.slack.chat import OnCallSource
from trainmaster.bot.slack.connection import SlackAccess
from trainmaster.bot.storage.pages import PageStore


def slack_access(settings: Settings) -> SlackAccess:
    """How the settings reach the workspace."""
    assert settings.slack_bot_token and settings.slack_app_token and settings.alert_channel  # noqa: PT018
    return SlackAccess(
        bot_token=settings.slack_bot_token.get_secret_value(),
        app_token=settings.slack_app_token.get_secret_value(),
        api_url=settings.slack_api_url,
        channel=settings.alert_channel,
        on_call=OnCallSource(users=settings.oncall_users, usergroup=settings.oncall_usergroup),
        hints=settings.channel_hints == "on",
    )


def make_pager(
    settings: Settings, *, alerts: AlertPipeline, pages: PageStore, ways: Ways, clock: Clock
) -> Pager | None:
    """Who calls people beyond Slack; None where PAGE_URLS names nobody.

    Raises:
        SettingsError: PAGE_URLS can't be used.
    """
    if not settings.page_urls:
        return None
    if not is_installed():
        raise SettingsError("settings", "PAGE_URLS is set, and Apprise is not installed.", INSTALL)
    if faults := not_understood(settings.page_urls):
        raise SettingsError("settings", f"PAGE_URLS: {' '.join(faults)}", "trainmaster doctor checks each")
    limits = settings.part(PagingLimits)
    return Pager(
        targets=settings.page_urls,
        alerts=alerts,
        pages=pages,
        sender=AppriseSender(answer_within_s=limits.answer_within_s),
        ways=ways,
        clock=clock,
        limits=limits,
    )
