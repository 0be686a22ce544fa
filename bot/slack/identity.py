"""Who the bot is, as ``auth.test`` tells."""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from slack_sdk.web.async_slack_response import AsyncSlackResponse

from trainmaster.bot.errors import ChatError


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """``scopes`` is None where the server does not tell them; ``server_ts`` is its clock."""

    user: str
    bot_id: str | None
    team_id: str | None
    team: str
    scopes: frozenset[str] | None
    server_ts: float | None
    url: str = ""
    """Of the workspace."""


def identity_of(answer: AsyncSlackResponse, api_url: str) -> Identity:
    """What the answer of ``auth.test`` at ``api_url`` says.

    Raises:
        ChatError: it does not say who the bot is.
    """
    user = answer.get("user_id")
    if not isinstance(user, str):
        raise ChatError("slack-answer", f"{api_url} did not tell who the bot is.", "check SLACK_API_URL")
    headers = {str(name).lower(): value for name, value in dict(answer.headers).items()}
    listed = headers.get("x-oauth-scopes")
    scopes = frozenset(one.strip() for one in listed.split(",")) if isinstance(listed, str) else None
    return Identity(
        user=user,
        bot_id=answer.get("bot_id"),
        team_id=answer.get("team_id"),
        team=str(answer.get("team") or ""),
        scopes=scopes,
        server_ts=_parse_date(headers.get("date")),
        url=str(answer.get("url") or ""),
    )


def _parse_date(value: object) -> float | None:
    """Seconds since the epoch, from an HTTP Date header."""
    try:
        return parsedate_to_datetime(str(value)).timestamp()
    except ValueError:
        return None
