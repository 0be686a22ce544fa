"""The bot's Slack side and its operations in this process, on a run on paper, for thousands of inputs."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from slack_bolt.request.async_request import AsyncBoltRequest

from tests.attack.strict_slack import StrictSlack
from tests.attack.strict_web import CHANNEL, Json
from tests.support.worlds import FakeAlerts, FakeSelection
from tests.unit.bot.operations.paper import ALICE, BOB, PaperWorld
from trainmaster.bot.core.decisions.approval import ApprovalState
from trainmaster.bot.core.decisions.operation import IntentKind
from trainmaster.bot.core.run.epoch_report import ReportLimits
from trainmaster.bot.slack.chat import OnCallSource
from trainmaster.bot.slack.connection import SlackAccess, SlackConnection
from trainmaster.bot.storage.audit import AuditLog
from trainmaster.bot.storage.messages import MessageStore
from trainmaster.commands import Context
from trainmaster.commands.request_handler import RequestHandler

ANSWER_S = 20.0


class Errors(logging.Handler):
    """Whatever the bot logs as an error: a traceback that nobody saw. What Bolt's own middleware says of a payload that
    Slack never sends is not ours, nor is that a person who does not exist could not be answered."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name != "trainmaster.bot.slack.connection.bolt" and "every way failed" not in record.getMessage():
            self.seen.append(self.format(record))


class Office:
    """The bot's Slack side and its operations, on a run on paper; one question is open."""

    def __init__(self, folder: Path) -> None:
        self.world = PaperWorld(folder)
        self.world.audit = AuditLog(folder / "audit.jsonl")  # type: ignore[assignment]
        self.world.operations = self.world.new_operations()
        self.world.start_run()
        self.errors = Errors()
        self.alerts = FakeAlerts()

    async def open(self) -> None:
        self.slack = await StrictSlack.start()
        self.slack.people |= {ALICE, BOB}
        access = SlackAccess(
            bot_token=self.slack.bot_token,
            app_token=self.slack.app_token,
            api_url=self.slack.api_url,
            channel=CHANNEL,
            on_call=OnCallSource(users=(ALICE, BOB)),
        )
        self.connection = SlackConnection(access)
        context = Context(
            runs=self.world.runs,
            operations=self.world.operations,
            alerts=self.alerts,
            outbox=MessageStore(self.world.database),
            on_call=self.world.looks.on_call,
            clock=self.world.clock,
            selection=FakeSelection(),
            report_limits=ReportLimits(),
        )
        await self.connection.connect(RequestHandler(context, silence_s=7200.0, notify=lambda: None))
        self.approval = await self.world.ask()
        logging.getLogger("trainmaster").addHandler(self.errors)

    async def close(self) -> None:
        logging.getLogger("trainmaster").removeHandler(self.errors)
        await self.world.operations.close()
        await self.connection.close()
        await self.slack.close()
        self.world.database.close()

    def answers(self) -> int:
        return len(self.slack.whispers) + len(self.slack.posts) + len(self.slack.views)

    async def take(self, payload: Json, *, must_answer: bool) -> None:
        """``payload`` has gone through Bolt and is answered, if it has somebody to answer to."""
        before = self.answers()
        app, desk = self.connection._app, self.connection._inbox
        assert app is not None
        assert desk is not None
        try:
            response = await app.async_dispatch(AsyncBoltRequest(mode="socket_mode", body=payload))
        except (TypeError, AttributeError):  # Bolt itself, on what Slack never sends; the socket client logs it
            assert not must_answer
            return
        if must_answer:
            assert response.status == 200, response.body
            await self.slack.until(lambda: self.answers() > before, what=f"an answer to {payload}", timeout_s=ANSWER_S)
        await asyncio.sleep(0)
        await desk.settle(ANSWER_S)

    def check(self) -> None:
        """Nothing was done, nobody saw a traceback."""
        assert self.errors.seen == []
        for text in [whisper.text for whisper in self.slack.whispers] + [p.shown for p in self.slack.posts.values()]:
            assert "Traceback" not in text
            assert "failed inside Trainmaster" not in text
        unknown = "channel_not_found"  # a person who does not exist cannot be written to
        assert [breach for breach in self.slack.breaches if unknown not in breach] == []
        assert not [*self.world.log.history("digits-0001"), *self.world.launches(), *self.world.signals()]
        assert not [*self.world.intents.all(IntentKind.STOP_AFTER_EPOCH), *self.world.intents.all(IntentKind.CONTINUE)]
        assert not self.alerts.acked
        assert not self.alerts.silenced
        question = self.world.questions.get(self.approval)
        assert question is not None
        assert question.state in {ApprovalState.PENDING, ApprovalState.VOID}
        assert question.votes == ()
        self.slack.whispers.clear()
        self.slack.posts.clear()
        self.slack.views.clear()
        self.slack.calls.clear()
