"""Settings -> the parts of the bot, each made once and given what it needs. Nothing runs yet:
:mod:`trainmaster.bot.app` starts, schedules and closes them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from trainmaster.bot.alerting.limits import AlertLimits
from trainmaster.bot.alerting.notices import Notices, last_at_work_ts
from trainmaster.bot.alerting.owners import Owners
from trainmaster.bot.alerting.pictures import Pictures
from trainmaster.bot.alerting.pins import PinCards, PinnedCards
from trainmaster.bot.alerting.pipeline import AlertPipeline
from trainmaster.bot.alerting.spare import SharedRuns
from trainmaster.bot.alerting.undelivered import Undelivered
from trainmaster.bot.checks.limits import CheckLimits, HostLimits, OwnJobLimits
from trainmaster.bot.core.keeping import StorageLimits
from trainmaster.bot.core.run.card_facts import card_facts
from trainmaster.bot.core.run.epoch_report import ReportLimits
from trainmaster.bot.core.run.facts import ProcessIdentity
from trainmaster.bot.core.run.ownership import OwnerCheck
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.drivers.gpu.holders import LocalGpuHolders
from trainmaster.bot.drivers.host import HostProbe
from trainmaster.bot.drivers.local.driver import LocalDriver
from trainmaster.bot.drivers.local.stacks import Stacks
from trainmaster.bot.drivers.local.trainer_process import TrainerProcesses
from trainmaster.bot.drivers.routing import RoutingDriver, driver_of
from trainmaster.bot.drivers.start_gate import LocalStartGate
from trainmaster.bot.drivers.trainer_cli import TrainerCli
from trainmaster.bot.drivers.trainer_levels import TrainerLevels
from trainmaster.bot.errors import StoreError
from trainmaster.bot.findings_sink import FindingsSink
from trainmaster.bot.operations.books import Books
from trainmaster.bot.operations.changes import open_changes
from trainmaster.bot.operations.deaths import ENDS
from trainmaster.bot.operations.operation_context import World
from trainmaster.bot.operations.planning import Planner
from trainmaster.bot.operations.run_looks import RunLooks
from trainmaster.bot.operations.service import Operations
from trainmaster.bot.paging.pager import Pager, Ways
from trainmaster.bot.ports import Clock
from trainmaster.bot.reading.adopted import AdoptedReader
from trainmaster.bot.reading.ownership import Ownership
from trainmaster.bot.reading.run_files import RunReader, find_runs
from trainmaster.bot.service.lease import Lease
from trainmaster.bot.settings.limits import audience, named_people, operation_limits
from trainmaster.bot.settings.model import Settings
from trainmaster.bot.slack.connection import SlackConnection
from trainmaster.bot.storage.adoptions import Adoptions, find_adoptions, read_adoption
from trainmaster.bot.storage.alerts import AlertStore
from trainmaster.bot.storage.audit import AUDIT_LOG, AuditLog
from trainmaster.bot.storage.bot_state import BotState
from trainmaster.bot.storage.database import Database, Durable
from trainmaster.bot.storage.ledger import Ledger
from trainmaster.bot.storage.messages import MessageStore
from trainmaster.bot.storage.operations import SqliteApprovals, SqliteIntents, SqliteOperations
from trainmaster.bot.storage.pages import PageStore
from trainmaster.bot.storage.pictures import PictureStore
from trainmaster.bot.storage.pins import PinStore
from trainmaster.bot.storage.purge import ARCHIVE, Purge
from trainmaster.bot.storage.seen import SeenStore
from trainmaster.bot.storage.selections import SelectionStore
from trainmaster.bot.storage.silences import SilenceStore
from trainmaster.bot.watching.cluster import ClusterWatch
from trainmaster.bot.watching.host import HostWatch
from trainmaster.bot.watching.limits import ClusterLimits, WatchLimits
from trainmaster.bot.watching.own_jobs import OwnJobs
from trainmaster.bot.watching.resting import RestingRuns
from trainmaster.bot.watching.supervisor import Supervisor
from trainmaster.bot.wiring_people import make_pager, slack_access
from trainmaster.commands import Context
from trainmaster.commands.request_handler import RequestHandler
from trainmaster.trainer.contract import boot_id

DATABASE = "trainmaster.sqlite3"
"""In STATE_DIR."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything that a bot is made of, wired and at rest."""

    database: Database
    outbox: MessageStore
    connection: SlackConnection
    alerts: AlertStore
    pipeline: AlertPipeline
    driver: RoutingDriver
    sink: FindingsSink
    supervisor: Supervisor
    lease: Lease
    shared: SharedRuns
    audit: Ledger
    host: HostWatch
    cluster: ClusterWatch
    operations: Operations
    notices: Notices
    undelivered: Undelivered
    own_jobs: OwnJobs
    purge: Purge
    pager: Pager | None
    """None where nobody is called beyond Slack."""
    pictures: Pictures
    pins: PinnedCards
    owners: Owners
    handler: RequestHandler
    """Answers what people say and press."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wires:
    """What the parts need of the process that runs them. ``notify`` says that the outbox has something new, ``faults``
    what the delivery can't get rid of."""

    clock: Clock
    notify: Callable[[], None]
    faults: Callable[[], tuple[str, ...]]
    held_back_s: Callable[[], float]
    """As :meth:`trainmaster.bot.alerting.deliver.Deliverer.held_back_s`."""
    read_ahead: Callable[[Path], RunReader | None] | None = None


