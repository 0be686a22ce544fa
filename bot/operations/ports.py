"""What operations need of the world, as Protocols. ``trainmaster.bot.drivers`` and ``trainmaster.bot.storage`` have
them on processes, jobs and SQLite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from trainmaster.bot.core.decisions.approval import Approval, ApprovalState, Vote
from trainmaster.bot.core.decisions.archive import ArchiveFact
from trainmaster.bot.core.decisions.audit import AuditEntry, AuditReport
from trainmaster.bot.core.decisions.gate import GateFact
from trainmaster.bot.core.decisions.operation import Intent, IntentKind, JournalEntry, Operation
from trainmaster.bot.core.run.facts import CheckpointFact, Identity, ProcessFact, ProcessIdentity
from trainmaster.bot.core.run.launch_spec import Force, LaunchSpec
from trainmaster.bot.core.run.view import RunView


class Driver(Protocol):
    """Where a run lives. It is always named by its identity, never by a bare pid or number."""

    def inspect(self, identity: Identity) -> ProcessFact:
        """What is known of it now; ``UNKNOWN`` when that cannot be told, and never an exception."""
        ...

    def stop(self, identity: Identity, force: Force) -> bool:
        """It was brought nearer its end: what waits in a queue is cancelled, what runs got the signal. False when it is
        over. May be repeated.

        Raises:
            DriverError: another host, no permission, or nobody can tell whether it lives.
        """
        ...

    def launch(self, spec: LaunchSpec) -> Identity:
        """It runs detached from the bot, or waits in a queue, its output drained into ``spec.log``.

        Raises:
            DriverError: it could not be started; says whether it may have been all the same.
        """
        ...

    def find(self, key: str) -> Identity | None:
        """What a launch with that key started, over or not; None when nothing was.

        Raises:
            DriverError: that cannot be told.
        """
        ...

    def survivors(self, identity: Identity) -> tuple[Identity, ...]:
        """What belonged to it and is still alive (data loader workers, ranks), as far as the driver can see."""
        ...


class GpuHolders(Protocol):
    """Which processes of this host hold a GPU. It may hang, and is asked in a thread of its own."""

    def look(self) -> frozenset[int] | None:
        """Their pids; None where that can't be seen."""
        ...


class StartGate(Protocol):
    """What is looked at before a trainer is started."""

    async def look(self, view: RunView) -> tuple[GateFact, ...]:
        """Every check that applies to the run, judged; what gives no answer is unknown. Never raises."""
        ...


class ForeignAttempts(Protocol):
    """The record of runs that sign in nowhere by themselves."""

    def begin(self, name: str, process: ProcessIdentity, log: Path, from_epoch: int | None) -> None:
        """The run's newest attempt is ``process``, which writes to ``log``. May be repeated.

        Raises:
            OperationError: that could not be recorded.
        """
        ...

    def end(self, name: str) -> None:
        """The run's newest attempt was stopped on purpose, so its death is no news. May be repeated.

        Raises:
            OperationError: that could not be recorded.
        """
        ...


class Forensics(Protocol):
    """The trainer's torch-free command line, run with the run's own Python so that both sides agree on formats.

    Every method raises :class:`trainmaster.bot.errors.OperationError` with what the command said.
    """

    async def catalog(self, view: RunView) -> tuple[CheckpointFact, ...]:
        """Every saved checkpoint, judged."""
        ...

    async def verify(self, view: RunView, file: Path) -> CheckpointFact:
        """``file``, read and judged anew."""
        ...

    async def archive(self, view: RunView, *, after_epoch: int) -> Path:
        """What came after the epoch is put aside; returns the archive folder. May be repeated."""
        ...

    async def restore(self, view: RunView, *, epoch: int) -> None:
        """The checkpoint of the epoch is the one that a resume takes. May be repeated."""
        ...

    async def unarchive(self, view: RunView, folder: Path) -> None:
        """What :meth:`archive` put aside is back. May be repeated."""
        ...


