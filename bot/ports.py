"""What the core needs from the world, as Protocols of five methods at most. Adapters are chosen in ``bot.app``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from trainmaster.bot.core.conversation.message import Message
from trainmaster.bot.core.decisions.approval import Approval, ApprovalState, Vote
from trainmaster.bot.core.decisions.archive import ArchiveFact
from trainmaster.bot.core.decisions.audit import AuditEntry, AuditReport
from trainmaster.bot.core.decisions.operation import Intent, IntentKind, JournalEntry, Operation
from trainmaster.bot.core.health.host import GpuFact
from trainmaster.bot.core.run.facts import CheckpointFact, Identity, ProcessFact, ProcessIdentity
from trainmaster.bot.core.run.launch_spec import Force, LaunchSpec
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import ChatError, OperationError


class Clock(Protocol):
    """The wall time of this host."""

    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """Where a message stands in Slack."""

    channel: str
    ts: str


class RateLimited(ChatError):  # noqa: N818 - a state of the channel
    """Slack answered 429: nothing to this channel before ``retry_after_s`` have passed."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("slack-rate-limited", f"Slack asks to wait {retry_after_s:g} s.", "it is retried by itself")
        self.retry_after_s = retry_after_s


class MessageGone(ChatError):  # noqa: N818 - a state of the channel
    """The message to edit, or the root of the thread to answer in, was deleted by somebody."""


class ChatRefused(ChatError):  # noqa: N818 - named as the other two
    """Slack will not take it however often it is tried, until a person mends something (channel_not_found,
    not_in_channel, invalid_auth). ``content`` tells that this one message is at fault (invalid_blocks, msg_too_long),
    so that a plainer one may pass."""

    def __init__(self, slug: str, message: str, hint: str = "", *, content: bool = False) -> None:
        super().__init__(slug, message, hint)
        self.content = content


class Chat(Protocol):
    """The channel. Every method raises :class:`errors.ChatError`: as :class:`RateLimited`, :class:`MessageGone` or
    :class:`ChatRefused` where that is known, which the delivery treats each in its own way; plainly when a later try
    may pass."""

    async def post(self, channel: str, message: Message, *, thread_ts: str | None, key: str) -> Posted:
        """The message is in the channel. ``key`` goes along as metadata, so that a doubled post can be recognised."""
        ...

    async def update(self, posted: Posted, message: Message) -> None:
        """The posted message now reads ``message``."""
        ...

    async def on_call(self) -> frozenset[str]:
        """User ids that may decide, looked up now; falls back to the static list, never to everybody."""
        ...


class Outbox(Protocol):
    """What the channel shall say, by key. The key names one message for good: putting it again edits that message, and
    an edit not yet sent is replaced by the newer one."""

    def put(self, key: str, message: Message, *, channel: str | None = None, thread_of: str | None = None) -> None:
        """``key`` shall read ``message``; in the thread of the message ``thread_of`` if given. Commits with the
        transaction that is open, or at once."""
        ...

    def posted(self, key: str) -> Posted | None:
        """Where the message stands; None while it was never sent."""
        ...

    def key_at(self, channel: str, ts: str) -> str | None:
        """The key of the message posted there; None when it is none of ours."""
        ...


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


class GpuProbe(Protocol):
    """GPUs of one maker. It may hang, and is asked in a thread of its own."""

    name: str
    """As people call them: ``NVIDIA GPUs``."""

    def look(self) -> tuple[GpuFact, ...]:
        """Those that are visible; none is an answer."""
        ...


class GpuHolders(Protocol):
    """Which processes of this host hold a GPU. It may hang, and is asked in a thread of its own."""

    def look(self) -> frozenset[int] | None:
        """Their pids; None where that can't be seen."""
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


class Runs(Protocol):
    """The runs that the supervisor watches."""

    def all(self) -> Sequence[RunView]:
        """Every known run, that with the newest activity first."""
        ...

    def find(self, name_or_id: str) -> RunView | None:
        """By id or by directory name."""
        ...

    async def refresh(self, run: str) -> RunView | None:
        """The run, read anew now."""
        ...


class Audit(Protocol):
    """Append-only, hash-chained record of who decided and did what."""

    def append(self, actor: str, action: str, subject: str, detail: Mapping[str, Any], now: float) -> None:
        """Written and synced before this returns.

        Raises:
            StoreError: it could not be written; the caller must not act (an emergency stop may, and says so).
        """
        ...

    def append_once(self, actor: str, action: str, subject: str, detail: Mapping[str, Any], now: float) -> None:
        """As :meth:`append`, unless an entry of that action about the same ``detail["operation"]`` stands already: a
        crash between an entry and the journal must not tell one act twice.

        Raises:
            StoreError: it could not be written.
        """
        ...


class AuditBook(Audit, Protocol):
    """The same record, to be read."""

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


class Transactions(Protocol):
    """All stores of one database commit together."""

    def transaction(self) -> AbstractContextManager[None]:
        """All or nothing, durable when the outermost block ends; inner blocks join it.

        Raises:
            StoreError: nothing of the block was written.
        """
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


class FencedError(OperationError):
    """Another bot process owns the operation: this one must do nothing more about it."""


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
