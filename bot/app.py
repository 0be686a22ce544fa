"""The only wiring place: settings -> adapters -> supervisor -> Slack. Loads neither torch nor ultralytics."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path

from bot.adopt import find_adoptions, read_adoption
from bot.alerting.deliver import Deliverer
from bot.alerting.limits import AlertLimits, Audience, DeliveryLimits
from bot.alerting.pipeline import AlertPipeline
from bot.checks.limits import CheckLimits
from bot.core.facts import ProcessIdentity
from bot.core.finding import Finding
from bot.core.view import RunView
from bot.drivers.local import LocalDriver
from bot.drivers.trainer_cli import TrainerCli
from bot.errors import StoreError
from bot.handler import People
from bot.operations.limits import OperationLimits
from bot.operations.service import Operations
from bot.ports import Clock
from bot.reading.adopted import AdoptedReader
from bot.reading.run_files import RunReader, find_runs
from bot.schedule import Schedule
from bot.settings import Settings
from bot.slack.connection import SlackConnection
from bot.storage.alerts import AlertStore
from bot.storage.audit import AuditLog
from bot.storage.database import Database
from bot.storage.messages import MessageStore
from bot.storage.operations import SqliteApprovals, SqliteOperations
from bot.storage.selections import SelectionStore
from bot.supervisor import Supervisor
from bot.watch import watch_runs
from bot.watchdog import Health, Watchdog
from commands import Context
from trainer.contract import boot_id

_LOG = logging.getLogger(__name__)

_TICK_TIMEOUT_S = 120.0
_FAREWELL_S = 5.0
"""At shutdown the outbox gets this long; what is left is sent at the next start."""


class SystemClock:
    """Wall time of this host."""

    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        return time.time()


class _FindingsSink:
    """Alerts and the messages about them commit in one transaction; the delivery wakes only afterwards."""

    def __init__(self, database: Database, pipeline: AlertPipeline, deliverer: Deliverer) -> None:
        self._database = database
        self._pipeline = pipeline
        self._deliverer = deliverer

    def process(self, view: RunView, findings: Sequence[Finding], judged: frozenset[str], now: float) -> None:
        """See :class:`bot.supervisor.Sink`."""
        with self._database.transaction():
            self._pipeline.process(view.run, findings, now, first_seen_ts=view.first_seen_ts, judged=judged)
        self._deliverer.notify()


class _NotifyingOutbox(MessageStore):
    """What is put outside a look (a card, a step of an operation) is delivered at once too."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.deliverer: Deliverer | None = None

    def put(self, *args: object, **kwargs: object) -> None:
        """See :class:`bot.ports.Outbox`."""
        super().put(*args, **kwargs)  # type: ignore[arg-type] # the same signature, whatever it is
        if self.deliverer is not None:
            self.deliverer.notify()