class AuditBook(Protocol):
    """Append-only, hash-chained record of who decided and did what."""

    def append(self, actor: str, action: str, subject: str, detail: Mapping[str, Any], now: float) -> None:
        """Written and synced before this returns.

        Raises:
            StoreError: it could not be written; the caller must not act (an emergency stop may, and says so).
        """
        ...

    def append_later(self, actor: str, action: str, subject: str, detail: Mapping[str, Any], now: float) -> None:
        """As :meth:`append`, for what is done although the file takes no entry now: it is written when the file does.

        Raises:
            StoreError: it can't even wait.
        """
        ...

    def append_once(self, actor: str, action: str, subject: str, detail: Mapping[str, Any], now: float) -> None:
        """As :meth:`append`, unless an entry of that action about the same ``detail["operation"]`` stands already: a
        crash between an entry and the journal must not tell one act twice.

        Raises:
            StoreError: it could not be written.
        """
        ...

    def entries(self, limit: int = 20) -> Sequence[AuditEntry]:
        """The newest entries, oldest first.

        Raises:
            StoreError: it cannot be read.
        """
        ...

    def verify(self) -> AuditReport:
        """The whole chain, checked.

        Raises:
            StoreError: it cannot be read.
        """
        ...


class RunFiles(Forensics, Protocol):
    """Forensics, and what is in the archive."""

    async def archives(self, view: RunView) -> tuple[ArchiveFact, ...]:
        """What rollbacks of the run put aside, oldest first."""
        ...


class ApprovalStore(Protocol):
    """Questions to the people on call. At most one is pending on a run."""

    def create(self, approval: Approval) -> bool:
        """The question is pending; False when another one is pending on its run."""
        ...

    def get(self, approval_id: str) -> Approval | None:
        """The question with its votes; None when there is none of that id."""
        ...

    def pending(self, run: str | None = None) -> tuple[Approval, ...]:
        """Questions that wait for an answer, of one run or of all."""
        ...

    def vote(self, approval_id: str, vote: Vote) -> int:
        """The yes is counted, once a person; the number of people who said yes."""
        ...

    def update(self, approval: Approval, *, expected: ApprovalState) -> bool:
        """The question reads ``approval``; False, and nothing is written, when it is not in state ``expected``."""
        ...


class OperationStore(Protocol):
    """Operations, of which at most one is open on a run."""

    def create(self, operation: Operation) -> bool:
        """The operation is open; False when its run has an open one, or its id was used before."""
        ...

    def open(self, run: str | None = None) -> tuple[Operation, ...]:
        """Open operations, of one run (at most one) or of all."""
        ...

    def get(self, operation_id: str) -> Operation | None:
        """The operation of that id."""
        ...

    def history(self, run: str | None = None, *, limit: int = 20) -> tuple[Operation, ...]:
        """Operations of a run or of all, newest first."""
        ...

    def entries(self, operation_id: str) -> tuple[JournalEntry, ...]:
        """The journal of an operation, oldest first."""
        ...


class Journal(Protocol):
    """What makes an operation repeatable: every boundary is committed by the one process that may act."""

    def claim(self, operation: Operation, owner: ProcessIdentity, now: float) -> Operation | None:
        """``owner`` may act from now on and nobody else; None when somebody else was faster."""
        ...

    def record(self, operation: Operation, entry: JournalEntry) -> None:
        """The journal ends with ``entry`` and the operation reads ``operation``; commits with an open transaction.

        Raises:
            FencedError: another bot owns the operation, or it is closed; nothing was written.
            StoreError: nothing was written.
        """
        ...

    def halt(self, operation_id: str, user: str) -> bool:
        """The owner is told to end in a stopped run; False when the operation is not open. The first one is kept."""
        ...

    def halted_by(self, operation_id: str) -> str | None:
        """Who asked for an emergency stop meanwhile."""
        ...


class OperationLog(OperationStore, Journal, Protocol):
    """Both, of one database."""


class IntentStore(Protocol):
    """Decisions about a run, one of each kind."""

    def put(self, intent: Intent) -> None:
        """The run's intent of this kind is ``intent``, replacing an older one."""
        ...

    def get(self, run: str, kind: IntentKind) -> Intent | None:
        """The run's intent of this kind."""
        ...

    def all(self, kind: IntentKind) -> tuple[Intent, ...]:
        """Every run's intent of this kind."""
        ...

    def drop(self, run: str, kind: IntentKind) -> bool:
        """It is gone; False when there was none."""
        ...


class Levels(Protocol):
    """The levels of protection, as the trainer knows them."""

    def check(self, level: str) -> str:
        """The level in its one spelling.

        Raises:
            CommandError: there is no such level; names the ones there are.
        """
        ...

    def next(self, level: str | None) -> str:
        """The level to go on with when this one was not enough; there always is one."""
        ...

    def settings(self, level: str, user: Mapping[str, str]) -> Mapping[str, tuple[str, str, bool]]:
        """What a run goes on with at ``level`` when the user gave the values ``user``: by setting the layer, the value
        and whether it is the user's, as shown to people. A user's value that is less careful than the level gives way.
        """
        ...
