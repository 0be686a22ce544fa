"""Decides what is paged, writes it down, and sends it until it is taken."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from trainmaster.bot.core.alerts.alert import Alert, AlertState
from trainmaster.bot.core.alerts.page import Page, PageKind
from trainmaster.bot.core.conversation.tokens import plain
from trainmaster.bot.errors import TrainmasterError
from trainmaster.bot.paging.duty import PageReason, held_back, may_be_paged, next_targets, page_reason
from trainmaster.bot.paging.faults import PageUnsureError
from trainmaster.bot.paging.limits import PagingLimits
from trainmaster.bot.paging.target import PageTarget
from trainmaster.bot.ports import Clock

_LOG = logging.getLogger(__name__)

_HOUR_S: Final = 3600.0
_MAX_TEXT: Final = 900
"""Characters: an SMS gateway cuts earlier, a phone's screen shows less."""
_THREADS: Final = 4
_HELD: Final = "held-back"
_WHAT_TO_DO: Final = {
    PageReason.UNACKNOWLEDGED: "Acknowledge it in Slack: /train ack",
    PageReason.SLACK_AWAY: "It can't be acknowledged there before Slack is back. On the bot's host: trainmaster watch",
}


class PagedAlerts(Protocol):
    """What the pager asks of the alerts."""

    def troubles(self) -> Sequence[Alert]:
        """What fires; of many alerts with one trouble behind them, one."""
        ...

    def silenced(self, alert: Alert) -> bool:
        """Whether somebody asked not to hear of it."""
        ...

    def trouble(self, fingerprint: str) -> Alert | None:
        """It as it is, firing or not."""
        ...


class Pages(Protocol):
    """What was decided; survives a restart."""

    def put(self, pages: Sequence[Page]) -> None: ...  # noqa: D102 - see the store
    def of(self, fingerprint: str, times_fired: int) -> Sequence[Page]: ...  # noqa: D102
    def waiting(self) -> Sequence[Page]: ...  # noqa: D102
    def unresolved(self) -> Sequence[Page]: ...  # noqa: D102
    def sent_since(self, since_ts: float) -> dict[str, int]: ...  # noqa: D102
    def mark_sent(self, page: Page, now: float) -> None: ...  # noqa: D102
    def mark_failed(self, page: Page, next_try_ts: float) -> None: ...  # noqa: D102
    def mark_unsure(self, page: Page, next_try_ts: float) -> None: ...  # noqa: D102
    def drop(self, page: Page) -> None: ...  # noqa: D102
    def forget(self, before_ts: float) -> None: ...  # noqa: D102


