"""``python -m bot demo``: the whole story without Slack.

A Slack stand-in on loopback, the real Bolt app against it, a real small training, and a page to watch and to act on.
Wires like :mod:`bot.app`, around it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

from bot.app import App
from bot.core.facts import ProcessIdentity, RunRecord
from bot.demo_story import CAST, CHANNEL, Stage, Step, StoryError, play
from bot.drivers.environment import trainer_environment
from bot.drivers.local import LocalDriver
from bot.errors import CommandError, DriverError
from bot.ports import LaunchSpec
from bot.reading.run_files import find_runs
from bot.settings import Settings, load_settings
from bot.slack.scopes import BOT_SCOPES
from bot.workspace.client import PageClient
from bot.workspace.gate import refuse_real_tokens
from bot.workspace.people import SlashCommand
from bot.workspace.server import Options, Workspace
from trainer.contract import RunLayout, read_json

RUN_NAME = "digits"
EPOCHS = 100
"""More than anybody waits for: the story stops the training, so that it never ends before its own rollback."""
_STOP_GRACE_S = 30.0


def main(argv: Sequence[str]) -> int:
    """0 when every step of the story was seen in the channel; 1 when one was not."""
    parser = argparse.ArgumentParser(
        prog="python -m bot demo",
        description="The whole story without Slack: a local workspace in the browser and a real small training.",
    )
    parser.add_argument("--headless", action="store_true", help="play the story without the page, then end")
    parser.add_argument("--port", type=int, default=0, metavar="P", help="of the page on 127.0.0.1 (default: any free)")
    parser.add_argument(
        "--dir", type=Path, default=Path("demo-data"), metavar="D", help="data set, run and state (default: demo-data)"
    )
    given = parser.parse_args(argv)
    # Without a terminal nobody could end it with Ctrl-C.
    stays = not given.headless and sys.stdin.isatty() and sys.stdout.isatty()
    return asyncio.run(_until_signal(given.dir.resolve(), given.port, stays=stays))


async def _until_signal(home: Path, port: int, *, stays: bool) -> int:
    task = asyncio.create_task(_demo(home, port, stays=stays))
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        print("\nEnded. The training was stopped, nothing is left running.", flush=True)
        return 130


async def _demo(home: Path, port: int, *, stays: bool) -> int:
    refuse_real_tokens(os.environ)
    with _only_one(home):
        session = home / "session"
        driver = LocalDriver(home / "launches")
        await _stop_trainers(driver, session / "runs")  # of a demo that was killed
        shutil.rmtree(session, ignore_errors=True)
        (session / "runs").mkdir(parents=True)
        os.environ["YOLO_CONFIG_DIR"] = str(session)  # the user's own Ultralytics settings are left alone
        step = Step(time.monotonic())
        step.heading("Trainmaster demo: a real training, the real Slack library, a workspace on this machine")
        data = await _data_set(home, step)
        async with _workspace(port) as workspace, PageClient(workspace.page_url) as page:
            if stays:
                step.note(f"Open the channel in a browser: {workspace.page_url}")
            app = App(_settings(workspace, session))
            trainer = app.driver.launch(_training(data, session))
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
                await _stop_trainers(app.driver, session / "runs", [trainer])
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


async def _stop_trainers(driver: LocalDriver, runs: Path, launched: Sequence[ProcessIdentity] = ()) -> None:
    """No trainer of a demo in ``runs`` is left, in whichever attempt, nor one that never wrote its record."""
    for process in (*launched, *_recorded(runs)):
        with contextlib.suppress(DriverError):
            if driver.signal(process, signal.SIGTERM):
                await _gone(driver, process, _STOP_GRACE_S)
                driver.signal(process, signal.SIGKILL, group=True)


def _recorded(runs: Path) -> list[ProcessIdentity]:
    """The processes that the runs' records name, alive or not."""
    if not runs.is_dir():
        return []
    records = [RunRecord.parse(read_json(RunLayout(directory).run_json) or {}) for directory in find_runs(runs)]
    return [record.process for record in records if record is not None and record.process is not None]


async def _gone(driver: LocalDriver, process: ProcessIdentity, timeout_s: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            while not driver.inspect(process).over:  # noqa: ASYNC110 - no event tells the end of a process
                await asyncio.sleep(0.2)


@contextlib.contextmanager
def _only_one(home: Path) -> Iterator[None]:
    home.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise CommandError(
                "demo-already-running",
                f"another demo uses {home}.",
                "end it with Ctrl-C in its terminal, or give this one a folder of its own: --dir other-demo",
            ) from error
        yield
    finally:
        os.close(descriptor)


async def _data_set(home: Path, step: Step) -> Path:
    """The digits as a YOLO data set; made once, kept for the next demo."""
    folder = home / "digits"
    if not (folder / "data.yaml").exists():
        step.note("Making the data set: 1,797 handwritten digits, pasted on canvases with their boxes")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "trainer.digits", str(folder), "images=600", env=trainer_environment({})
        )
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            process.terminate()
            await process.wait()
            raise
        if code != 0:
            raise CommandError(
                "demo-data-set", f"python -m trainer.digits ended with code {code}.", "see its output above"
            )
    step.done(f"Data set ready: {folder}")
    return folder / "data.yaml"


@contextlib.asynccontextmanager
async def _workspace(port: int) -> AsyncIterator[Workspace]:
    workspace = await Workspace.start(
        port=port,
        people=CAST,
        channels=[CHANNEL],
        commands=[
            SlashCommand(name="/train", description="Ask Trainmaster", usage_hint="status | epoch 4 progress | help")
        ],
        clock=time.time,
        options=Options(scopes=frozenset(BOT_SCOPES)),  # what the manifest asks for, so that it is seen to suffice
    )
    try:
        yield workspace
    finally:
        await workspace.close()


def _settings(workspace: Workspace, session: Path) -> Settings:
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


def _training(data: Path, session: Path) -> LaunchSpec:
    return LaunchSpec(
        key="demo",
        argv=(
            *(sys.executable, "-m", "trainer", "train", "model=yolo11n.yaml", f"data={data}", f"epochs={EPOCHS}"),
            *("imgsz=96", "batch=8", "nbs=8", "device=cpu", "amp=False", "plots=False", "seed=0"),
            # Small images from scratch: a rate at which an epoch of seconds shows progress, a clip above the norms of
            # this loss (40 to 200, since Ultralytics sums it over the batch).
            *("lr0=0.01", "warmup_epochs=1", "max_norm=500"),
            *(f"project={session / 'runs'}", f"name={RUN_NAME}", "level=standard"),
        ),
        cwd=Path.cwd(),
        log=session / "trainer.out",
        env=trainer_environment({}),
    )
