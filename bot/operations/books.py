"""Where operations write down what was asked, decided and done."""

from __future__ import annotations

from dataclasses import dataclass

from trainmaster.bot.operations.ports import ApprovalStore, AuditBook, IntentStore, OperationLog
from trainmaster.bot.ports import Outbox, Transactions


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """All but the audit log are of one database and commit together, in ``transactions``."""

    approvals: ApprovalStore
    operations: OperationLog
    intents: IntentStore
    outbox: Outbox
    audit: AuditBook
    transactions: Transactions