class PageSender(Protocol):
    """Sends one page; blocks."""

    def send(self, target: PageTarget, *, incident: str, kind: PageKind, title: str, body: str) -> None:
        """``target`` took it; raises :class:`TrainmasterError` when it did not, of which :class:`PageUnsureError` says
        that it may have."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """What the pager asks of others. ``sent_ts``: when the alert's message stood in the channel. ``muted``: whether the
    person is muted in Slack, None when it does not say. ``note``: told of a target what :meth:`OwnJobs.note`
    is."""

    sent_ts: Callable[[str], float | None]
    muted: Callable[[str], Awaitable[bool | None]]
    note: Callable[[str, str | None], None]


class Pager:
    """At most one page of a kind for each firing of an alert and each target. Written first, sent then: a bot that is
    killed in between sends it again, rather twice than never."""

    def __init__(
        self,
        *,
        targets: Sequence[PageTarget],
        alerts: PagedAlerts,
        pages: Pages,
        sender: PageSender,
        ways: Ways,
        clock: Clock,
        limits: PagingLimits,
        minute: Callable[[float], int] = lambda ts: 60 * time.localtime(ts).tm_hour + time.localtime(ts).tm_min,
    ) -> None:
        """``minute``: of the day, on this host's clock."""
        self._targets = {one.key: one for one in targets}
        self._alerts = alerts
        self._pages = pages
        self._sender = sender
        self._ways = ways
        self._clock = clock
        self._limits = limits
        self._minute = minute
        # Of its own: a service that hangs must not take threads that others wait for.
        self._threads = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="page")
        self._calls: dict[str, asyncio.Task[None]] = {}

    async def tick(self) -> None:
        """What is due was decided, written down and tried once. A target that has not answered by the end of the tick
        is waited for in the background."""
        await self._decide()
        self._resolve()
        await self._send_all()

    async def forget(self) -> None:
        """What was decided long ago and waits for nothing is gone.

        Raises:
            StoreError: it is there still.
        """
        self._pages.forget(self._clock.now() - self._limits.forget_after_s)

    def close(self) -> None:
        """Nothing more is sent; what waits is sent after the next start."""
        for call in self._calls.values():
            call.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _decide(self) -> None:
        now = self._clock.now()
        busy: frozenset[str] | None = None
        for alert in filter(may_be_paged, self._alerts.troubles()):
            why = page_reason(
                alert,
                sent_ts=self._ways.sent_ts(alert.fingerprint),
                silenced=self._alerts.silenced(alert),
                now=now,
                limits=self._limits,
            )
            if not why.due:
                continue
            made = self._pages.of(alert.fingerprint, alert.times_fired)
            if busy is None:
                busy = await self._busy(now)
            called = next_targets(tuple(self._targets.values()), made, busy=busy, now=now, limits=self._limits)
            title, body = words(alert, why)
            self._pages.put([_fired(alert, target, title, body, now) for target in called])

    async def _busy(self, now: float) -> frozenset[str]:
        minute = self._minute(now)
        people = [one for one in self._targets.values() if one.user is not None]
        muted = await asyncio.gather(*(self._ways.muted(one.user) for one in people if one.user is not None))
        return frozenset(
            one.user
            for one, is_muted in zip(people, muted, strict=True)
            if one.user is not None and (is_muted is True or one.is_quiet(minute))
        )

    def _resolve(self) -> None:
        now = self._clock.now()
        for page in self._pages.unresolved():
            alert = self._alerts.trouble(page.fingerprint)
            fires = alert is not None and alert.state is AlertState.FIRING and alert.times_fired == page.times_fired
            if alert is not None and fires and not (alert.acked_by is not None and page.sent_ts is None):
                continue
            if page.sent_ts is None:
                if page.target in self._calls:  # how that ends is seen at the next tick
                    continue
                if page.unsure:  # it may have rung: not again, and whoever heard it hears the end
                    self._pages.mark_sent(page, now)
                else:
                    self._pages.drop(page)
                continue
            title = f"Resolved: {page.title}"
            if alert is not None and not fires and alert.finding.resolution:
                title = plain(alert.finding.resolution)[:_MAX_TEXT]
            self._pages.put(
                [
                    Page(
                        fingerprint=page.fingerprint,
                        times_fired=page.times_fired,
                        target=page.target,
                        kind=PageKind.RESOLVED,
                        title=title,
                        body=f"Was: {page.title}",
                        made_ts=now,
                        next_try_ts=now,
                    )
                ]
            )

    async def _send_all(self) -> None:
        now = self._clock.now()
        sent = self._pages.sent_since(now - _HOUR_S)
        due: dict[str, list[Page]] = {}
        for page in self._pages.waiting():
            target = self._targets.get(page.target)
            if target is None:  # no longer among the settings
                self._pages.drop(page)
                continue
            due.setdefault(page.target, []).append(page)
        for key, pages in due.items():
            if key not in self._calls:
                self._calls[key] = asyncio.create_task(self._serve(self._targets[key], pages, sent, now))
        if self._calls:
            await asyncio.wait(self._calls.values(), timeout=self._limits.tick_s)
        over = [self._calls.pop(key) for key, call in tuple(self._calls.items()) if call.done()]
        for call in over:
            call.result()

    async def _serve(self, target: PageTarget, pages: Sequence[Page], sent: dict[str, int], now: float) -> None:
        """Beside the other targets: each page is tried once, until one fails or the tick is over, since what waits may
        be over by then too."""
        held = 0
        for page in pages:
            if page.kind is PageKind.FIRED and held_back(sent, target.key, self._limits):
                held += 1
                continue
            if page.next_try_ts > now:
                continue
            if not await self._try(target, page) or self._clock.now() - now > self._limits.tick_s:
                return
            sent[target.key] = sent.get(target.key, 0) + (page.kind is PageKind.FIRED)
        if held:
            self._pages.put([_held(target, held, self._limits, now)])

    async def _try(self, target: PageTarget, page: Page) -> bool:
        incident = hashlib.sha256(f"{page.fingerprint}#{page.times_fired}".encode("utf-8", "replace")).hexdigest()[:32]
        send = partial(self._sender.send, target, incident=incident, kind=page.kind)
        call = self._threads.submit(send, title=page.title, body=page.body)
        try:
            async with asyncio.timeout(self._limits.answer_within_s):
                await asyncio.wrap_future(call)
        except TimeoutError:
            if not call.cancelled():  # it has begun
                fault = f"no answer within {self._limits.answer_within_s:g} s; it may have rung"
                self._not_answered(target, page, fault)
                return False
            fault = f"the calls before it took longer than {self._limits.answer_within_s:g} s"
        except PageUnsureError as error:
            self._not_answered(target, page, error.message)
            return False
        except TrainmasterError as error:
            fault = error.message
        except Exception as error:  # noqa: BLE001 - a plug-in of a service may raise anything; its text may be a secret
            fault = f"{type(error).__name__} in the service's own code"
        else:
            self._pages.mark_sent(page, self._clock.now())
            self._ways.note(target.label, None)
            _LOG.info("page: %s was told: %s", target.label, page.title)
            return True
        pause_s = min(self._limits.retry_s * 2.0 ** min(page.tries, 16), self._limits.retry_max_s)
        self._pages.mark_failed(page, self._clock.now() + pause_s)
        self._ways.note(target.label, fault)
        _LOG.warning("page: %s was not told (%s); again in %g s", target.label, fault, pause_s)
        return False

    def _not_answered(self, target: PageTarget, page: Page, fault: str) -> None:
        """It may have rung: called again rarely, and in the end no more."""
        now, pause_s = self._clock.now(), self._limits.unsure_retry_s
        if page.unsure + 1 < self._limits.unsure_calls:
            self._pages.mark_unsure(page, now + pause_s)
            _LOG.warning("page: %s (%s); again in %g s", target.label, fault, pause_s)
        else:
            self._pages.mark_sent(page, now)
            _LOG.warning("page: %s (%s); called %d times, not again", target.label, fault, page.unsure + 1)
        self._ways.note(target.label, fault)


