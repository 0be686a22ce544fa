"""``trainmaster drill``: NaN, alert, approval, rollback on a small real training, so that a team can rehearse."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from trainmaster.bot.app import App
from trainmaster.bot.core.conversation.message import Message
from trainmaster.bot.core.decisions.approval import Approval
from trainmaster.bot.errors import CommandError
from trainmaster.bot.rehearsal.demo_story import BEN, CHANNEL, StoryStep
from trainmaster.bot.rehearsal.drill_story import Click, DrillOver, Rehearsal, closing, opening, play
from trainmaster.bot.rehearsal.local_workspace import open_workspace, workspace_settings
from trainmaster.bot.rehearsal.small_training import data_set, new_session, repeated, stop_trainers, training
from trainmaster.bot.settings.model import Settings, load_settings
from trainmaster.bot.workspace.page.client import PageClient
from trainmaster.bot.workspace.page.gate import refuse_real_tokens

_TRAINING = {"check_interval_s": 1.0, "clear_batches": 5, "storm_bad_batches": 3, "watchdog_url": None}
"""A drill can't wait as a night can: a look every second, and fewer bad batches make a storm."""

_REPEATS = 8
"""Of every image in an epoch when a person decides: an epoch of seconds would be over before anybody has read the card,
and a plan about another epoch is void."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillOptions:
    """What the command line asks for."""

    home: Path
    real: bool
    headless: bool
    port: int
    wait_s: float


async def rehearse(options: DrillOptions) -> int:
    """0 when the rollback was rehearsed to its end; 1 when it was not. Nothing is left running.

    Raises:
        SettingsError: a real channel without usable tokens, or a workspace beside real tokens.
        CommandError: a bot runs with these tokens, or another drill in this folder.
    """
    step = StoryStep(time.monotonic())
    async with (
        new_session(options.home, "drill") as session,
        _place(options, session) as (settings, page_url, click),
    ):
        step.heading("Trainmaster drill: a bad night, rehearsed on a small training of its own")
        data = await data_set(options.home, step)
        if click is None:
            data = repeated(data, _REPEATS)
            step.note("First an epoch of the small training must end, for a checkpoint to go back to: some minutes")
        step.note(f"Act here: {page_url}" if page_url else f"Act in Slack: channel {settings.alert_channel}")
        return await _play_through(options, settings, data, click, step)


async def _play_through(
    options: DrillOptions, settings: Settings, data: Path, click: Click | None, step: StoryStep
) -> int:
    name = f"DRILL-{time.strftime('%H%M%S')}"
    app = App(settings)
    trainer = app.driver.local.launch(training(data, settings.runs_dir, name, settings.runs_dir.parent / "trainer.out"))
    rehearsal = Rehearsal(
        app=app,
        name=name,
        run_dir=settings.runs_dir / name,
        trainer=trainer,
        wait_s=options.wait_s,
        click=click,
    )
    problem = "It was interrupted."
    try:
        await app.start()
        _say(app, name, opening(name))
        try:
            await play(rehearsal, step, step.live)
            problem = ""
        except DrillOver as over:
            problem = str(over)
            step.failed(problem)
        return 1 if problem else 0
    finally:
        with contextlib.suppress(Exception):  # what follows must happen even when nothing can be said any more
            app.operations.withdraw(name, "The drill is over.")
            _say(app, name, closing(rehearsal, problem))
        await app.operations.close()
        await stop_trainers(app.driver.local, settings.runs_dir, [trainer])
        with contextlib.suppress(Exception):
            await app.supervisor.tick()  # the channel reads that it was stopped
        await app.close()
        step.note(f"Nothing is left running. The run, its archive and its console log: {settings.runs_dir.parent}")


def _say(app: App, name: str, message: Message) -> None:
    app.outbox.put(f"drill/{name}", message)
    app.announce()


@contextlib.asynccontextmanager
async def _place(options: DrillOptions, session: Path) -> AsyncIterator[tuple[Settings, str, Click | None]]:
    """Where people act: settings, the page's address (empty in Slack), and who clicks when no person does."""
    own = {
        **_TRAINING,
        "approval_ttl_s": options.wait_s,
        "storm_approval_ttl_s": options.wait_s,
        "runs_dir": session / "runs",
        "state_dir": session / "state",
    }
    if options.real:
        settings = load_settings(os.environ, Path(".env"))
        refuse_beside_bot(settings.state_dir)
        yield settings.model_copy(update=own), "", None
        return
    refuse_real_tokens(os.environ)
    async with open_workspace(options.port) as workspace, PageClient(workspace.page_url) as page:

        async def click(approval: Approval) -> None:
            view = await page.look()
            message = next(m for m in view.in_channel(CHANNEL.name) if approval.id in str(m.get("blocks")))
            await page.click(BEN.user_id, str(message["ts"]), "approve", CHANNEL.name)

        people = not options.headless and sys.stdout.isatty()
        settings = workspace_settings(workspace, session)
        yield settings.model_copy(update=own), workspace.page_url, None if people else click


def refuse_beside_bot(state_dir: Path) -> None:
    """No bot of this host uses ``state_dir``.

    Raises:
        CommandError: one does: it and the drill would share a connection, and each click would reach one of them only.
    """
    try:
        descriptor = os.open(state_dir / "lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise CommandError(
            "bot-running",
            f"a bot runs with these tokens and {state_dir}; Slack would give each click to only one of the two.",
            "stop it for the drill (trainings go on, it catches up), or drill in the workspace: leave out --channel",
        ) from error
    finally:
        os.close(descriptor)
