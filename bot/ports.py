"""What the core needs from the world, as Protocols of five methods at most. Adapters are chosen in ``bot.app``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bot.core.alert import Alert
from bot.core.facts import CheckpointFact, ProcessFact, ProcessIdentity
from bot.core.message import Message
from bot.core.view import RunView


class Clock(Protocol):
    """Wall time."""

    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """Where a message stands in Slack."""

    channel: str
    ts: str


class Chat(Protocol):
    """The channel. Every method raises :class:`bot.errors.ChatError`; ``RateLimited`` and ``MessageGone`` below tell
    the two cases that the delivery treats otherwise."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchSpec:
    """How to start a trainer. ``log`` gets stdout and stderr, appended. ``key`` makes a launch repeatable: a second
    launch with the same key returns the process that the first one started."""

    key: str
    argv: tuple[str, ...]
    cwd: Path
    log: Path
    env: Mapping[str, str]


class Driver(Protocol):
    """Where a run's process lives. A process is always named by its identity, never by a bare pid."""

    def inspect(self, process: ProcessIdentity) -> ProcessFact:
        """What is known of it now; ``UNKNOWN`` when that cannot be told."""
        ...

    def signal(self, process: ProcessIdentity, signum: int, *, group: bool = False) -> bool:
        """The signal was sent to exactly this process (or its group); False when it is not alive.

        Raises:
            DriverError: another host, or no permission.
        """
        ...

    def launch(self, spec: LaunchSpec) -> ProcessIdentity:
        """The process runs, detached in a session of its own, its output drained into ``spec.log``.

        Raises:
            DriverError: it could not be started.
        """
        ...

    def survivors(self, process: ProcessIdentity) -> tuple[ProcessIdentity, ...]:
        """Processes of its group or session that are still alive (data loader workers, ranks)."""
        ...


class Forensics(Protocol):
    """The trainer's torch-free command line, run with the run's own Python so that both sides agree on formats.

    Every method raises :class:`bot.errors.OperationError` with what the command said.
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
        """Newest activity first."""
        ...

    def find(self, name_or_id: str) -> RunView | None:
        """By id or by directory name."""
        ...

    async def refresh(self, run: str) -> RunView | None:
        """The run, read anew now."""
        ...


class Alerts(Protocol):
    """Alerts as commands and buttons use them."""

    def firing(self, run: str | None = None) -> Sequence[Alert]:
        """Firing alerts, newest first."""
        ...

    def ack(self, fingerprint: str, user: str, now: float) -> Alert | None:
        """The alert is acknowledged; None when there is no such firing alert. Acknowledging twice keeps the first."""
        ...

    def silence(self, fingerprint: str, user: str, until_ts: float, now: float) -> Alert | None:
        """The alert makes no sound until then; None when there is no such alert."""
        ...


class Audit(Protocol):
    """Append-only, hash-chained record of who decided and did what."""

    def append(self, actor: str, action: str, subject: str, detail: Mapping[str, Any], now: float) -> None:
        """Written and synced before this returns.

        Raises:
            StoreError: it could not be written; the caller must not act (an emergency stop may, and says so).
        """
        ...
