"""The life of the bot: started, on schedule, closed in order. Loads neither torch nor ultralytics."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from trainmaster.bot.alerting.deliver import Deliverer
from trainmaster.bot.alerting.limits import DeliveryLimits
from trainmaster.bot.alerting.spare import Spare
from trainmaster.bot.core.conversation.words import counted
from trainmaster.bot.core.health.own_job import CHECK_RUNS
from trainmaster.bot.core.metrics import CheckTimes, Family, Sight, families
from trainmaster.bot.core.run.ownership import OwnerCheck
from trainmaster.bot.errors import ChatError, StoreError
from trainmaster.bot.ports import ChatRefused, RateLimited
from trainmaster.bot.reading.ownership import who_is_trusted
from trainmaster.bot.reading.run_files import RunReader, find_runs
from trainmaster.bot.service.for_ever import for_ever
from trainmaster.bot.service.lease import BEAT_S, GONE_S
from trainmaster.bot.service.state_dir import lock
from trainmaster.bot.service.systemd import ServiceNotifier
from trainmaster.bot.service.watchdog import Health, Watchdog
from trainmaster.bot.storage.counts import Counts
from trainmaster.bot.watching.file_watcher import watch_runs
from trainmaster.bot.watching.limits import WatchLimits

if TYPE_CHECKING:
    from trainmaster.bot.settings.model import Settings

_LOG = logging.getLogger(__name__)

_HOLD_LEASE = "act on runs"
_WRITE_AUDIT = "write the audit log"
_REACH_SLACK = "reach Slack"
_TICK_TIMEOUT_S = 120.0
_HOME_EVERY_S = 15.0
"""So long several changes wait to be shown at once."""
_SIGN_IN_PAUSE_S = 2.0
"""At most, so that what waits is told within 10 s of Slack's return, even if a call hung until then."""
_MAX_CONNECT_PAUSE_S = 10.0
"""Of the socket: Slack hands out about one address a minute for good (apps.connections.open, tier 1)."""
_PAGE_EVERY_S = 5.0
_PIN_EVERY_S = 5.0
_LEARN_EVERY_S = 5.0
"""Who a run's file names as its owner is asked of Slack by then."""
_CLUSTER_EVERY_S = 2.0
"""Its silence and the end of it are told in time, however seldom the runs are looked at; nobody is asked for that while
the controller answers."""
_PURGE_EVERY_S = 3600.0
"""Where nothing is old, a purge is a few queries."""
_PURGE_FIRST_S = 60.0
"""A bot that is restarted again and again must come to it; the start itself has other work."""
_FAREWELL_S = 5.0
"""At shutdown the outbox gets this long; what is left is sent at the next start."""


class SystemClock:
    """Wall time of this host."""

    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        return time.time()


