"""What operations have to do with each look at a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from trainmaster.bot.checks.limits import CheckLimits
from trainmaster.bot.core.alerts.finding import Finding
from trainmaster.bot.core.decisions.going_on import Going
from trainmaster.bot.core.decisions.operation import OperationState
from trainmaster.bot.core.run.state import RunState
from trainmaster.bot.core.run.storm import storm_of
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.operations import messages
from trainmaster.bot.operations.books import Books
from trainmaster.bot.operations.going_on.deaths import Deaths, Silenced, never_silenced
from trainmaster.bot.operations.limits import OperationLimits
from trainmaster.bot.operations.planned import PLANS
from trainmaster.bot.operations.questions.approval import Approvals
from trainmaster.bot.operations.questions.on_call import OnCall
from trainmaster.bot.operations.questions.storms import Storms
from trainmaster.bot.operations.rollback.planning import Planner
from trainmaster.bot.operations.stop.offers import StopOffers
from trainmaster.bot.ports import Chat, Clock


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
    silenced: Silenced = never_silenced
    checks: CheckLimits = field(default_factory=CheckLimits)
    """By which a run is called stalled."""

    def __post_init__(self) -> None:
        self.on_call = OnCall(self.chat)
        self.questions = Approvals(
            books=self.books,
            on_call=self.on_call,
            limits=self.limits,
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
        newest = next(iter(self.books.operations.history(view.run, limit=1)), None)
        if newest is None or newest.state is not OperationState.NEEDS_HUMAN:
            return ()
        if view.attempt > newest.attempt and view.state is RunState.TRAINING:
            return ()  # somebody has seen to it: a later attempt does its batches
        return (messages.needs_human(newest),)

    def told(self, view: RunView, findings: Sequence[Finding]) -> list[Finding]:
        """As :meth:`trainmaster.bot.operations.going_on.deaths.Deaths.told` says of it; and a stop is told once."""
        return self.stop_offers.told_once(view, self.deaths.told(view, findings))

    def notice(self, view: RunView) -> None:
        """A storm of the run is brought to people, it is remembered that the run was at work, and what its stops
        offered is over. Returns at once and never raises."""
        self.storms.notice(view)
        self.stop_offers.notice(view)
        self.deaths.notice(view)

    def concerned(self) -> frozenset[str]:
        """Runs with an operation under way, a question that waits, or something planned; in a fixed number of queries.

        Raises:
            StoreError: that can't be told.
        """
        books = self.books
        planned = (one.run for kind in PLANS for one in books.intents.all(kind))
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