def wire(settings: Settings, wires: Wires) -> Parts:
    """The parts of a bot with these settings, made inside the event loop.

    Raises:
        StoreError: the database cannot be opened.
        SettingsError: PAGE_URLS can't be used.
    """
    clock, notify = wires.clock, wires.notify
    database = Database(settings.state_dir / DATABASE, patient=True)
    outbox, alerts = MessageStore(database), AlertStore(database)
    heard_ts: float | None = None
    with contextlib.suppress(StoreError):  # the sink says so
        heard_ts = last_at_work_ts(BotState(database))
    connection = SlackConnection(slack_access(settings), seen=SeenStore(database), heard_ts=heard_ts)
    owners = Owners(
        rules=settings.run_owners, trusted=named_people(settings), people=connection.people, memory=BotState(database)
    )
    pipeline = AlertPipeline(
        records=alerts,
        silences=SilenceStore(database),
        outbox=outbox,
        transactions=database,
        clock=clock,
        limits=settings.part(AlertLimits),
        audience=audience(settings, owners),
        facts=lambda view: card_facts(view, _planned(operations, view.run, view), host.fact, owners.name(view.run)),
    )
    driver = driver_of(
        settings.state_dir / "launches", slurm=settings.slurm, look_s=settings.part(WatchLimits).check_interval_s
    )
    drawings = asyncio.Event()
    book = PictureStore(database, drawings.set)
    sink = FindingsSink(database=database, pipeline=pipeline, notify=notify, clock=clock, pictures=book)
    lease = Lease(settings.runs_dir, tells=_voice(settings))
    durable = Durable(database)
    audit = Ledger(
        AuditLog(settings.state_dir / AUDIT_LOG),
        database,
        name_of=lambda run: view.name if (view := supervisor.find(run)) is not None and view.run == run else run,
    )
    books = Books(
        approvals=SqliteApprovals(durable),
        operations=SqliteOperations(durable),
        intents=SqliteIntents(durable),
        outbox=outbox,
        audit=audit,
        transactions=durable,
    )
    host = HostWatch(
        probe=HostProbe(lambda: _places(settings, supervisor)), sink=sink, limits=settings.part(HostLimits), clock=clock
    )
    forensics = TrainerCli(environment=driver.local.environments.recall)
    gate = LocalStartGate(host=host.as_it_is_now, environment=driver.local.environments.recall, copies=forensics.copies)
    planner = Planner(forensics=forensics, levels=TrainerLevels(), host=os.uname().nodename, gate=gate)
    looks = RunLooks(
        books=books,
        planner=planner,
        clock=clock,
        limits=operation_limits(settings),
        chat=connection.chat,
        notify=notify,
        checks=settings.part(CheckLimits),
        silenced=lambda run, now: pipeline.asked_for_quiet(run, ENDS, now),
    )

    def hands_off(place: Path) -> str:
        # An adopted run elsewhere is recorded in this bot's own STATE_DIR: no RUNS_DIR is needed to act on it.
        return "" if lease.away and not place.is_relative_to(settings.runs_dir) else lease.why_not()

    supervisor = Supervisor(
        find_runs=lambda: (*find_runs(settings.runs_dir), *find_adoptions(settings.state_dir)),
        open_reader=_Readers(settings, alerts, wires).open,
        inspector=driver,
        sink=sink,
        operations=looks,
        limits=settings.part(CheckLimits),
        clock=clock,
        stacks=Stacks(driver.local.signal),
        trainers=TrainerProcesses(check_user=settings.owner_check != "off", seen=driver.local.environments.remember),
        together=lambda: _one_commit(database),
        hands_off=hands_off,
        next_start=driver.next_start,
        resting=RestingRuns(pipeline, looks),
    )
    operations = Operations(
        world=World(
            runs=supervisor,
            driver=driver,
            forensics=forensics,
            planner=planner,
            clock=clock,
            limits=looks.limits,
            attempts=Adoptions(settings.state_dir),
            gpu_holders=LocalGpuHolders(),
            hands_off=hands_off,
            gate=gate,
            think_again=looks.deaths.think_again,
        ),
        books=books,
        looks=looks,
        instance=_own_identity(driver.local),
        notify=notify,
        report_limits=settings.part(ReportLimits),
    )
    pictures = Pictures(
        book=book,
        runs=supervisor,
        drawer=forensics,
        uploads=connection.files,
        refused=connection.chat.refused,
        clock=clock,
        notify=notify,
        able=lambda: connection.may_upload() and not lease.told_by_other(),
        wake=drawings,
    )
    connection.illustrate_with(pictures.make)
    own_jobs = OwnJobs(sink=sink, limits=settings.part(OwnJobLimits), clock=clock, lease=lease)
    shared = SharedRuns(supervisor, settings.runs_dir)
    context = Context(
        runs=supervisor,
        operations=operations,
        alerts=pipeline,
        outbox=outbox,
        on_call=looks.on_call,
        clock=clock,
        selection=SelectionStore(database),
        report_limits=settings.part(ReportLimits),
        host=lambda: host.fact,
        roles=connection.people,
        planned=partial(_planned, operations),
        questions=books.approvals.pending,
        proposals=partial(open_changes, books.intents),
        concerned=looks.concerned,
        audit=audit,
        together=database.transaction,
        members_care=settings.alerts_handled_by == "members",
        link=connection.link,
        told_by=lambda key: lease.other() if lease.told_by_other() and (not key or shared.tells(key)) else "",
    )
    return Parts(
        database=database,
        outbox=outbox,
        connection=connection,
        alerts=alerts,
        pipeline=pipeline,
        driver=driver,
        sink=sink,
        supervisor=supervisor,
        lease=lease,
        shared=shared,
        audit=audit,
        host=host,
        cluster=ClusterWatch(controller=driver.cluster, sink=sink, limits=settings.part(ClusterLimits), clock=clock),
        operations=operations,
        pictures=pictures,
        pins=PinnedCards(
            book=PinStore(database),
            board=connection.pins,
            runs=supervisor,
            clock=clock,
            may_pin=connection.may_pin,
            switch=PinCards(settings.pin_cards),
        ),
        owners=owners,
        notices=Notices(
            memory=BotState(database),
            outbox=outbox,
            transactions=database,
            runs=supervisor.all,
            told_counts=alerts.told_counts,
            clock=clock,
            digest_at=settings.digest_at,
            away_told_s=settings.part(AlertLimits).away_told_s,
        ),
        undelivered=Undelivered(
            faults=wires.faults,
            waiting=outbox,
            outbox=outbox,
            on_call=looks.on_call.or_seen,
            clock=clock,
            held_back_s=wires.held_back_s,
        ),
        own_jobs=own_jobs,
        purge=Purge(
            database=database,
            archive=settings.state_dir / ARCHIVE,
            limits=settings.part(StorageLimits),
            clock=clock,
            watched=supervisor.places,
        ),
        pager=make_pager(
            settings,
            alerts=pipeline,
            pages=PageStore(database),
            ways=Ways(sent_ts=outbox.sent_ts, muted=connection.people.is_muted, note=own_jobs.note),
            clock=clock,
        ),
        handler=RequestHandler(context, silence_s=settings.part(AlertLimits).silence_s, notify=notify),
    )


