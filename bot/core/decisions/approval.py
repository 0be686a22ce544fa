"""A question to the people on call, and what may be answered."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from trainmaster.bot.core.conversation.message import Item
from trainmaster.bot.core.decisions.plan import RollbackPlan


class ApprovalState(StrEnum):
    """Pending once, then one of the others for good."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    AFTER_EPOCH = "after_epoch"
    """Somebody chose to roll back at the end of the epoch; then it is planned anew."""
    VOID = "void"
    """The world changed, or a newer question replaced it."""


class DecisionOutcome(StrEnum):
    """What became of one person's click."""

    APPROVED = "approved"
    AFTER_EPOCH = "after_epoch"
    VOTE_COUNTED = "vote_counted"
    VOTED_BEFORE = "voted_before"
    REJECTED = "rejected"
    ALREADY_APPROVED = "already_approved"
    ALREADY_REJECTED = "already_rejected"
    ALREADY_AFTER_EPOCH = "already_after_epoch"
    EXPIRED = "expired"
    VOID = "void"
    NOT_ON_CALL = "not_on_call"
    OWN_REQUEST = "own_request"
    BUSY = "busy"
    """Another operation is open on the run."""
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """The yes of one person, and when it was given."""

    user: str
    ts: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """One question about one plan. Its id is also the id of the operation that a yes starts, so there can be one only.

    ``required`` people must say yes, each of them on call when they do; one no ends it.
    """

    id: str
    plan: RollbackPlan
    requester: str
    channel: str | None
    thread_of: str | None
    created_ts: float
    expires_ts: float
    required: int
    why: str = ""
    """What made the bot ask by itself; empty when a person asked."""
    state: ApprovalState = ApprovalState.PENDING
    votes: tuple[Vote, ...] = ()
    closed_by: str | None = None
    closed_ts: float | None = None
    reason: str = ""
    reminded_ts: float | None = None
    num_reminders: int = 0
    ended_epoch: int | None = None
    """The epoch at whose end it was asked anew: then it is a decision point, with ``criteria`` as they were met."""
    criteria: tuple[Item, ...] = ()
    card_of: str = ""
    """The question in whose message this one stands, for the run as it was later; empty when it has one of its own."""

    @property
    def run(self) -> str:
        """The run it is about."""
        return self.plan.run

    @property
    def card(self) -> str:
        """The key of its message."""
        return f"approval/{self.card_of or self.id}"


def refusal(
    approval: Approval | None, user: str, *, on_call: frozenset[str], allow_self: bool, approve: bool, now: float
) -> DecisionOutcome | None:
    """Why this person's click cannot count; None when it can.

    A requester may always withdraw by rejecting, as long as they are on call.
    """
    if approval is None:
        return DecisionOutcome.UNKNOWN
    if user not in on_call:
        return DecisionOutcome.NOT_ON_CALL
    closed = {
        ApprovalState.APPROVED: DecisionOutcome.ALREADY_APPROVED,
        ApprovalState.REJECTED: DecisionOutcome.ALREADY_REJECTED,
        ApprovalState.EXPIRED: DecisionOutcome.EXPIRED,
        ApprovalState.AFTER_EPOCH: DecisionOutcome.ALREADY_AFTER_EPOCH,
        ApprovalState.VOID: DecisionOutcome.VOID,
    }.get(approval.state)
    if closed is not None:
        return closed
    if now >= approval.expires_ts:
        return DecisionOutcome.EXPIRED
    if approve and user == approval.requester and not allow_self:
        return DecisionOutcome.OWN_REQUEST
    if approve and user in {vote.user for vote in approval.votes}:
        return DecisionOutcome.VOTED_BEFORE
    return None
