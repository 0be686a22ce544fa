"""The other side of the decision: the run goes on without a rollback, and who decided that, and why."""

from __future__ import annotations

from dataclasses import dataclass

from trainmaster.bot.core.conversation.message import Message, Reply
from trainmaster.bot.core.conversation.tokens import person
from trainmaster.bot.core.decisions.operation import Intent, IntentKind
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.operations.books import Books
from trainmaster.bot.operations.questions.approval import MAX_REASON_CHARS, Approvals
from trainmaster.bot.ports import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class ContinueDecision:
    """Callers have made sure that ``user`` is on call and ``view`` is fresh."""

    questions: Approvals
    books: Books
    clock: Clock

    def decide(self, view: RunView, user: str, why: str, *, channel: str | None) -> Reply:
        """It is on record that the run goes on; an open question about it is closed, a planned stop taken back.

        Raises:
            StoreError: it could not be recorded.
        """
        now = self.clock.now()
        epoch = view.current.epoch if view.current else None
        why = why.strip()[:MAX_REASON_CHARS]
        intent = Intent(
            run=view.run,
            kind=IntentKind.CONTINUE,
            attempt=view.attempt,
            epoch=epoch,
            user=user,
            why=why,
            channel=channel,
            ts=now,
        )
        detail = {"attempt": view.attempt, "epoch": epoch, "why": why}
        with self.books.transactions.transaction():
            self.books.audit.append(user, "run.continued", view.run, detail, now)
            self.books.intents.put(intent)
            self.books.intents.drop(view.run, IntentKind.STOP_AFTER_EPOCH)
            self.books.intents.drop(view.run, IntentKind.ROLL_BACK_AFTER_EPOCH)
            for approval in self.books.approvals.pending(view.run):
                self.questions.reject(approval, by=user, now=now, reason=f"Continue forward. {why}".strip())
        because = f"Because: {why}" if why else "No reason was given."
        where = f" Decided in attempt {view.attempt}" + (f", epoch {epoch}." if epoch is not None else ".")
        title = f"{view.name} goes on without a rollback"
        if not view.state.active:
            title = f"{view.name}: no rollback; it is {view.state.value} and stays so"
            where += " /train resume starts it again."
        return Reply(message=Message(title=title, body=(f"Decided by {person(user)}. {because}{where}",)))
