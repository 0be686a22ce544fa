"""``trainmaster demo``: the whole story without Slack.

A Slack stand-in on loopback, the real Bolt app against it, a real small training, and a page to watch and to act on.
Wires like :mod:`trainmaster.bot.app`, around it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from trainmaster.bot.app import App
from trainmaster.bot.rehearsal.demo_story import Stage, StoryError, StoryStep, play
from trainmaster.bot.rehearsal.local_workspace import open_workspace, workspace_settings
from trainmaster.bot.rehearsal.small_training import data_set, new_session, stop_trainers, training
from trainmaster.bot.workspace.page.client import PageClient
from trainmaster.bot.workspace.page.gate import refuse_real_tokens

RUN_NAME = "digits"


async def show(home: Path, port: int, *, stays: bool) -> int:
    """0 when every step of the story was seen in the channel; 1 when one was not. ``stays``: the page stays open after
    the story, until this is cancelled.

    Raises:
        CommandError: another demo uses ``home``, ``port`` is taken, or the data set can't be made.
    """
    refuse_real_tokens(os.environ)
    async with new_session(home, "demo") as session:
        step = StoryStep(time.monotonic())
        step.heading("Trainmaster demo: a real training, the real Slack library, a workspace on this machine")
        data = await data_set(home, step)
        async with open_workspace(port) as workspace, PageClient(workspace.page_url) as page:
            if stays:
                step.note(f"Open the channel in a browser: {workspace.page_url}")
            app = App(workspace_settings(workspace, session))
            trainer = app.driver.local.launch(training(data, session / "runs", RUN_NAME, session / "trainer.out"))
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
                await stop_trainers(app.driver.local, session / "runs", [trainer])
                await app.close()


async def _play(stage: Stage, step: StoryStep, *, stays: bool) -> int:
    try:
        await play(stage, step)
    except StoryError as error:
        step.failed(str(error))
        return 1
    if stays:
        step.note("The story is over and the page stays open: act as anybody there. Ctrl-C ends the demo.")
        await stage.app.serve()
    return 0