def words(alert: Alert, why: PageReason) -> tuple[str, str]:
    """Title and text of a page: what happened, the figures, and how to take it. Plain text, no markup."""
    finding = alert.finding
    lines = [*finding.body, *(f"{name}: {value}" for name, value in finding.fields), finding.hint]
    text = "\n".join(plain(line) for line in lines if line)
    ending = f"Paged because {why.value}. {_WHAT_TO_DO[why]}"
    title = plain(finding.title)
    return title[:_MAX_TEXT], f"{text[: _MAX_TEXT - len(ending)]}\n{ending}".strip()


def _fired(alert: Alert, target: PageTarget, title: str, body: str, now: float) -> Page:
    return Page(
        fingerprint=alert.fingerprint,
        times_fired=alert.times_fired,
        target=target.key,
        kind=PageKind.FIRED,
        title=title,
        body=body,
        made_ts=now,
        next_try_ts=now,
    )


def _held(target: PageTarget, held: int, limits: PagingLimits, now: float) -> Page:
    """The word that pages are held back: one an hour."""
    waiting = "1 more critical alert waits" if held == 1 else f"{held} more critical alerts wait"
    return Page(
        fingerprint=_HELD,
        times_fired=int(now // _HOUR_S),
        target=target.key,
        kind=PageKind.HELD,
        title=f"trainmaster: {waiting}, held back",
        body=f"PAGE_PER_HOUR is {limits.page_per_hour}. See the alerts in Slack, or trainmaster watch.",
        made_ts=now,
        next_try_ts=now,
    )
