"""The way out: Apprise, which knows how to reach some hundred services. Loaded only when a page target is set."""

from __future__ import annotations

import logging
import re
import socket
from contextvars import ContextVar
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from trainmaster.bot.core.alerts.page import PageKind
from trainmaster.bot.core.conversation.words import capitalized
from trainmaster.bot.paging.faults import PageError, PageUnsureError
from trainmaster.bot.paging.limits import PagingLimits
from trainmaster.bot.paging.target import PageTarget

if TYPE_CHECKING:
    from collections.abc import Sequence

INSTALL: Final = "pip install 'trainmaster[page]'; in a checkout: pip install -e '.[page]'"
_KNOWS_INCIDENTS: Final = frozenset({"pagerduty"})
"""Services whose pages of one alert are one incident: raised, updated, and resolved by the last."""
_CONNECT_S: Final = 5.0
_MARGIN_S: Final = 1.0
_SENT_ALREADY: Final = re.compile(r"read timed out|connection aborted|connection reset|^\D*timed out$", re.IGNORECASE)
"""What Apprise logs of requests and smtplib when a call broke off after it was sent. A connection that never came about
reads "Max retries exceeded" and "Connection to … timed out"."""
_REDIRECTED: Final = re.compile(r"error=30[1-8]\b")
"""What Apprise logs of an address that is elsewhere."""
_heard: ContextVar[list[str] | None] = ContextVar("heard", default=None)


class _Ear(logging.Handler):
    """Hears what Apprise says of the call under way: its ``notify`` returns only that it failed."""

    def emit(self, record: logging.LogRecord) -> None:
        """It is kept until the call ends, and shown nowhere: it may hold the address."""
        if (heard := _heard.get()) is not None:
            heard.append(record.getMessage())


def is_installed() -> bool:
    """Whether Apprise can be loaded."""
    return find_spec("apprise") is not None


class AppriseSender:
    """Sends one page to one target; blocks, so call it in a thread."""

    def __init__(self, *, answer_within_s: float | None = None) -> None:
        """``answer_within_s``: a call is over by then, to connect included."""
        self._answer_within_s = PagingLimits().answer_within_s if answer_within_s is None else answer_within_s
        # Apprise logs addresses with their passwords left out, and says why a service refused: too much for our log.
        apprise_log = logging.getLogger("apprise")
        apprise_log.propagate = False
        apprise_log.setLevel(logging.DEBUG)
        if not any(isinstance(one, _Ear) for one in apprise_log.handlers):
            apprise_log.addHandler(_Ear())

    def send(self, target: PageTarget, *, incident: str, kind: PageKind, title: str, body: str) -> None:
        """``target`` took it.

        Raises:
            PageUnsureError: it was called and did not answer.
            PageError: it did not.
        """
        import apprise  # noqa: PLC0415 - half a second, only for who pages

        service = self._patient(service_of(target, incident))
        if "redirect=" not in target.url:
            service.redirects = False  # what follows one is a GET, often of a sign-in page, and the page is lost
        notify_type = apprise.NotifyType.SUCCESS if kind is PageKind.RESOLVED else apprise.NotifyType.FAILURE
        app = apprise.Apprise()
        app.add(service)
        heard: list[str] = []
        token = _heard.set(heard)
        try:
            taken = app.notify(title=title, body=body, notify_type=notify_type, body_format=apprise.NotifyFormat.TEXT)
        finally:
            _heard.reset(token)
        if taken:
            return
        label = capitalized(target.label)
        if any(_SENT_ALREADY.search(line.removeprefix("Socket Exception: ")) for line in heard):
            message = f"{label} was called and did not answer; it may have rung."
            raise PageUnsureError("page-unanswered", message, "check its network, or give its address rto=SECONDS")
        if any(_REDIRECTED.search(line) for line in heard):
            message = f"{label} did not take the page: its address redirects."
            hint = "give the address it leads to (https?), or redirect=yes if a call follows it in full"
            raise PageError("page-redirected", message, hint)
        raise PageError("page-not-taken", f"{label} did not take the page.", "check its address and network")

    def _patient(self, service: Any) -> Any:
        """``service``, which waits for an answer as long as we do, unless its address says how long."""
        connect_s = float(service.socket_connect_timeout)
        if service.socket_read_timeout == type(service).socket_read_timeout:
            service.socket_read_timeout = max(self._answer_within_s - connect_s - _MARGIN_S, _MARGIN_S)
        return service


def service_of(target: PageTarget, incident: str = "") -> Any:
    """Apprise's own object for the target.

    Raises:
        PageError: Apprise knows no such service, or the address lacks something.
    """
    import apprise  # noqa: PLC0415

    url = target.url
    if incident and target.kind in _KNOWS_INCIDENTS and "dedup=" not in url:
        url += f"{'&' if '?' in url else '?'}action=map&dedup={incident}"
    service = apprise.Apprise.instantiate(url, suppress_exceptions=True)
    if service is None:
        message = f"{target.name} is no address that Apprise understands."
        raise PageError("page-target", message, "see the page of that service in Apprise's documentation")
    return service


def reach(target: PageTarget) -> str:
    """What a connection to the target's host shows, in words; nothing is sent.

    Raises:
        PageError: as :func:`service_of`, or nobody listens there.
    """
    service = service_of(target)
    host = str(getattr(service, "host", "") or "") or _named_host(service)
    if not host:
        return "the address is understood; its service was not asked"
    port = int(getattr(service, "port", 0) or 0) or (443 if getattr(service, "secure", True) else 80)
    try:
        with socket.create_connection((host, port), timeout=_CONNECT_S):
            return "the address is understood, its host answers"
    except OSError as error:
        raise PageError("page-target", f"{target.name}: its host does not answer: {error}.") from error


def _named_host(service: Any) -> str:
    """Of a service with an address of its own."""
    address: Any = getattr(service, "notify_url", "")
    return (urlsplit(address).hostname or "") if isinstance(address, str) and "{" not in address else ""


def not_understood(targets: Sequence[PageTarget]) -> tuple[str, ...]:
    """Why these can't be used, one sentence each; none when all can."""
    faults: list[str] = []
    for target in targets:
        try:
            service_of(target)
        except PageError as error:
            faults.append(error.message)
    return tuple(faults)
