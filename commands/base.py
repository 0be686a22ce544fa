"""What a command is, and what it may touch."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from trainmaster.bot.core.alerts.book import AlertBook
from trainmaster.bot.core.conversation.message import Reply
from trainmaster.bot.core.conversation.request import Request
from trainmaster.bot.core.decisions.approval import Approval
from trainmaster.bot.core.decisions.change import Proposal
from trainmaster.bot.core.decisions.order import Order
from trainmaster.bot.core.health.host import HostFact
from trainmaster.bot.core.run.epoch_report import ReportLimits
from trainmaster.bot.errors import CommandError
from trainmaster.bot.ports import Clock, Outbox, Posted, Runs
from trainmaster.commands.roles import AuditTrail, Gate, NoRoles, OnCallNow, Roles


class RunOperations(Protocol):
    """Operations, as commands and buttons use them; what may be ordered stands in
    :mod:`trainmaster.bot.core.decisions.order`."""

    async def perform(self, order: Order) -> Reply:
        """The order is carried out or under way, durably, as the answer says.

        Raises:
            TrainmasterError: it is not; says why.
        """
        ...

    def run_of(self, key: str) -> str | None:
        """The run that the message ``approval/ID`` or ``operation/ID`` is about; None for other keys."""
        ...


class OnCallGuard(OnCallNow, Protocol):
    """Who may act, looked up at the moment of the act."""

    async def require(self, user: str, what: str) -> None:
        """``user`` is on call.

        Raises:
            CommandError: they are not; says who is, and that only they may do ``what``.
            ChatError: that could not be found out.
        """
        ...


class Selection(Protocol):
    """Which run a channel talks about."""

    def chosen(self, channel: str) -> str | None:
        """The run id chosen there with ``use``; None when none was."""
        ...

    def choose(self, channel: str, run: str) -> None:
        """Commands in the channel are about this run from now on."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Everything a command may use."""

    runs: Runs
    operations: RunOperations
    alerts: AlertBook
    outbox: Outbox
    on_call: OnCallGuard
    clock: Clock
    selection: Selection
    report_limits: ReportLimits
    host: Callable[[], HostFact | None] = lambda: None
    """The newest look at the host that the bot runs on."""
    roles: Roles = field(default_factory=NoRoles)
    audit: AuditTrail | None = None
    together: Callable[[], AbstractContextManager[None]] = nullcontext
    """Around an act and its entry in the audit log: both are committed, or neither."""
    members_care: bool = False
    """Whether members of the alert channel may take and silence alerts, not only people on call."""
    planned: Callable[[str], tuple[str, ...]] = lambda _: ()
    """What is planned for a run and under way on it, a sentence each."""
    questions: Callable[[], Sequence[Approval]] = lambda: ()
    """Questions that wait for an answer, of every run."""
    proposals: Callable[[], Sequence[Proposal]] = lambda: ()
    """Questions about other settings that wait for an answer, of every run."""
    concerned: Callable[[], frozenset[str]] = frozenset
    """Runs that something is asked, planned or done about."""
    link: Callable[[Posted], str] = lambda _: ""
    """The address of a message."""
    told_by: Callable[[str], str] = lambda _: ""
    """The bot that tells the alert of that fingerprint here in place of this one, or with an empty one any alert; empty
    where this one does."""

    @property
    def gate(self) -> Gate:
        """Who may do what."""
        return Gate(
            on_call=self.on_call, roles=self.roles, clock=self.clock, audit=self.audit, members_care=self.members_care
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """One use of a command. ``words`` are the command's own groups, lower-cased names to text."""

    request: Request
    words: dict[str, str]
    acts: bool = False
    """Whether the command does something to the run that it is about."""

    def integer(self, name: str) -> int | None:
        """The number given for ``name``; None when it was left out.

        Raises:
            CommandError: it is larger than any epoch can be.
        """
        text = self.words.get(name)
        if not text:
            return None
        if len(text) > 6:
            raise CommandError("number-too-large", f"{text[:12]} is no epoch: the limit is 999999.", "/train status")
        return int(text)


class Needs(StrEnum):
    """Who may use a command."""

    NOTHING = "nothing"
    """It only tells."""
    VOICE = "voice"
    """It asks others for a decision, or changes what people here see."""
    CARE = "care"
    """It takes or silences alerts."""
    ON_CALL = "on call"


class Fits(StrEnum):
    """When a command is of use, for what help shows."""

    ALWAYS = "always"
    AT_WORK = "while the run trains"
    OVER = "while the run is stopped"
    ALERT = "while an alert fires"


Action = Callable[[Invocation, Context], Awaitable[Reply]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """``pattern`` must match the whole text, case ignored. ``examples`` are real uses; the first is the help's."""

    name: str
    summary: str
    examples: tuple[str, ...]
    pattern: re.Pattern[str]
    action: Action
    needs: Needs = Needs.NOTHING
    fits: Fits = Fits.ALWAYS
    what: str = ""
    """What the command does, as in “only people on call may stop a run”."""

    @property
    def acts(self) -> bool:
        """Whether it does something to the run that it is about, or asks others to."""
        return self.needs in {Needs.ON_CALL, Needs.VOICE}

    def match(self, text: str) -> dict[str, str] | None:
        """The groups that ``text`` fills; None when it is another command."""
        found = self.pattern.fullmatch(text.strip())
        words = {} if found is None else {key: value for key, value in found.groupdict().items() if value}
        for name in {"run", "other"} & set(words):
            words[name] = words[name].strip(QUOTES) or words[name]
        return None if found is None else words


RUN_WORD = r"(?:\s+(?:of|on|for)\s+(?P<run>\S.*?))?"
"""A run may be named at the end of every command: ``status of digits``. Names may have blanks, and quotes around."""

EXAMPLE_RUN = "digits"
"""Stands for a run in the examples of commands; people are shown one of theirs."""
EXAMPLE_OTHER = "digits-2"

QUOTES = "\"'`“”‘’"


def pattern(text: str) -> re.Pattern[str]:
    """``text`` as a command pattern: case ignored, any run of blanks between words."""
    return re.compile(text.replace(" ", r"\s+"), re.IGNORECASE)


def thread_key(request: Request, context: Context) -> str | None:
    """The key of our message whose thread the request was said in."""
    return context.outbox.key_at(request.channel, request.thread_ts) if request.thread_ts else None


async def place_of_card(request: Request, context: Context) -> tuple[str | None, str | None]:
    """Channel and thread for a card on which people decide. Where few would see it, the channel is None, which is the
    alert channel."""
    if request.direct:
        return None, None
    thread_of = thread_key(request, context)
    seen = thread_of is not None or await context.roles.reaches(request.channel)
    return request.channel if seen else None, thread_of
