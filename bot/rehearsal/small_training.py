"""A real small training on this machine, for the demo and the drill: made, launched, and never left running."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol

from trainmaster.bot.core.run.facts import ProcessIdentity, RunRecord
from trainmaster.bot.core.run.launch_spec import LaunchSpec
from trainmaster.bot.drivers.local.driver import LocalDriver
from trainmaster.bot.drivers.local.environment import trainer_environment
from trainmaster.bot.errors import CommandError, DriverError
from trainmaster.bot.reading.run_files import find_runs
from trainmaster.trainer.contract import MODULE_ARGV, RunLayout, read_json

EPOCHS: Final = 100
"""More than anybody waits for: it is stopped, so that it never ends before its own rollback."""
_STOP_GRACE_S: Final = 30.0
ENDING: Final = f"Ending, at most {_STOP_GRACE_S:.0f} s more: nothing is to be left running."


class Narrator(Protocol):
    """Tells the terminal how far things are."""

    def note(self, text: str) -> None:
        """Something that is no step."""
        ...

    def done(self, text: str) -> None:
        """A step that was seen."""
        ...


async def stop_trainers(driver: LocalDriver, runs: Path, launched: Sequence[ProcessIdentity] = ()) -> None:
    """No trainer of the runs below ``runs`` is left, in whichever attempt, nor one that never wrote its record."""
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
    return [record.process for record in records if record and isinstance(record.process, ProcessIdentity)]


async def _gone(driver: LocalDriver, process: ProcessIdentity, timeout_s: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            while not driver.inspect(process).over:  # noqa: ASYNC110 - no event tells the end of a process
                await asyncio.sleep(0.2)


@contextlib.contextmanager
def _only_one(home: Path, what: str) -> Iterator[None]:
    """No other ``what`` uses ``home`` while this lasts.

    Raises:
        CommandError: one does.
    """
    home.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise CommandError(
                f"{what}-already-running",
                f"another {what} uses {home}.",
                f"end it with Ctrl-C in its terminal, or give this one a folder of its own: --dir other-{what}",
            ) from error
        yield
    finally:
        os.close(descriptor)


@contextlib.asynccontextmanager
async def new_session(home: Path, what: str) -> AsyncIterator[Path]:
    """An empty folder below ``home`` for runs and state, which no other ``what`` uses; no trainer of an earlier one is
    left.

    Raises:
        CommandError: another ``what`` uses ``home``.
    """
    with _only_one(home, what):
        session = home / "session"
        await stop_trainers(LocalDriver(home / "launches"), session / "runs")  # of one that was killed
        shutil.rmtree(session, ignore_errors=True)
        (session / "runs").mkdir(parents=True)
        os.environ["YOLO_CONFIG_DIR"] = str(session)  # the user's own Ultralytics settings are left alone
        yield session


async def data_set(home: Path, step: Narrator) -> Path:
    """The digits as a YOLO data set; made once, kept for the next demo."""
    folder = home / "digits"
    if not (folder / "data.yaml").exists():
        step.note("Making the data set: 1,797 handwritten digits, pasted on canvases with their boxes")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "trainmaster.trainer.data.digits", str(folder), "images=600"),
            env=trainer_environment({}),
            stdout=asyncio.subprocess.DEVNULL,
        )
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            process.terminate()
            await process.wait()
            raise
        if code != 0:
            raise CommandError(
                "demo-data-set",
                f"python -m trainmaster.trainer.data.digits ended with code {code}.",
                "see its output above",
            )
    step.done(f"Data set ready: {folder}")
    return folder / "data.yaml"


def repeated(data: Path, times: int) -> Path:
    """The same data set with its training images named ``times`` over, so that an epoch takes as many times as long:
    a rollback plan is about the epoch in training, and a person needs a minute."""
    images = sorted((data.parent / "images" / "train").iterdir())
    listed = data.parent / f"train-{times}.txt"
    listed.write_text("".join(f"{image}\n" for _ in range(times) for image in images), encoding="utf-8")
    lines = data.read_text(encoding="utf-8").splitlines()
    longer = data.with_name(f"data-{times}.yaml")
    text = "\n".join(f"train: {listed.name}" if line.startswith("train:") else line for line in lines)
    longer.write_text(text + "\n", encoding="utf-8")
    return longer


def training(data: Path, runs: Path, name: str, log: Path) -> LaunchSpec:
    """The run ``name`` below ``runs``, trained on ``data`` at level standard; an epoch takes seconds."""
    return LaunchSpec(
        key=name,
        argv=(
            *(
                sys.executable,
                *MODULE_ARGV,
                "train",
                "model=yolo11n.yaml",
                f"data={data}",
                f"epochs={EPOCHS}",
            ),
            *("imgsz=96", "batch=8", "nbs=8", "device=cpu", "amp=False", "plots=False", "seed=0"),
            # Small images from scratch: a rate at which an epoch of seconds shows progress, a clip above the norms of
            # this loss (40 to 200, since Ultralytics sums it over the batch).
            *("lr0=0.01", "warmup_epochs=1", "max_norm=500"),
            *(f"project={runs}", f"name={name}", "level=standard"),
        ),
        cwd=Path.cwd(),
        log=log,
        env=trainer_environment({}),
    )
