"""``trainmaster test-alert``: the first alert in the channel before there is a run, or what is in its way, in words."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from trainmaster.bot.cli.arguments import VerbParser, seconds
from trainmaster.bot.core.alerts.page import PageKind
from trainmaster.bot.core.conversation.message import Item, Mark, Message, Tone
from trainmaster.bot.core.conversation.tokens import moment
from trainmaster.bot.errors import ChatError, TrainmasterError
from trainmaster.bot.paging.apprise_sender import INSTALL, AppriseSender, is_installed
from trainmaster.bot.paging.faults import PageError
from trainmaster.bot.paging.target import PageTarget
from trainmaster.bot.ports import RateLimited
from trainmaster.bot.settings.model import Settings, load_settings
from trainmaster.bot.slack.connection import SlackConnection
from trainmaster.bot.wiring.people import slack_access

_ENV_FILE: Final = Path(".env")
_RESOLVE_AFTER_S: Final = 5.0
_PAGE_TITLE: Final = "Test page: Trainmaster can call you"
_TITLE: Final = "Test alert: Trainmaster reaches this channel"


def main(argv: Sequence[str]) -> int:
    """0 once the alert stands in the channel, resolved.

    Raises:
        TrainmasterError: the settings are not usable, or Slack refused the token, the channel or the message.
    """
    parser = VerbParser(
        prog="trainmaster test-alert",
        description="Post an alert into ALERT_CHANNEL like a run's own, then resolve it. Needs neither run nor bot.",
    )
    parser.add_argument("--ring", action="store_true", help="mention the people on call, so that their phones ring")
    parser.add_argument("--page", action="store_true", help="call PAGE_URLS instead: each gets a page, and its end")
    parser.add_argument(
        "--resolve-after",
        type=seconds,
        default=_RESOLVE_AFTER_S,
        metavar="SECONDS",
        help=f"how long it shows as firing ({_RESOLVE_AFTER_S:g})",
    )
    asked = parser.parse_args(argv)
    settings = load_settings(os.environ, _ENV_FILE)
    if asked.page:
        return call(settings.page_urls, resolve_after_s=asked.resolve_after)
    asyncio.run(tell(settings, ring=asked.ring, resolve_after_s=asked.resolve_after))
    return 0


def call(targets: Sequence[PageTarget], *, resolve_after_s: float) -> int:
    """Each target got a page and its end; 1 when one did not take it, which is printed.

    Raises:
        TrainmasterError: there is none, or Apprise is not installed.
    """
    if not targets:
        raise TrainmasterError("no-page-target", "PAGE_URLS is not set.", "trainmaster settings explains it")
    if not is_installed():
        raise TrainmasterError("not-installed", "Apprise is not installed.", INSTALL)
    sender, incident = AppriseSender(), secrets.token_hex(16)
    here = socket.gethostname()
    taken: list[PageTarget] = []
    for target in targets:
        try:
            body = f"Nothing is wrong: somebody typed trainmaster test-alert --page on {here}."
            sender.send(target, incident=incident, kind=PageKind.FIRED, title=_PAGE_TITLE, body=body)
        except PageError as error:
            print(f"FAIL  {error.message}", flush=True)
        else:
            print(f"ok    {target.label} took it", flush=True)
            taken.append(target)
    time.sleep(resolve_after_s)
    for target in taken:
        title = f"Resolved: {_PAGE_TITLE}"
        sender.send(target, incident=incident, kind=PageKind.RESOLVED, title=title, body="It is over.")
    return 0 if len(taken) == len(targets) else 1


async def tell(settings: Settings, *, ring: bool, resolve_after_s: float) -> None:
    """The alert was posted, and edited to resolved ``resolve_after_s`` seconds later.

    Raises:
        TrainmasterError: as :func:`main`.
    """
    connection = SlackConnection(slack_access(settings))
    try:
        await connection.check_token()
        channel = await connection.check_channel(join=True)
        people = tuple(sorted(await connection.chat.on_call())) if ring else ()
        if ring and not people:
            raise TrainmasterError("nobody-on-call", "nobody is on call.", "set ONCALL_USERS or ONCALL_USERGROUP")
        fired_ts = time.time()
        key = f"test-alert/{secrets.token_hex(6)}"
        try:
            posted = await connection.chat.post(channel, firing(fired_ts, people), thread_ts=None, key=key)
            print(f"The alert stands in {settings.alert_channel}: {connection.link(posted) or posted.ts}", flush=True)
            await asyncio.sleep(resolve_after_s)
            await connection.chat.update(posted, resolved(fired_ts, time.time()))
        except RateLimited as limited:
            message = f"Slack asks to wait {limited.retry_after_s:.0f} s."
            raise ChatError("slack-busy", message, "try again then") from limited
        print("It is resolved now. Next: trainmaster run")
    finally:
        await connection.close()


def firing(fired_ts: float, mentions: tuple[str, ...]) -> Message:
    """As an alert stands in the channel while it fires."""
    return Message(
        title=_TITLE,
        tone=Tone.CRITICAL,
        body=("Nothing is wrong: somebody typed trainmaster test-alert. A run's alert looks like this.",),
        fields=(("Sent from", socket.gethostname()),),
        context=(f"since {moment(fired_ts)}",),
        mentions=mentions,
    )


def resolved(fired_ts: float, now: float) -> Message:
    """As the same alert stands there afterwards."""
    return Message(
        title="Test alert resolved: alerts reach this channel, and are edited when they end",
        tone=Tone.GOOD,
        fields=(("Sent from", socket.gethostname()),),
        items=(
            Item(mark=Mark.WARNING, text="Fired", detail=moment(fired_ts)),
            Item(mark=Mark.DONE, text="Resolved", detail=moment(now)),
        ),
    )
