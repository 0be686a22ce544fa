"""The only wiring place: settings -> adapters -> supervisor -> Slack. Loads neither torch nor ultralytics."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

from trainmaster.bot.alerting.deliver import Deliverer
from trainmaster.bot.alerting.limits import AlertLimits, DeliveryLimits
from trainmaster.bot.alerting.notices import Notices
from trainmaster.bot.alerting.pipeline import AlertPipeline
from trainmaster.bot.alerting.undelivered import Undelivered
from trainmaster.bot.checks.limits import CheckLimits, HostLimits, OwnJobLimits
from trainmaster.bot.core.health.own_job import CHECK_RUNS
from trainmaster.bot.core.run.epoch_report import ReportLimits
from trainmaster.bot.core.run.facts import ProcessIdentity
from trainmaster.bot.core.run.ownership import OwnerCheck
from trainmaster.bot.drivers.gpu.holders import LocalGpuHolders
from trainmaster.bot.drivers.host import HostProbe
from trainmaster.bot.drivers.local.driver import LocalDriver
from trainmaster.bot.drivers.local.stacks import Stacks
from trainmaster.bot.drivers.local.trainer_process import TrainerProcesses
from trainmaster.bot.drivers.routing import driver_of
from trainmaster.bot.drivers.trainer_cli import TrainerCli
from trainmaster.bot.drivers.trainer_levels import TrainerLevels
from trainmaster.bot.errors import ChatError, StoreError
from trainmaster.bot.findings_sink import FindingsSink
from trainmaster.bot.operations.operation_context import World
from trainmaster.bot.operations.planning import Planner
from trainmaster.bot.operations.service import Operations
from trainmaster.bot.ports import ChatRefused, Clock
from trainmaster.bot.reading.adopted import AdoptedReader
from trainmaster.bot.reading.ownership import Ownership, who_is_trusted
from trainmaster.bot.reading.run_files import RunReader, find_runs
from trainmaster.bot.service.for_ever import for_ever
from trainmaster.bot.service.schedule import Schedule
from trainmaster.bot.service.state_dir import lock
from trainmaster.bot.service.systemd import ServiceNotifier
from trainmaster.bot.service.watchdog import Health, Watchdog
from trainmaster.bot.settings.limits import audience, operation_limits
from trainmaster.bot.settings.model import Settings
from trainmaster.bot.slack.chat import OnCallSource
from trainmaster.bot.slack.connection import SlackAccess, SlackConnection
from trainmaster.bot.storage.adoptions import Adoptions, find_adoptions, read_adoption
from trainmaster.bot.storage.alerts import AlertStore
from trainmaster.bot.storage.audit import AuditLog
from trainmaster.bot.storage.bot_state import BotState
from trainmaster.bot.storage.database import Database, Durable
from trainmaster.bot.storage.messages import MessageStore
from trainmaster.bot.storage.operations import SqliteApprovals, SqliteIntents, SqliteOperations
from trainmaster.bot.storage.selections import SelectionStore
from trainmaster.bot.storage.silences import SilenceStore
from trainmaster.bot.watching.file_watcher import watch_runs
from trainmaster.bot.watching.host import HostWatch
from trainmaster.bot.watching.limits import WatchLimits
from trainmaster.bot.watching.own_jobs import OwnJobs
from trainmaster.bot.watching.supervisor import Supervisor
from trainmaster.commands import Context
from trainmaster.commands.request_handler import RequestHandler
from trainmaster.trainer.contract import boot_id

_LOG = logging.getLogger(__name__)

DATABASE = "trainmaster.sqlite3"
"""In STATE_DIR."""
_TICK_TIMEOUT_S = 120.0
_MAX_CONNECT_PAUSE_S = 30.0
_FAREWELL_S = 5.0
"""At shutdown the outbox gets this long; what is left is sent at the next start."""


class SystemClock:
    """Wall time of this host."""

    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        return time.time()


class App:
    """The supervisor process, made inside the event loop: start it, serve until cancelled, close it."""

    def __init__(self, settings: Settings, *, clock: Clock | None = None) -> None:
        self.settings = settings
        self.clock = clock or SystemClock()
        self._steady = time.monotonic if clock is None else None
        self._lock = lock(settings.state_dir)
        self.database = Database(settings.state_dir / DATABASE, patient=True)
        self.outbox = MessageStore(self.database)
        self.connection = SlackConnection(_access(settings))
        self.alerts = AlertStore(self.database)
        self.pipeline = AlertPipeline(
            records=self.alerts,
            silences=SilenceStore(self.database),
            outbox=self.outbox,
            transactions=self.database,
            clock=self.clock,
            limits=settings.part(AlertLimits),
            audience=audience(settings),
        )
        self.driver = driver_of(
            settings.state_dir / "launches", slurm=settings.slurm, look_s=settings.part(WatchLimits).check_interval_s
        )
        self._ownership = Ownership(check=OwnerCheck(settings.owner_check), root=settings.runs_dir)
        self._sink = FindingsSink(database=self.database, pipeline=self.pipeline, notify=self._notify, clock=self.clock)
        self.supervisor = Supervisor(
            find_runs=lambda: (*self._list_runs(), *find_adoptions(settings.state_dir)),
            open_reader=self._open_reader,
            inspector=self.driver,
            sink=self._sink,
            operations=None,
            limits=settings.part(CheckLimits),
            clock=self.clock,
            stacks=Stacks(self.driver.local.signal),
            trainers=TrainerProcesses(check_user=settings.owner_check != "off"),
            together=self._one_commit,
        )
        self.host = HostWatch(
            probe=HostProbe(self._places),
            sink=self._sink,
            limits=settings.part(HostLimits),
            clock=self.clock,
        )
        self._audit = AuditLog(settings.state_dir / "audit.jsonl")
        self.operations = self._make_operations()
        self.supervisor.operations = self.operations
        self._notices = Notices(
            memory=BotState(self.database),
            outbox=self.outbox,
            transactions=self.database,
            runs=self.supervisor.all,
            told_counts=self.alerts.told_counts,
            clock=self.clock,
            digest_at=settings.digest_at,
            away_told_s=settings.part(AlertLimits).away_told_s,
        )
        self._undelivered = Undelivered(
            faults=lambda: self._deliverer.faults() if self._deliverer else (),
            waiting=self.outbox,
            outbox=self.outbox,
            on_call=settings.oncall_users,
            clock=self.clock,
        )
        self._systemd = ServiceNotifier(os.environ)
        self._own_jobs = OwnJobs(sink=self._sink, limits=settings.part(OwnJobLimits), clock=self.clock)
        self._schedule = Schedule(self._own_jobs.note)
        self._watchdog = Watchdog(settings.watchdog_url, self._health)
        self._deliverer: Deliverer | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def _list_runs(self) -> tuple[Path, ...]:
        return find_runs(self.settings.runs_dir)

    def _places(self) -> dict[str, Path]:
        """The directories whose disks matter, by what they hold."""
        adopted = {
            view.name: view.directory
            for view in self.supervisor.all()
            if view.state.active and not view.directory.is_relative_to(self.settings.runs_dir)
        }
        return {"RUNS_DIR": self.settings.runs_dir, "STATE_DIR": self.settings.state_dir, **adopted}

    def _make_operations(self) -> Operations:
        forensics, durable = TrainerCli(), Durable(self.database)
        return Operations(
            world=World(
                runs=self.supervisor,
                driver=self.driver,
                forensics=forensics,
                planner=Planner(forensics=forensics, levels=TrainerLevels(), host=os.uname().nodename),
                clock=self.clock,
                limits=operation_limits(self.settings),
                attempts=Adoptions(self.settings.state_dir),
                gpu_holders=LocalGpuHolders(),
            ),
            approvals=SqliteApprovals(durable),
            operations=SqliteOperations(durable),
            intents=SqliteIntents(durable),
            outbox=self.outbox,
            audit=self._audit,
            transactions=durable,
            chat=self.connection.chat,
            instance=_own_identity(self.driver.local),
            notify=self._notify,
        )

    @contextlib.contextmanager
    def _one_commit(self) -> Iterator[None]:
        """What is written within costs one sync, and nothing when the database can't be used."""
        with contextlib.suppress(StoreError), contextlib.ExitStack() as stack:
            with contextlib.suppress(StoreError):
                stack.enter_context(self.database.transaction())
            yield

    def _open_reader(self, place: Path) -> RunReader | AdoptedReader:
        first_seen_ts = self.clock.now()
        with contextlib.suppress(StoreError):  # the sink says so; watching goes on
            first_seen_ts = self.alerts.first_seen(str(place), first_seen_ts)
        adoption = read_adoption(place) if place.suffix == ".json" else None
        if adoption is not None:
            return AdoptedReader(
                adoption,
                first_seen_ts=first_seen_ts,
                record=place,
                steady=self._steady,
                ownership=self._ownership,
            )
        return RunReader(place, first_seen_ts=first_seen_ts, steady=self._steady, ownership=self._ownership)

    async def start(self) -> None:
        """Every known run has been looked at, operations that a crash interrupted are taken up, then Slack listens.
        While Slack is away, watching has begun already and what is found waits in the outbox.

        Raises:
            ChatRefused: Slack refused the tokens or the channel: a person must mend something.
        """
        await self._first(CHECK_RUNS, self._check_runs)
        await self._first("look at itself", self._look_at_itself)
        await self._first("digest", self._tell_return)
        await self._first("check operations", self.operations.recover)
        self._schedule_jobs()
        self._systemd.ready(f"watching {len(self.supervisor.all())} runs, connecting to Slack")
        self._must_run("watch", self._watch_files)
        await self._connect()
        self._deliverer = Deliverer(
            self.outbox,
            self.connection.chat,
            channel=self.connection.channel,
            clock=self.clock,
            limits=DeliveryLimits(),
        )
        self._must_run("deliver", self._deliverer.run)
        _LOG.info("watching %s, %d runs known", self.settings.runs_dir, len(self.supervisor.all()))
        _LOG.info("%s", who_is_trusted(self._ownership.check))

    def _must_run(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        self._tasks.append(asyncio.create_task(for_ever(name, work, self._own_jobs.note), name=name))

    async def _watch_files(self) -> None:
        note = partial(self._own_jobs.note, "watch files")
        await watch_runs(self._list_runs, self.supervisor.check_all, note=note)

    async def _connect(self) -> None:
        context = Context(
            runs=self.supervisor,
            operations=self.operations,
            alerts=self.pipeline,
            outbox=self.outbox,
            on_call=self.operations.on_call,
            clock=self.clock,
            selection=SelectionStore(self.database),
            report_limits=self.settings.part(ReportLimits),
            host=lambda: self.host.fact,
            roles=self.connection.people,
            audit=self._audit,
            members_care=self.settings.alerts_handled_by == "members",
            link=self.connection.link,
        )
        handler = RequestHandler(context, silence_s=self.settings.part(AlertLimits).silence_s, notify=self._notify)
        pause_s = 1.0
        while True:
            try:
                await self.connection.connect(handler)
            except ChatRefused:
                raise
            except ChatError as error:
                _LOG.warning("%s; watching goes on, trying again in %g s", error, pause_s)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _MAX_CONNECT_PAUSE_S)
            else:
                return

    async def _first(self, job: str, work: Callable[[], Awaitable[object]]) -> None:
        """One of the jobs that the schedule repeats: what is wrong with it ends no start."""
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - the tick: logged, told after the third, and repeated
            _LOG.exception("job-fault: %s, at the start", job)
            self._own_jobs.note(job, f"{type(error).__name__}: {error}")

    async def _tell_return(self) -> None:
        self._notices.returned()

    def announce(self) -> None:
        """The outbox has something new."""
        self._notify()

    async def _check_runs(self) -> None:
        await self.supervisor.tick()
        self._own_jobs.note("find new runs", self.supervisor.find_fault)
        for run, fault in self.supervisor.take_look_faults():
            self._own_jobs.note(f"look at {run}", fault)

    def _notify(self) -> None:
        if self._deliverer is not None:
            self._deliverer.notify()

    def _schedule_jobs(self) -> None:
        every_s = self.settings.part(WatchLimits).check_interval_s
        self._schedule.every(every_s, CHECK_RUNS, self._check_runs, timeout_s=_TICK_TIMEOUT_S)
        self._schedule.every(every_s, "check host", self.host.look, timeout_s=60.0)
        self._schedule.every(
            min(every_s, 10.0), "check operations", lambda: self.operations.tick(self.clock.now()), timeout_s=60.0
        )
        self._schedule.every(min(every_s, 10.0), "look at itself", self._look_at_itself, timeout_s=60.0)
        self._schedule.every(min(every_s, 60.0), "digest", self._tell_notices, timeout_s=60.0)
        if self.settings.watchdog_url:
            self._schedule.every(60.0, "ping watchdog", self._watchdog.ping, timeout_s=30.0)
        if self._systemd.watchdog_s is not None:
            # Half of what systemd waits for, as its manual advises.
            self._schedule.every(self._systemd.watchdog_s / 2, "tell systemd", self._tell_systemd, timeout_s=10.0)
        self._schedule.start()

    async def _look_at_itself(self) -> None:
        self._sink.tick()
        self._own_jobs.look()

    async def _tell_notices(self) -> None:
        with contextlib.suppress(StoreError):  # the next look at itself tells it
            told = (self._notices.tick(), self._undelivered.tick())
            if any(told):
                self._notify()

    async def _tell_systemd(self) -> None:
        """Slack's troubles are none that a new start would mend: they don't count here."""
        health = self._health()
        if health.watching_faults():
            self._systemd.status("; ".join(health.watching_faults()))
        else:
            self._systemd.alive("; ".join(health.faults()) or f"watching {len(self.supervisor.all())} runs")

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
        self._systemd.stopping()
        self._schedule.stop()
        await self.operations.close()
        if self._deliverer is not None:
            with contextlib.suppress(StoreError):
                await self._deliverer.drain(timeout_s=_FAREWELL_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.connection.close()
        self.database.close()
        if self._lock is not None:
            os.close(self._lock)

    def _health(self) -> Health:
        now = self.clock.now()
        ticked_ts, checked_ts = self.supervisor.last_tick_ts, self.supervisor.oldest_check_ts()
        unreadable, pending_ts = False, None
        try:
            pending_ts = self.outbox.oldest_pending_ts()
        except StoreError:
            unreadable = True
        return Health(
            since_tick_s=None if ticked_ts is None else now - ticked_ts,
            since_check_s=None if checked_ts is None else now - checked_ts,
            check_limit_s=3 * self.settings.part(WatchLimits).check_interval_s + _TICK_TIMEOUT_S,
            oldest_pending_s=None if pending_ts is None else now - pending_ts,
            outbox_readable=not unreadable,
            socket_alive=self.connection.alive(),
        )


def _own_identity(driver: LocalDriver) -> ProcessIdentity:
    return driver.identify(os.getpid()) or ProcessIdentity(
        pid=os.getpid(), create_time=None, host=os.uname().nodename, boot_id=boot_id()
    )


def _access(settings: Settings) -> SlackAccess:
    assert settings.slack_bot_token and settings.slack_app_token and settings.alert_channel  # noqa: PT018
    return SlackAccess(
        bot_token=settings.slack_bot_token.get_secret_value(),
        app_token=settings.slack_app_token.get_secret_value(),
        api_url=settings.slack_api_url,
        channel=settings.alert_channel,
        on_call=OnCallSource(users=settings.oncall_users, usergroup=settings.oncall_usergroup),
    )
