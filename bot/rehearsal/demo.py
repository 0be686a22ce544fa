"""``trainmaster demo``: the whole story without Slack.

A Slack stand-in on loopback, the real Bolt app against it, a real small training, and a page to watch and to act on.
Wires like :mod:`trainmaster.bot.app`, around it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from trainmaster.bot.app import App
from trainmaster.bot.drivers.local.driver import LocalDriver
from trainmaster.bot.errors import CommandError
from trainmaster.bot.rehearsal.demo_story import CAST, CHANNEL, Stage, Step, StoryError, play
from trainmaster.bot.rehearsal.small_training import (
    data_set,
    only_one,
    page_port,
    stop_trainers,
    training,
    until_signal,
)
from trainmaster.bot.settings.model import Settings, load_settings
from trainmaster.bot.slack.scopes import BOT_SCOPES
from trainmaster.bot.workspace.page.client import PageClient
from trainmaster.bot.workspace.page.gate import refuse_real_tokens
from trainmaster.bot.workspace.server import Options, Workspace
from trainmaster.bot.workspace.state.people import SlashCommand

RUN_NAME = "digits"


def main(argv: Sequence[str]) -> int:
    """0 when every step of the story was seen in the channel; 1 when one was not."""
    parser = argparse.ArgumentParser(
        prog="trainmaster demo",
        description="The whole story without Slack: a local workspace in the browser and a real small training.",
    )
    parser.add_argument("--headless", action="store_true", help="play the story without the page, then end")
    parser.add_argument(
        "--port", type=page_port, default=0, metavar="P", help="of the page on 127.0.0.1 (default: any free)"
    )
    parser.add_argument(
        "--dir", type=Path, default=Path("demo-data"), metavar="D", help="data set, run and state (default: demo-data)"
    )
    given = parser.parse_args(argv)
    # Without a terminal nobody could end it with Ctrl-C.
    stays = not given.headless and sys.stdin.isatty() and sys.stdout.isatty()
    story = _demo(given.dir.resolve(), given.port, stays=stays)
    return asyncio.run(until_signal(story, "Ended. The training was stopped, nothing is left running."))


async def _demo(home: Path, port: int, *, stays: bool) -> int:
    refuse_real_tokens(os.environ)
    with only_one(home, "demo"):
        session = home / "session"
        driver = LocalDriver(home / "launches")
        await stop_trainers(driver, session / "runs")  # of a demo that was killed
        shutil.rmtree(session, ignore_errors=True)
        (session / "runs").mkdir(parents=True)
        os.environ["YOLO_CONFIG_DIR"] = str(session)  # the user's own Ultralytics settings are left alone
        step = Step(time.monotonic())
        step.heading("Trainmaster demo: a real training, the real Slack library, a workspace on this machine")
        data = await data_set(home, step)
        async with open_workspace(port) as workspace, PageClient(workspace.page_url) as page:
            if stays:
                step.note(f"Open the channel in a browser: {workspace.page_url}")
            app = App(workspace_settings(workspace, session))
            trainer = app.driver.launch(training(data, session / "runs", RUN_NAME, session / "trainer.out"))
            try:
                await app.start()
                stage = Stage(
                    app=app,
                    page=page,
                    run_dir=session / "runs" / RUN_NAME,
                    trainer=trainer,
                    log=session / "trainer.out",
                )
                return await _play(stage, step, stays=stays)
            finally:
                await app.operations.close()
                await stop_trainers(app.driver, session / "runs", [trainer])
                await app.close()


async def _play(stage: Stage, step: Step, *, stays: bool) -> int:
    try:
        await play(stage, step)
    except StoryError as error:
        step.failed(str(error))
        return 1
    if stays:
        step.note("The story is over and the page stays open: act as anybody there. Ctrl-C ends the demo.")
        await stage.app.serve()
    return 0


@contextlib.asynccontextmanager
async def open_workspace(port: int) -> AsyncIterator[Workspace]:
    """A workspace with the cast of the demo, its page on ``port`` of this machine (0: any free one).

    Raises:
        CommandError: the port is taken, or this user may not listen on it.
    """
    usage = "status | epoch 4 progress | help"
    try:
        workspace = await Workspace.start(
            port=port,
            people=CAST,
            channels=[CHANNEL],
            commands=[SlashCommand(name="/train", description="Ask Trainmaster", usage_hint=usage)],
            clock=time.time,
            options=Options(scopes=frozenset(BOT_SCOPES)),  # what the manifest asks for, so that it is seen to suffice
        )
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise CommandError(
            "port", f"127.0.0.1:{port} can't be listened on: {reason}.", "leave --port out for any free one"
        ) from error
    try:
        yield workspace
    finally:
        await workspace.close()


def workspace_settings(workspace: Workspace, session: Path) -> Settings:
    """Of a bot in that workspace, its runs and its state below ``session``."""
    return load_settings(
        {
            "SLACK_BOT_TOKEN": workspace.bot_token,
            "SLACK_APP_TOKEN": workspace.app_token,
            "SLACK_API_URL": workspace.api_url,
            "ALERT_CHANNEL": CHANNEL.channel_id,
            "ONCALL_USERS": ",".join(person.user_id for person in CAST if person.on_call),
            "RUNS_DIR": str(session / "runs"),
            "STATE_DIR": str(session / "state"),
            "CHECK_INTERVAL_S": "1",
            "CLEAR_BATCHES": "5",
        }
    )
