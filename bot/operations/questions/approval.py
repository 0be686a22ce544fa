"""Questions to the people on call: asked once, decided once, bound to the plan that they were shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from trainmaster.bot.core.conversation.message import Item
from trainmaster.bot.core.decisions.approval import Approval, ApprovalState, DecisionOutcome, Vote, refusal
from trainmaster.bot.core.decisions.audit import AuditEntry
from trainmaster.bot.core.decisions.operation import BOT, Operation
from trainmaster.bot.core.decisions.plan import Difference, RollbackPlan
from trainmaster.bot.core.decisions.reminding import reminder_due
from trainmaster.bot.core.run.facts import ProcessIdentity
from trainmaster.bot.errors import StoreError
from trainmaster.bot.operations.books import Books
from trainmaster.bot.operations.limits import OperationLimits
from trainmaster.bot.operations.new_operation import new_id, new_rollback
from trainmaster.bot.operations.operation_context import WorldChangedError
from trainmaster.bot.operations.questions import question
from trainmaster.bot.operations.questions.on_call import OnCall

MAX_REASON_CHARS = 500
YES, NOT_COUNTED = "approval.yes", "approval.not_counted"
"""Audit actions: written before a yes is counted, and when it turns out that it never was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionResult:
    """What became of one click, the question as it stands after it, and the operation that it opened."""

    outcome: DecisionOutcome
    approval: Approval | None
    operation: Operation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Approvals:
    """Every method that writes commits the question and its card together."""

    books: Books
    on_call: OnCall
    limits: OperationLimits

    def ask(
        self,
        plan: RollbackPlan,
        requester: str,
        *,
        on_call: Sequence[str],
        now: float,
        channel: str | None = None,
        thread_of: str | None = None,
        changed: Sequence[Difference] = (),
        why: str = "",
        ended_epoch: int | None = None,
        criteria: tuple[Item, ...] = (),
        expires_ts: float | None = None,
    ) -> tuple[Approval, bool]:
        """The question is pending, and whether it is new: an unchanged plan keeps the question that was asked before,
        a changed one voids it, and so does the end of an epoch (``ended_epoch``, which went as ``criteria`` say).
        ``why`` is what made the bot ask by itself; then it waits at least as long as a storm's, unless ``expires_ts``
        says how long.

        Raises:
            StoreError: it could not be recorded; nothing was asked.
        """
        with self.books.transactions.transaction():
            for old in self.books.approvals.pending(plan.run):
                same = old.plan.digest == plan.digest and old.ended_epoch == (ended_epoch or old.ended_epoch)
                if same and now < old.expires_ts:
                    return old, False
                self.close(old, ApprovalState.VOID, by=None, now=now, reason="A newer question replaced it.")
            approval = Approval(
                id=new_id(),
                plan=plan,
                requester=requester,
                channel=channel,
                thread_of=thread_of,
                created_ts=now,
                expires_ts=expires_ts if expires_ts is not None else now + self._ttl_s(why),
                required=self.limits.approvals_required,
                why=why,
                ended_epoch=ended_epoch,
                criteria=criteria,
            )
            if not self.books.approvals.create(approval):
                raise StoreError("approval-id", f"approval {approval.id} exists already.", "ask again")
            self.books.audit.append(requester, "approval.asked", plan.run, _detail(approval), now)
            self._show(approval, on_call=on_call, changed=changed)
        return approval, True

    def renew(
        self,
        old: Approval,
        plan: RollbackPlan,
        *,
        on_call: Sequence[str],
        now: float,
        changed: Sequence[Difference] = (),
        keeps_votes: bool = False,
        ended_epoch: int | None = None,
        criteria: tuple[Item, ...] = (),
    ) -> None:
        """The pending question is put for the run as it is, in the same message and with nobody called. It is another
        question all the same: a click on what was shown before decides nothing, and a yes to it counts only when the
        rollback goes to the same place with the same settings (``keeps_votes``).

        Raises:
            StoreError: it could not be recorded; the old one waits on.
        """
        old = self.books.approvals.get(old.id) or old  # with what was said while the plan was made
        replaced = replace(old, state=ApprovalState.VOID, closed_ts=now, reason="A newer question replaced it.")
        renewed = replace(old, id=new_id(), plan=plan, votes=(), card_of=old.card_of or old.id)
        if old.ended_epoch is not None and ended_epoch is not None:
            renewed = replace(renewed, ended_epoch=ended_epoch, criteria=criteria)
        with self.books.transactions.transaction():
            if not self.books.approvals.update(replaced, expected=ApprovalState.PENDING):
                return
            if not self.books.approvals.create(renewed):
                raise StoreError("approval-id", f"approval {renewed.id} exists already.", "ask again")
            votes = old.votes if keeps_votes else ()
            for vote in votes:
                self.books.approvals.vote(renewed.id, vote)
            self.books.audit.append(BOT, "approval.renewed", plan.run, {**_detail(renewed), "replaces": old.id}, now)
            self._show(replace(renewed, votes=votes), on_call=on_call, changed=changed)

    def ask_again(self, operation: Operation, error: WorldChangedError, now: float) -> None:
        """The approval that ``operation`` came of is void; when there is a plan for the world as it is, it is asked
        for with the difference, of the people last seen on call.

        Raises:
            StoreError: it could not be recorded.
        """
        approval = self.books.approvals.get(operation.id)
        if approval is not None:
            self.void(approval, now=now, reason=error.message)
        if error.plan is not None:
            self.ask(
                error.plan,
                operation.requester,
                channel=operation.channel,
                thread_of=operation.thread_of,
                on_call=self.on_call.seen,
                now=now,
                changed=error.changed,
                why=approval.why if approval is not None else "",
            )

    def decide(
        self,
        approval_id: str,
        user: str,
        *,
        approve: bool,
        reason: str,
        on_call: frozenset[str],
        owner: ProcessIdentity,
        now: float,
    ) -> DecisionResult:
        """This click is counted or refused; when it completes the approval, its operation was opened in the same
        transaction: it belongs to ``owner``, who is to start it. Nothing is counted while another operation is open.

        Raises:
            StoreError: it could not be recorded, so nothing was decided.
        """
        with self.books.transactions.transaction():
            approval = self.books.approvals.get(approval_id)
            refused = refusal(
                approval,
                user,
                on_call=on_call,
                allow_self=self.limits.allow_self_approval,
                approve=approve,
                now=now,
            )
            if approval is None or refused is not None:
                if approval is not None and refused is DecisionOutcome.EXPIRED:
                    approval = self.close(approval, ApprovalState.EXPIRED, by=None, now=now) or approval
                return DecisionResult(outcome=refused or DecisionOutcome.UNKNOWN, approval=approval)
            if not approve:
                detail = {**_detail(approval), "why": reason}
                self.books.audit.append(user, "approval.rejected", approval.run, detail, now)
                text = reason[:MAX_REASON_CHARS]
                closed = self.close(approval, ApprovalState.REJECTED, by=user, now=now, reason=text)
                return DecisionResult(outcome=DecisionOutcome.REJECTED, approval=closed)
            return self._count(approval, user, on_call=on_call, owner=owner, now=now)

    def close(
        self, approval: Approval, state: ApprovalState, *, by: str | None, now: float, reason: str = ""
    ) -> Approval | None:
        """The question is closed and its card has no buttons; None when somebody else closed it first."""
        closed = replace(approval, state=state, closed_by=by, closed_ts=now, reason=reason)
        with self.books.transactions.transaction():
            if not self.books.approvals.update(closed, expected=approval.state):
                return None
            self._show(closed)
        return closed

    def reject(self, approval: Approval, *, by: str, now: float, reason: str) -> None:
        """The question is answered with no."""
        self.close(approval, ApprovalState.REJECTED, by=by, now=now, reason=reason[:MAX_REASON_CHARS])

    def void(self, approval: Approval, *, now: float, reason: str) -> None:
        """The question, answered or not, no longer counts."""
        self.close(approval, ApprovalState.VOID, by=None, now=now, reason=reason)

    def reconcile(self, entries: Sequence[AuditEntry], now: float) -> None:
        """The audit log says of each yes whether it counted: one that this process or an earlier one had written down
        and then could not commit is told as such. ``entries`` are the newest, oldest first.

        Raises:
            StoreError: the log or the database can't be used.
        """
        lost: dict[tuple[str, str], AuditEntry] = {}
        for entry in entries:
            about = (entry.actor, str(entry.detail.get("approval")))
            if entry.action == YES:
                lost[about] = entry
            elif entry.action == NOT_COUNTED:
                lost.pop(about, None)
        for (user, approval_id), entry in lost.items():
            approval = self.books.approvals.get(approval_id)
            if approval is not None and user not in {vote.user for vote in approval.votes}:
                detail = {"approval": approval_id, "entry": entry.seq}
                self.books.audit.append(user, NOT_COUNTED, entry.subject, detail, now)

    def tend(self, on_call: Sequence[str], now: float) -> None:
        """Questions past their time are expired, those that wait are brought to mind."""
        for approval in self.books.approvals.pending():
            with self.books.transactions.transaction():
                if now >= approval.expires_ts:
                    self.close(approval, ApprovalState.EXPIRED, by=None, now=now)
                else:
                    self._remind(approval, on_call, now)

    def _count(
        self, approval: Approval, user: str, *, on_call: frozenset[str], owner: ProcessIdentity, now: float
    ) -> DecisionResult:
        # Only those who are on call now count: somebody who said yes may have been taken off since.
        others = {vote.user for vote in approval.votes if vote.user in on_call}
        complete = len(others | {user}) >= approval.required
        approved = replace(
            approval,
            state=ApprovalState.APPROVED if complete else ApprovalState.PENDING,
            votes=(*approval.votes, Vote(user=user, ts=now)),
            closed_by=user if complete else None,
            closed_ts=now if complete else None,
        )
        operation = new_rollback(approved, owner, now) if complete else None
        if operation is not None and not self.books.begin(operation):
            return DecisionResult(outcome=DecisionOutcome.BUSY, approval=approval)
        self.books.audit.append(user, YES, approval.run, _detail(approval), now)
        self.books.approvals.vote(approval.id, Vote(user=user, ts=now))
        if complete:
            if not self.books.approvals.update(approved, expected=ApprovalState.PENDING):
                raise StoreError("approval-race", f"approval {approval.id} was decided in this moment.", "see its card")
            self._show(approved)
            return DecisionResult(outcome=DecisionOutcome.APPROVED, approval=approved, operation=operation)
        self._show(approved, on_call=sorted(on_call))
        return DecisionResult(outcome=DecisionOutcome.VOTE_COUNTED, approval=approved)

    def _ttl_s(self, why: str) -> float:
        return max(self.limits.storm_ttl_s, self.limits.approval_ttl_s) if why else self.limits.approval_ttl_s

    def _remind(self, approval: Approval, on_call: Sequence[str], now: float) -> None:
        due = reminder_due(
            asked_ts=approval.created_ts,
            reminded_ts=approval.reminded_ts,
            num_reminders=approval.num_reminders,
            on_call=on_call,
            voted=(vote.user for vote in approval.votes),
            limits=self.limits,
            now=now,
        )
        if due is None:
            return
        reminded = replace(approval, reminded_ts=now, num_reminders=due.number)
        if not self.books.approvals.update(reminded, expected=ApprovalState.PENDING):
            return
        self.books.outbox.put(
            f"{approval.card}/reminder/{due.number}",
            question.reminder(approval, due.mentions, now, allow_self_approval=self.limits.allow_self_approval),
            channel=approval.channel,
            thread_of=None if due.loud else approval.card,
        )

    def _show(self, approval: Approval, *, on_call: Sequence[str] = (), changed: Sequence[Difference] = ()) -> None:
        self.books.outbox.put(
            approval.card,
            question.card(
                approval,
                on_call=on_call,
                changed=changed,
                allow_self_approval=self.limits.allow_self_approval,
            ),
            channel=approval.channel,
            thread_of=approval.thread_of,
        )


def _detail(approval: Approval) -> dict[str, object]:
    plan = approval.plan
    return {
        "approval": approval.id,
        "plan": plan.digest,
        "attempt": plan.attempt,
        "to_epoch": plan.target.epoch,
        "sha256": plan.target.sha256,
        "level": plan.level_after,
        "required": approval.required,
    }