def _planned(operations: Operations, run: str, view: RunView | None = None) -> tuple[str, ...]:
    """What a card and status say is planned; nothing while the database can't be read: alerts are told all the same."""
    try:
        return operations.planned(run, view)
    except StoreError:
        return ()


def _voice(settings: Settings) -> str:
    """Two bots have it in common when they tell the same channel as the same app. It tells nothing of the token."""
    access = slack_access(settings)
    words = (access.api_url, access.bot_token, access.channel)
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:16]


class _Readers:
    """Opens the reader of a place: a run directory, or the record of an adopted run."""

    def __init__(self, settings: Settings, alerts: AlertStore, wires: Wires) -> None:
        self._alerts = alerts
        self._wires = wires
        self._ownership = Ownership(check=OwnerCheck(settings.owner_check), root=settings.runs_dir)

    def open(self, place: Path) -> RunReader | AdoptedReader:
        """Its reader, which knows when the place was first seen."""
        seen_ts, steady, ownership = self._wires.clock.now(), time.monotonic, self._ownership
        with contextlib.suppress(StoreError):  # the sink says so; watching goes on
            seen_ts = self._alerts.first_seen(str(place), seen_ts)
        adoption = read_adoption(place) if place.suffix == ".json" else None
        if adoption is not None:
            return AdoptedReader(adoption, first_seen_ts=seen_ts, record=place, steady=steady, ownership=ownership)
        ahead = self._wires.read_ahead
        return RunReader(place, first_seen_ts=seen_ts, steady=steady, ownership=ownership, read_ahead=ahead)


def _places(settings: Settings, supervisor: Supervisor) -> dict[str, Path]:
    """The directories whose disks matter, by what they hold."""
    adopted = {
        view.name: view.directory
        for view in supervisor.all()
        if view.state.active and not view.directory.is_relative_to(settings.runs_dir)
    }
    return {"RUNS_DIR": settings.runs_dir, "STATE_DIR": settings.state_dir, **adopted}


@contextlib.contextmanager
def _one_commit(database: Database) -> Iterator[None]:
    """What is written within costs one sync, and nothing when the database can't be used."""
    with contextlib.suppress(StoreError), contextlib.ExitStack() as stack:
        with contextlib.suppress(StoreError):
            stack.enter_context(database.transaction())
        yield


def _own_identity(driver: LocalDriver) -> ProcessIdentity:
    return driver.identify(os.getpid()) or ProcessIdentity(
        pid=os.getpid(), create_time=None, host=os.uname().nodename, boot_id=boot_id()
    )
