"""What the bot does on a schedule beside looking at runs: messages, pins, pages, and itself."""

from __future__ import annotations

from dataclasses import dataclass

from trainmaster.bot.alerting.limits import AlertLimits
from trainmaster.bot.alerting.notices import Notices
from trainmaster.bot.alerting.pictures import Pictures
from trainmaster.bot.alerting.pins import PinCards, PinnedCards
from trainmaster.bot.alerting.undelivered import Undelivered
from trainmaster.bot.checks.limits import OwnJobLimits
from trainmaster.bot.core.keeping import StorageLimits
from trainmaster.bot.paging.pager import Pager, Ways
from trainmaster.bot.settings.model import Settings
from trainmaster.bot.storage.bot_state import BotState
from trainmaster.bot.storage.pages import PageStore
from trainmaster.bot.storage.pins import PinStore
from trainmaster.bot.storage.purge import ARCHIVE, Purge
from trainmaster.bot.watching.cluster import ClusterWatch
from trainmaster.bot.watching.limits import ClusterLimits
from trainmaster.bot.watching.own_jobs import OwnJobs
from trainmaster.bot.watching.supervisor import Supervisor
from trainmaster.bot.wiring.acting import Desk
from trainmaster.bot.wiring.people import make_pager
from trainmaster.bot.wiring.telling import Telling
from trainmaster.bot.wiring.watching import Places
from trainmaster.bot.wiring.wires import Wires


@dataclass(frozen=True, slots=True, kw_only=True)
class Chores:
    """Each is told its turns by the schedule; ``pictures`` goes on by itself."""

    own_jobs: OwnJobs
    cluster: ClusterWatch
    pictures: Pictures
    pins: PinnedCards
    notices: Notices
    undelivered: Undelivered
    purge: Purge
    pager: Pager | None
    """None where nobody is called beyond Slack."""


def wire_chores(
    settings: Settings, wires: Wires, *, telling: Telling, places: Places, desk: Desk, supervisor: Supervisor
) -> Chores:
    """What is to be done now and then.

    Raises:
        SettingsError: PAGE_URLS can't be used.
    """
    clock, connection, database, outbox = wires.clock, telling.connection, telling.database, telling.outbox
    own_jobs = OwnJobs(sink=telling.sink, limits=settings.part(OwnJobLimits), clock=clock, lease=places.lease)
    return Chores(
        own_jobs=own_jobs,
        cluster=ClusterWatch(
            controller=places.driver.cluster, sink=telling.sink, limits=settings.part(ClusterLimits), clock=clock
        ),
        pictures=Pictures(
            book=telling.pictures,
            runs=supervisor,
            drawer=desk.trainer,
            uploads=connection.files,
            refused=connection.chat.refused,
            clock=clock,
            notify=wires.notify,
            able=lambda: connection.may_upload() and not places.lease.told_by_other(),
            wake=telling.drawings,
        ),
        pins=PinnedCards(
            book=PinStore(database),
            board=connection.pins,
            runs=supervisor,
            clock=clock,
            may_pin=connection.may_pin,
            switch=PinCards(settings.pin_cards),
        ),
        notices=Notices(
            memory=BotState(database),
            outbox=outbox,
            transactions=database,
            runs=supervisor.all,
            told_counts=telling.alerts.told_counts,
            clock=clock,
            digest_at=settings.digest_at,
            away_told_s=settings.part(AlertLimits).away_told_s,
        ),
        undelivered=Undelivered(
            faults=wires.faults,
            waiting=outbox,
            outbox=outbox,
            on_call=desk.looks.on_call.or_seen,
            clock=clock,
            held_back_s=wires.held_back_s,
        ),
        purge=Purge(
            database=database,
            archive=settings.state_dir / ARCHIVE,
            limits=settings.part(StorageLimits),
            clock=clock,
            watched=supervisor.places,
        ),
        pager=make_pager(
            settings,
            alerts=telling.pipeline,
            pages=PageStore(database),
            ways=Ways(sent_ts=outbox.sent_ts, muted=connection.people.is_muted, note=own_jobs.note),
            clock=clock,
        ),
    )
