"""Where operations write down what was asked, decided and done."""

from __future__ import annotations

from dataclasses import dataclass

from trainmaster.bot.core.decisions.operation import Intent, Operation
from trainmaster.bot.operations import messages
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

    def begin(self, operation: Operation) -> bool:
        """Whether it is open, with its message; not while another one is open on its run. Call it in a transaction."""
        if not self.operations.create(operation):
            return False
        self.show(operation)
        return True

    def holds(self, intent: Intent) -> bool:
        """Whether it is still planned, just so. Ask after each wait: somebody may have taken it back meanwhile."""
        return self.intents.get(intent.run, intent.kind) == intent

    def show(self, operation: Operation) -> None:
        """The message of the operation reads as it now is."""
        message = messages.progress(operation)
        self.outbox.put(operation.card, message, channel=operation.channel, thread_of=operation.thread_of)
