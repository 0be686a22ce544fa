"""The world that commands and buttons act in, wired of stand-ins. They keep what they were told, and refuse what the
real ones refuse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo

from tests.support.clocks import SetClock
from tests.support.outboxes import FakeAudit, FakeChat, FakeOutbox
from trainmaster.bot.core.alerts.alert import Alert, AlertState
from trainmaster.bot.core.alerts.finding import Finding, Nature, Severity
from trainmaster.bot.core.alerts.silence import Silence
from trainmaster.bot.core.conversation.message import Message, Reply
from trainmaster.bot.core.conversation.standing import Standing
from trainmaster.bot.core.decisions.order import Order
from trainmaster.bot.core.run.epoch_report import ReportLimits
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.operations.questions.on_call import OnCall
from trainmaster.commands import Context
from trainmaster.commands.request_handler import RequestHandler
from trainmaster.commands.roles import NoRoles, Roles

ANNA, BEN = "U0ANNA", "U0BEN"
"""On call."""


@dataclass
class FakeRuns:
    """Views as given; reading anew changes nothing."""

    views: list[RunView] = field(default_factory=list)

    def all(self) -> Sequence[RunView]:
        return self.views

    def find(self, name_or_id: str) -> RunView | None:
        return next((view for view in self.views if name_or_id in {view.run, view.name}), None)

    async def refresh(self, run: str) -> RunView | None:
        return self.find(run)


@dataclass
class FakeAlerts:
    """Firing alerts; acknowledging one that does not fire gives None, as the pipeline does."""

    alerts: list[Alert] = field(default_factory=list)
    acked: list[tuple[str, str]] = field(default_factory=list)
    silenced: list[tuple[str, float]] = field(default_factory=list)
    book: list[Silence] = field(default_factory=list)

    def firing(self, run: str | None = None) -> Sequence[Alert]:
        return [alert for alert in self.alerts if run in {None, alert.finding.run}]

    def _find(self, fingerprint: str) -> Alert | None:
        return next((alert for alert in self.alerts if alert.fingerprint == fingerprint), None)

    def alert(self, fingerprint: str) -> Alert | None:
        return self._find(fingerprint)

    def told_together(self, fingerprint: str) -> Sequence[Alert]:
        leads = self._find(fingerprint)
        members = [alert for alert in self.alerts if alert.told_with == fingerprint]
        return [leads, *members] if leads is not None else []

    def ack(self, fingerprint: str, user: str, now: float) -> Alert | None:
        found = self._find(fingerprint)
        if found:
            self.acked.append((fingerprint, user))
        return found

    def silence(self, fingerprint: str, user: str, until_ts: float, now: float) -> Alert | None:
        found = self._find(fingerprint)
        if found:
            self.silenced.append((fingerprint, until_ts))
        return found

    def unsilence(self, fingerprint: str, user: str, now: float) -> Alert | None:
        found = self._find(fingerprint)
        covering = [one for one in self.book if found and one.covers(found, now)]
        self.book = [one for one in self.book if one not in covering]
        return found if covering else None

    def silences(self, now: float) -> Sequence[Silence]:
        return [one for one in self.book if one.until_ts > now]

    def silence_where(
        self, user: str, until_ts: float, now: float, *, run: str | None = None, check: str | None = None
    ) -> Silence:
        made = Silence(id=len(self.book) + 1, until_ts=until_ts, by=user, created_ts=now, run=run, check=check)
        self.book.append(made)
        return made

    def end_silence(self, silence_id: int, user: str, now: float) -> bool:
        ended = [one for one in self.silences(now) if one.id == silence_id]
        self.book = [one for one in self.book if one not in ended]
        return bool(ended)


@dataclass
class FakeOperations:
    """Keeps what was ordered; the answer names it."""

    asked: list[Order] = field(default_factory=list)
    answers: dict[str, Reply | Exception] = field(default_factory=dict)
    """By run: what is answered, or raised, instead."""

    async def perform(self, order: Order) -> Reply:
        self.asked.append(order)
        answer = self.answers.get(getattr(order, "run", ""))
        if isinstance(answer, Exception):
            raise answer
        if answer is not None:
            return answer
        return Reply(message=Message(title=type(order).__name__))

    def run_of(self, key: str) -> str | None:
        return "second-0001" if key.startswith(("approval/", "operation/")) else None


@dataclass
class FakeSelection:
    """Runs chosen by channel."""

    runs: dict[str, str] = field(default_factory=dict)

    def chosen(self, channel: str) -> str | None:
        return self.runs.get(channel)

    def choose(self, channel: str, run: str) -> None:
        self.runs[channel] = run


@dataclass
class FakeRoles:
    """What the workspace knows of people; everybody it does not name is a full member of it."""

    standings: dict[str, Standing] = field(default_factory=dict)
    members: frozenset[str] = frozenset()
    clock_zone: tzinfo | None = UTC

    async def standing(self, user: str) -> Standing:
        return self.standings.get(user, Standing.MEMBER)

    async def is_member(self, user: str) -> bool:
        return user in self.members

    async def zone(self, user: str) -> tzinfo | None:
        return self.clock_zone

    async def reaches(self, channel: str) -> bool:
        return channel == "C1"


def nonfinite_alert(severity: Severity = Severity.CRITICAL) -> Alert:
    """That the loss of the first epoch of digits is not finite; it fires."""
    finding = Finding(
        run="digits-0001",
        check="nonfinite",
        key="attempt1/epoch1",
        severity=severity,
        nature=Nature.CONDITION,
        ts=1.0,
        title="digits: loss is not finite",
    )
    return Alert(finding=finding, state=AlertState.FIRING, since_ts=1.0, updated_ts=1.0)


@dataclass
class CommandWorld:
    """Everything that a command may use; Anna and Ben are on call."""

    runs: FakeRuns = field(default_factory=FakeRuns)
    alerts: FakeAlerts = field(default_factory=FakeAlerts)
    operations: FakeOperations = field(default_factory=FakeOperations)
    outbox: FakeOutbox = field(default_factory=FakeOutbox)
    chat: FakeChat = field(default_factory=lambda: FakeChat(ANNA, BEN))
    clock: SetClock = field(default_factory=SetClock)
    selection: FakeSelection = field(default_factory=FakeSelection)
    roles: Roles = field(default_factory=NoRoles)
    audit: FakeAudit = field(default_factory=FakeAudit)
    members_care: bool = False

    @property
    def context(self) -> Context:
        """What commands are given."""
        return Context(
            runs=self.runs,
            operations=self.operations,
            alerts=self.alerts,
            outbox=self.outbox,
            on_call=OnCall(self.chat),
            clock=self.clock,
            selection=self.selection,
            report_limits=ReportLimits(),
            roles=self.roles,
            audit=self.audit,
            members_care=self.members_care,
        )

    @property
    def handler(self) -> RequestHandler:
        """What people's words and presses come to."""
        return RequestHandler(self.context, silence_s=7200.0, notify=lambda: None)
