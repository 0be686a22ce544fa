"""What operations have to do with each look at a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from trainmaster.bot.checks.limits import CheckLimits
from trainmaster.bot.core.alerts.finding import Finding
from trainmaster.bot.core.decisions.going_on import Going
from trainmaster.bot.core.decisions.operation import IntentKind
from trainmaster.bot.core.run.storm import storm_of
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.operations.approval import Approvals, new_id
from trainmaster.bot.operations.books import Books
from trainmaster.bot.operations.deaths import Deaths, Silenced, never_silenced
from trainmaster.bot.operations.limits import OperationLimits
from trainmaster.bot.operations.needs_human import needs_human_findings
from trainmaster.bot.operations.on_call import OnCall
from trainmaster.bot.operations.planning import Planner
from trainmaster.bot.operations.stop.offers import StopOffers
from trainmaster.bot.operations.storms import Storms
from trainmaster.bot.ports import Chat, Clock

_PLANS: Final = (
    IntentKind.STOP_AFTER_EPOCH,
    IntentKind.CHANGE,
    IntentKind.RESUME_AT,
    IntentKind.ROLL_BACK_AFTER_EPOCH,
)
"""Of the intents those that something is to be done about; the others remember what was done."""


def no_notice() -> None:
    """Nobody waits for the outbox."""


@dataclass(kw_only=True)
class RunLooks:
    """Tells whoever watches runs which of them operations hold and which need a human, and brings a storm to the people
    on call. It is given the runs that were looked at and asks for none, so it stands before what watches them;
    :class:`trainmaster.bot.operations.service.Operations` stands on both.

    ``notify`` says that the outbox has something new. ``on_call`` is the one guard of everything that only people on
    call may do."""

    books: Books
    planner: Planner
    clock: Clock
    limits: OperationLimits
    chat: Chat
    notify: Callable[[], None] = no_notice
    make_id: Callable[[], str] = new_id
    silenced: Silenced = never_silenced
    checks: CheckLimits = field(default_factory=CheckLimits)
    """By which a run is called stalled."""

    def __post_init__(self) -> None:
        self.on_call = OnCall(self.chat)
        self.questions = Approvals(
            books=self.books,
            on_call=self.on_call,
            limits=self.limits,
            make_id=self.make_id,
        )
        self.deaths = Deaths(books=self.books, clock=self.clock, limits=self.limits.going_on, silenced=self.silenced)
        self.stop_offers = StopOffers(books=self.books)
        self.storms = Storms(
            planner=self.planner,
            clock=self.clock,
            limits=self.limits,
            books=self.books,
            questions=self.questions,
            on_call=self.on_call,
            notify=self.notify,
        )

    def held(self, run: str) -> bool:
        """Whether an operation is under way, so that the death of the process is expected."""
        return bool(self.books.operations.open(run))

    def findings(self, view: RunView) -> tuple[Finding, ...]:
        """A condition that holds from a call for a person until a later attempt trains or a later operation begins."""
        return needs_human_findings(self.books.operations.history(view.run, limit=1), view)

    def told(self, view: RunView, findings: Sequence[Finding]) -> list[Finding]:
        """As :meth:`trainmaster.bot.operations.deaths.Deaths.told` says of it; and a stop is told once."""
        return self.stop_offers.told_once(view, self.deaths.told(view, findings))

    def notice(self, view: RunView) -> None:
        """As :meth:`trainmaster.bot.operations.storms.Storms.notice` says of it; it is remembered that the run was
        at work, and what its stops offered is over."""
        self.storms.notice(view)
        self.stop_offers.notice(view)
        self.deaths.notice(view)

    def concerned(self) -> frozenset[str]:
        """Runs with an operation under way, a question that waits, or something planned; in a fixed number of queries.

        Raises:
            StoreError: that can't be told.
        """
        books = self.books
        planned = (one.run for kind in _PLANS for one in books.intents.all(kind))
        under_way = (one.run for one in books.operations.open())
        asked = (one.plan.run for one in books.approvals.pending())
        return frozenset((*planned, *under_way, *asked))

    def leaves_alone(self, view: RunView) -> bool:
        """Whether neither a storm of the run is to be brought to people nor the run to be started again by itself.

        Raises:
            StoreError: that can't be told.
        """
        if storm_of(view, self.limits.storm, self.clock.now()) is not None:
            return False
        judged = self.deaths.judge(view)
        return judged is None or judged.decision.going is not Going.ON
