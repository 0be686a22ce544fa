"""From findings to the channel: what was told and is to be told, and the way to the workspace."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from trainmaster.bot.alerting.limits import AlertLimits
from trainmaster.bot.alerting.notices import last_at_work_ts
from trainmaster.bot.alerting.owners import Owners
from trainmaster.bot.alerting.pipeline import AlertPipeline
from trainmaster.bot.core.run.card_facts import card_facts
from trainmaster.bot.errors import StoreError
from trainmaster.bot.findings_sink import FindingsSink
from trainmaster.bot.settings.limits import audience, named_people
from trainmaster.bot.settings.model import Settings
from trainmaster.bot.slack.connection import SlackConnection
from trainmaster.bot.storage.alerts import AlertStore
from trainmaster.bot.storage.bot_state import BotState
from trainmaster.bot.storage.database import Database
from trainmaster.bot.storage.messages import MessageStore
from trainmaster.bot.storage.pictures import PictureStore
from trainmaster.bot.storage.seen import SeenStore
from trainmaster.bot.storage.silences import SilenceStore
from trainmaster.bot.wiring.people import slack_access
from trainmaster.bot.wiring.wires import Later, Wires

DATABASE = "trainmaster.sqlite3"
"""In STATE_DIR."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """``drawings`` is set once ``pictures`` wants some that nobody has drawn."""

    database: Database
    outbox: MessageStore
    alerts: AlertStore
    connection: SlackConnection
    owners: Owners
    pipeline: AlertPipeline
    pictures: PictureStore
    drawings: asyncio.Event
    sink: FindingsSink


def wire_telling(settings: Settings, wires: Wires, later: Later) -> Telling:
    """The stores of what is told, and what fills them.

    Raises:
        StoreError: the database cannot be opened.
    """
    database = Database(settings.state_dir / DATABASE, patient=True)
    outbox, alerts = MessageStore(database), AlertStore(database)
    connection = SlackConnection(slack_access(settings), seen=SeenStore(database), heard_ts=_heard_ts(database))
    owners = Owners(
        rules=settings.run_owners, trusted=named_people(settings), people=connection.people, memory=BotState(database)
    )
    pipeline = AlertPipeline(
        records=alerts,
        silences=SilenceStore(database),
        outbox=outbox,
        transactions=database,
        clock=wires.clock,
        limits=settings.part(AlertLimits),
        audience=audience(settings, owners),
        facts=lambda view: card_facts(view, later.planned(view.run, view), later.host.fact, owners.name(view.run)),
    )
    drawings = asyncio.Event()
    pictures = PictureStore(database, drawings.set)
    return Telling(
        database=database,
        outbox=outbox,
        alerts=alerts,
        connection=connection,
        owners=owners,
        pipeline=pipeline,
        pictures=pictures,
        drawings=drawings,
        sink=FindingsSink(
            database=database, pipeline=pipeline, notify=wires.notify, clock=wires.clock, pictures=pictures
        ),
    )


def _heard_ts(database: Database) -> float | None:
    try:
        return last_at_work_ts(BotState(database))
    except StoreError:  # the sink says so
        return None