class App:
    """The supervisor process, made inside the event loop: start it, serve until cancelled, close it."""

    def __init__(
        self,
        settings: Settings,
        *,
        first_round: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
        read_ahead: Callable[[Path], RunReader | None] | None = None,
    ) -> None:
        """``first_round``: around the first look at all runs, before which nobody is answered. ``read_ahead``: what
        was read of a run before it."""
        # The libraries of Slack, the schedule and the web page load here: they take longer than all of ours; whoever
        # only names this class (a verb that then refuses) doesn't wait for them.
        from trainmaster.bot.service.metrics import MetricsPage  # noqa: PLC0415
        from trainmaster.bot.service.schedule import Schedule  # noqa: PLC0415
        from trainmaster.bot.wiring.parts import wire  # noqa: PLC0415
        from trainmaster.bot.wiring.wires import Wires  # noqa: PLC0415

        self.settings = settings
        self.clock = SystemClock()
        self._deliverer: Deliverer | None = None
        self._lock = lock(settings.state_dir)
        parts = wire(
            settings,
            Wires(
                clock=self.clock,
                notify=self.announce,
                faults=lambda: self._deliverer.faults() if self._deliverer else (),
                held_back_s=lambda: self._deliverer.held_back_s() if self._deliverer else 0.0,
                read_ahead=read_ahead,
            ),
        )
        telling, places = parts.telling, parts.places
        self.database, self.outbox, self.connection = telling.database, telling.outbox, telling.connection
        self.driver, self.supervisor, self.operations = places.driver, parts.supervisor, parts.operations
        self._parts, self._lease, self._chores = parts, places.lease, parts.chores
        self._systemd = ServiceNotifier(os.environ)
        self._first_round = first_round
        self._schedule = Schedule(self._chores.own_jobs.note)
        self._watchdog = Watchdog(settings.watchdog_url, self._health)
        self._started_ts = self.clock.now()
        self._tick_s: float | None = None
        address = settings.metrics_address
        self._metrics = MetricsPage(address, self._families) if address is not None else None
        self._tasks: list[asyncio.Task[None]] = []

    def _list_runs(self) -> tuple[Path, ...]:
        return find_runs(self.settings.runs_dir)

    async def start(self) -> None:
        """Every known run has been looked at, operations that a crash interrupted are taken up, then Slack listens.
        While Slack is away, watching has begun already and what is found waits in the outbox; while only the socket is
        not to be had, it is told.

        Raises:
            ChatRefused: Slack refused the tokens or the channel: a person must mend something.
            TrainmasterError: METRICS_ADDRESS is set and can't be listened on.
        """
        if self._metrics is not None:
            await self._metrics.start()
        await self._first(_HOLD_LEASE, self._keep_lease)
        with self._first_round():
            await self._first(CHECK_RUNS, self._check_runs)
        await self._first("look at itself", self._look_at_itself)
        await self._first("digest", self._tell_return)
        await self._first(_WRITE_AUDIT, self._write_audit)
        await self._first("audit", self.operations.reconcile)
        await self._first("check operations", self.operations.recover)
        if self._metrics is not None:
            await self._first("collect metrics", self._metrics.refresh)
        self._schedule_jobs()
        self._systemd.ready(f"watching {len(self.supervisor.all())} runs, connecting to Slack")
        self._must_run("watch", self._watch_files)
        await self._until_slack_does(self.connection.sign_in, _SIGN_IN_PAUSE_S)
        spare = Spare(
            self.outbox,
            self.connection.chat,
            channel=self.connection.channel,
            clock=self.clock,
            silent=self._lease.told_by_other,
            shared=self._parts.shared.tells,
            limits=DeliveryLimits(),
        )
        self._deliverer = Deliverer(
            self.outbox,
            self.connection.chat,
            channel=self.connection.channel,
            clock=self.clock,
            limits=DeliveryLimits(),
            leave=spare,
        )
        self._must_run("deliver", self._deliverer.run)
        self._must_run("leave to the other bot", spare.run)
        self._must_run("draw pictures", self._chores.pictures.run)
        self.connection.keep_open_with(self._must_run)
        await self._until_slack_does(partial(self.connection.connect, self._parts.handler), _MAX_CONNECT_PAUSE_S)
        _LOG.info("watching %s, %s known", self.settings.runs_dir, counted(len(self.supervisor.all()), "run"))
        _LOG.info("%s", who_is_trusted(OwnerCheck(self.settings.owner_check)))

    def _must_run(self, name: str, work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        self._tasks.append(asyncio.create_task(for_ever(name, work, self._chores.own_jobs.note), name=name))
        return self._tasks[-1]

    async def _watch_files(self) -> None:
        note = partial(self._chores.own_jobs.note, "watch files")
        await watch_runs(self._list_runs, self.supervisor.check_all, note=note)

    async def _until_slack_does(self, work: Callable[[], Awaitable[object]], max_pause_s: float) -> None:
        pause_s = min(1.0, max_pause_s)
        while True:
            try:
                await work()
            except ChatRefused:
                raise
            except ChatError as error:
                wait_s = max(pause_s, error.retry_after_s) if isinstance(error, RateLimited) else pause_s
                _LOG.warning("%s; watching goes on, trying again in %g s", error, wait_s)
                await asyncio.sleep(wait_s)
                pause_s = min(2 * pause_s, max_pause_s)
            except Exception as error:  # noqa: BLE001 - an answer that nobody thought of ends no watching
                _LOG.exception("job-fault: %s; watching goes on, trying again in %g s", _REACH_SLACK, pause_s)
                self._chores.own_jobs.note(_REACH_SLACK, f"{type(error).__name__}: {error}")
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, max_pause_s)
            else:
                self._chores.own_jobs.note(_REACH_SLACK, None)
                return

    async def _first(self, job: str, work: Callable[[], Awaitable[object]]) -> None:
        """One of the jobs that the schedule repeats: what is wrong with it ends no start."""
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - the tick: logged, told after the third, and repeated
            _LOG.exception("job-fault: %s, at the start", job)
            self._chores.own_jobs.note(job, f"{type(error).__name__}: {error}")

    async def _tell_return(self) -> None:
        self._chores.notices.returned()

    def announce(self) -> None:
        """The outbox has something new."""
        if self._deliverer is not None:
            self._deliverer.notify()

    async def _keep_lease(self) -> None:
        """Who acts on the runs is told by the look at itself; a lease that can't be read or written is a fault."""
        acted = not self._lease.why_not()
        await asyncio.to_thread(self._lease.keep)
        self._chores.own_jobs.note(_HOLD_LEASE, None)
        if acted != (not self._lease.why_not()):
            self._chores.own_jobs.look()

    async def _write_audit(self) -> None:
        self._parts.desk.audit.settle()

    async def _check_runs(self) -> None:
        began_s = time.monotonic()
        if self._lease.away:
            await self._keep_lease()  # RUNS_DIR may have come: whoever is first to see it acts
        await self.supervisor.tick()
        self._tick_s = time.monotonic() - began_s
        with contextlib.suppress(StoreError):  # the check of operations meets it, too
            await self.operations.go_on()
        self._chores.own_jobs.note("find new runs", self.supervisor.find_fault)
        for run, fault in self.supervisor.take_look_faults():
            self._chores.own_jobs.note(f"look at {run}", fault)

    async def _check_cluster(self) -> None:
        self._chores.cluster.look(self.supervisor.all())

    def _schedule_jobs(self) -> None:
        every_s = self.settings.part(WatchLimits).check_interval_s
        self._schedule.every(every_s, CHECK_RUNS, self._check_runs, timeout_s=_TICK_TIMEOUT_S)
        self._schedule.every(BEAT_S, "keep lease", self._keep_lease, timeout_s=GONE_S / 2)
        self._schedule.every(30.0, _WRITE_AUDIT, self._write_audit, timeout_s=30.0)
        self._schedule.every(every_s, "check host", self._parts.places.host.look, timeout_s=60.0)
        if self.driver.cluster is not None:
            self._schedule.every(min(every_s, _CLUSTER_EVERY_S), "check cluster", self._check_cluster, timeout_s=30.0)
        self._schedule.every(
            min(every_s, 10.0), "check operations", lambda: self.operations.tick(self.clock.now()), timeout_s=60.0
        )
        self._schedule.every(min(every_s, 10.0), "look at itself", self._look_at_itself, timeout_s=60.0)
        self._schedule.every(_HOME_EVERY_S, "refresh Home", self.connection.refresh_homes, timeout_s=60.0)
        self._schedule.every(min(every_s, 60.0), "digest", self._tell_notices, timeout_s=60.0)
        self._schedule.every(
            _PURGE_EVERY_S, "purge", self._chores.purge.run, timeout_s=_PURGE_EVERY_S / 2, first_s=_PURGE_FIRST_S
        )
        self._schedule.every(_PIN_EVERY_S, "pin cards", self._pin_cards, timeout_s=120.0)
        self._schedule.every(_LEARN_EVERY_S, "learn owners", self._learn_owners, timeout_s=120.0)
        if self._chores.pager is not None:
            self._schedule.every(_PAGE_EVERY_S, "page", self._chores.pager.tick, timeout_s=120.0)
            self._schedule.every(_PURGE_EVERY_S, "forget pages", self._chores.pager.forget, timeout_s=60.0)
        if self._metrics is not None:
            self._schedule.every(min(every_s, 10.0), "collect metrics", self._metrics.refresh, timeout_s=30.0)
        if self.settings.watchdog_url:
            self._schedule.every(60.0, "ping watchdog", self._watchdog.ping, timeout_s=30.0)
        if self._systemd.watchdog_s is not None:
            # Half of what systemd waits for, as its manual advises.
            self._schedule.every(self._systemd.watchdog_s / 2, "tell systemd", self._tell_systemd, timeout_s=10.0)
        self._schedule.start()

    async def _pin_cards(self) -> None:
        if self.connection.identity is not None:
            with contextlib.suppress(StoreError):  # the look at itself tells it
                await self._chores.pins.tick()

    async def _learn_owners(self) -> None:
        if self.connection.identity is not None:
            await self._parts.telling.owners.learn(self.supervisor.all(), self.clock.now())

    async def _look_at_itself(self) -> None:
        self._parts.telling.sink.tick()
        self._chores.own_jobs.look()
        with contextlib.suppress(StoreError):  # the sink has just told it
            if await self._chores.undelivered.tick():
                self.announce()

    async def _tell_notices(self) -> None:
        with contextlib.suppress(StoreError):  # the next look at itself tells it
            if self._chores.notices.tick():
                self.announce()

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
        if self._metrics is not None:
            await self._metrics.close()
        if self._chores.pager is not None:
            self._chores.pager.close()
        await self.connection.close()
        self._lease.release()
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

    def _families(self) -> tuple[Family, ...]:
        counts = Counts(self.database)
        alerts, delivery, decisions = None, None, None
        with contextlib.suppress(StoreError):  # the page says that the database can't be read
            alerts, delivery, decisions = self._parts.telling.pipeline.firing(), counts.delivery(), counts.decisions()
        return families(
            Sight(
                ts=self.clock.now(),
                version=_version(),
                started_ts=self._started_ts,
                runs=self.supervisor.all(),
                checks=CheckTimes(
                    ticked_ts=self.supervisor.last_tick_ts,
                    tick_s=self._tick_s,
                    oldest_check_ts=self.supervisor.oldest_check_ts(),
                ),
                slack_connected=self.connection.alive(),
                alerts=alerts,
                delivery=delivery,
                decisions=decisions,
            )
        )


def _version() -> str:
    try:
        return metadata.version("trainmaster")
    except metadata.PackageNotFoundError:
        return "unknown: not installed"