class App:
    """The supervisor process. :meth:`start`, then :meth:`serve` until cancelled, then :meth:`close`."""

    def __init__(
        self, settings: Settings, *, clock: Clock | None = None, limits: OperationLimits | None = None
    ) -> None:
        self.settings = settings
        self.clock = clock or SystemClock()
        self._lock = _lock(settings.state_dir)
        self.database = Database(settings.state_dir / "trainmaster.sqlite3")
        self.outbox = _NotifyingOutbox(self.database)
        self.connection = SlackConnection(settings)
        self.alerts = AlertStore(self.database)
        self.pipeline = AlertPipeline(
            alerts=self.alerts,
            outbox=self.outbox,
            database=self.database,
            limits=AlertLimits(),
            audience=Audience(on_call=settings.oncall_users),
        )
        self.deliverer = Deliverer(
            self.outbox, self.connection.chat, channel=settings.alert_channel, clock=self.clock, limits=DeliveryLimits()
        )
        self.outbox.deliverer = self.deliverer
        self.driver = LocalDriver(settings.state_dir / "launches")
        self.supervisor = Supervisor(
            find_runs=lambda: (*find_runs(settings.runs_dir), *find_adoptions(settings.state_dir)),
            open_reader=self._open_reader,
            inspector=self.driver,
            sink=_FindingsSink(self.database, self.pipeline, self.deliverer),
            operations=None,
            limits=CheckLimits(),
            clock=self.clock,
        )
        self.operations = Operations(
            runs=self.supervisor,
            driver=self.driver,
            forensics=TrainerCli(),
            approvals=SqliteApprovals(self.database),
            journal=SqliteOperations(self.database),
            outbox=self.outbox,
            audit=AuditLog(settings.state_dir / "audit.jsonl"),
            chat=self.connection.chat,
            clock=self.clock,
            limits=limits or _operation_limits(settings),
            instance=_own_identity(self.driver),
        )
        self.supervisor.operations = self.operations
        self._schedule = Schedule(self._trouble)
        self._watchdog = Watchdog(settings.watchdog_url, self._health)
        self._tasks: list[asyncio.Task[None]] = []

    def _open_reader(self, place: Path) -> RunReader | AdoptedReader:
        first_seen_ts = self.alerts.first_seen(str(place), self.clock.now())
        adoption = read_adoption(place) if place.suffix == ".json" else None
        if adoption is not None:
            return AdoptedReader(adoption, first_seen_ts=first_seen_ts)
        return RunReader(place, first_seen_ts=first_seen_ts)

    async def start(self) -> None:
        """Every known run has been looked at, operations that a crash interrupted are taken up, then Slack listens.

        Raises:
            ChatError: Slack refused the tokens or the channel, or can't be reached.
            StoreError: the database can't be used.
        """
        context = Context(
            runs=self.supervisor,
            operations=self.operations,
            alerts=self.pipeline,
            outbox=self.outbox,
            chat=self.connection.chat,
            clock=self.clock,
            selection=SelectionStore(self.database),
            report_limits=CheckLimits().report,
        )
        await self.supervisor.tick()
        await self.operations.recover()
        await self.connection.connect(People(context, self.operations))
        self.deliverer.channel = self.connection.channel
        self._schedule_jobs()
        self._tasks = [
            asyncio.create_task(self.deliverer.run(), name="deliver"),
            asyncio.create_task(watch_runs(self.settings.runs_dir, self.supervisor.check), name="watch"),
        ]
        _LOG.info("watching %s, %d runs known", self.settings.runs_dir, len(self.supervisor.all()))

    def _schedule_jobs(self) -> None:
        every_s = self.settings.check_interval_s
        self._schedule.every(every_s, "check runs", self.supervisor.tick, timeout_s=_TICK_TIMEOUT_S)
        self._schedule.every(
            min(every_s, 10.0), "check operations", lambda: self.operations.tick(self.clock.now()), timeout_s=60.0
        )
        if self.settings.watchdog_url:
            self._schedule.every(60.0, "ping watchdog", self._watchdog.ping, timeout_s=30.0)
        self._schedule.start()

    async def serve(self) -> None:
        """Runs until cancelled, or until one of the tasks that must never end does.

        Raises:
            RuntimeError: such a task ended; the process should exit and be started again.
        """
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            raise RuntimeError(f"task-ended: {task.get_name()} must run for ever") from task.exception()

    async def close(self) -> None:
        """Slack no longer listens, waiting messages had their chance, the database is closed."""
        self._schedule.stop()
        await self.operations.close()
        with contextlib.suppress(StoreError, TimeoutError):
            await asyncio.wait_for(self.deliverer.drain(timeout_s=_FAREWELL_S), _FAREWELL_S + 1)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.connection.close()
        self.database.close()
        os.close(self._lock)

    def _health(self) -> Health:
        now = self.clock.now()
        return Health(
            since_tick_s=None if self.supervisor.last_tick_ts is None else now - self.supervisor.last_tick_ts,
            tick_limit_s=3 * self.settings.check_interval_s + _TICK_TIMEOUT_S,
            oldest_pending_s=None
            if self.outbox.oldest_pending_ts() is None
            else now - (self.outbox.oldest_pending_ts() or now),
            socket_alive=self.connection.alive(),
        )

    def _trouble(self, text: str) -> None:
        _LOG.error("schedule: %s", text)


def _own_identity(driver: LocalDriver) -> ProcessIdentity:
    return driver.identify(os.getpid()) or ProcessIdentity(
        pid=os.getpid(), create_time=None, host=os.uname().nodename, boot_id=boot_id()
    )


def _operation_limits(settings: Settings) -> OperationLimits:
    return OperationLimits(
        approvals_required=settings.approvals_required,
        allow_self_approval=settings.allow_self_approval,
        approval_ttl_s=settings.approval_ttl_s,
    )


def _lock(state_dir: Path) -> int:
    """The state directory is ours; the lock ends with the process, however it ends.

    Raises:
        StoreError: another bot has it, or it can't be made.
    """
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StoreError(
            "state-dir", f"{state_dir} can't be used: {error.strerror}.", "set STATE_DIR to a writable directory"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise StoreError(
            "already-running",
            f"another Trainmaster (pid {holder}) uses {state_dir}.",
            "stop it first, or give this one a STATE_DIR of its own",
        ) from error
    os.truncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor
