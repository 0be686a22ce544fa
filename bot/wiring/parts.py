"""All parts of the bot, wired in their order. Nothing runs yet: :mod:`trainmaster.bot.app` starts, schedules and closes
them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from trainmaster.bot.alerting.limits import AlertLimits
from trainmaster.bot.alerting.spare import SharedRuns
from trainmaster.bot.core.run.epoch_report import ReportLimits
from trainmaster.bot.operations.change.changes import open_changes
from trainmaster.bot.operations.service import Operations
from trainmaster.bot.settings.model import Settings
from trainmaster.bot.storage.selections import SelectionStore
from trainmaster.bot.watching.supervisor import Supervisor
from trainmaster.bot.wiring.acting import Desk, wire_desk, wire_operations
from trainmaster.bot.wiring.chores import Chores, wire_chores
from trainmaster.bot.wiring.telling import Telling, wire_telling
from trainmaster.bot.wiring.watching import Places, wire_places, wire_supervisor
from trainmaster.bot.wiring.wires import Later, Wires
from trainmaster.commands import Context
from trainmaster.commands.request_handler import RequestHandler


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything that a bot is made of, wired and at rest."""

    telling: Telling
    places: Places
    desk: Desk
    supervisor: Supervisor
    operations: Operations
    chores: Chores
    shared: SharedRuns
    handler: RequestHandler
    """Answers what people say and press."""


def wire(settings: Settings, wires: Wires) -> Parts:
    """The parts of a bot with these settings, made inside the event loop.

    Raises:
        StoreError: the database cannot be opened.
        SettingsError: PAGE_URLS can't be used.
    """
    later = Later()
    telling = wire_telling(settings, wires, later)
    places = wire_places(settings, wires, telling, later)
    desk = wire_desk(settings, wires, telling, places, later)
    supervisor = wire_supervisor(settings, wires, telling, places, desk.looks)
    operations = wire_operations(settings, wires, desk, places, supervisor)
    later.host, later.supervisor, later.operations = places.host, supervisor, operations
    chores = wire_chores(settings, wires, telling=telling, places=places, desk=desk, supervisor=supervisor)
    telling.connection.illustrate_with(chores.pictures.make)
    shared, lease = SharedRuns(supervisor, settings.runs_dir), places.lease
    context = Context(
        runs=supervisor,
        operations=operations,
        alerts=telling.pipeline,
        outbox=telling.outbox,
        on_call=desk.looks.on_call,
        clock=wires.clock,
        selection=SelectionStore(telling.database),
        report_limits=settings.part(ReportLimits),
        host=lambda: places.host.fact,
        roles=telling.connection.people,
        planned=later.planned,
        questions=desk.books.approvals.pending,
        proposals=partial(open_changes, desk.books.intents),
        concerned=desk.looks.concerned,
        audit=desk.audit,
        together=telling.database.transaction,
        members_care=settings.alerts_handled_by == "members",
        link=telling.connection.link,
        told_by=lambda key: lease.other() if lease.told_by_other() and (not key or shared.tells(key)) else "",
    )
    return Parts(
        telling=telling,
        places=places,
        desk=desk,
        supervisor=supervisor,
        operations=operations,
        chores=chores,
        shared=shared,
        handler=RequestHandler(context, silence_s=settings.part(AlertLimits).silence_s, notify=wires.notify),
    )
