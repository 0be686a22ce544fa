"""The story that the demo plays, each step waiting until the channel shows it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from trainmaster.bot.app import App
from trainmaster.bot.core.run.facts import ProcessIdentity
from trainmaster.bot.core.run.forecast import duration
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.drivers.local.environment import trainer_environment
from trainmaster.bot.reading.run_files import last_lines
from trainmaster.bot.workspace.page.client import PageClient, PageView
from trainmaster.bot.workspace.state.people import Channel, Person
from trainmaster.terminal import obeys
from trainmaster.trainer.contract import MODULE_ARGV

ANNA: Final = Person(user_id="U0ANNA", name="anna", real_name="Anna Keller", on_call=True)
BEN: Final = Person(user_id="U0BEN", name="ben", real_name="Ben Osei", on_call=True)
CLEO: Final = Person(user_id="U0CLEO", name="cleo", real_name="Cleo Marsh")
CAST: Final = [ANNA, BEN, CLEO]
CHANNEL: Final = Channel(channel_id="C0TRAIN", name="training", topic="Everything about the digits training")

START_TIMEOUT_S: Final = 120.0
"""Importing torch and building the model, on a slow laptop with a cold disk."""
EPOCH_TIMEOUT_S: Final = 180.0
BATCH_TIMEOUT_S: Final = 60.0
ANSWER_TIMEOUT_S: Final = 20.0
_BAR_CELLS: Final = 24

Wire = dict[str, Any]


class StoryError(Exception):
    """A step that was not seen in the channel."""


class StoryStep:
    """Tells the terminal how far the story is; a live line shows the training while a step waits."""

    def __init__(self, started_s: float) -> None:
        self._started_s = started_s
        self._live = obeys(sys.stdout)

    def heading(self, text: str) -> None:
        """The title of the whole."""
        self._print(f"\n{text}\n")

    def note(self, text: str) -> None:
        """Something that is no step."""
        self._print(f"          {text}")

    def done(self, text: str) -> None:
        """A step that was seen."""
        self._print(f"  {self._elapsed()}  ✓ {text}")

    def failed(self, text: str) -> None:
        """The step that was not."""
        self._print(f"  {self._elapsed()}  ✗ {text}")

    def live(self, text: str) -> None:
        """Replaces the last live line; shown in a terminal only."""
        if self._live:
            width = shutil.get_terminal_size().columns - 1  # a line that wraps would not be replaced but repeated
            with contextlib.suppress(OSError):
                print("\r\x1b[K" + f"  {self._elapsed()}  … {text}"[:width], end="", flush=True)

    def _elapsed(self) -> str:
        return f"{time.monotonic() - self._started_s:5.0f} s"

    def _print(self, text: str) -> None:
        with contextlib.suppress(OSError):  # a terminal that was closed must not keep the story from clearing up
            print(f"\r\x1b[K{text}" if self._live else text, flush=True)


@dataclass(kw_only=True)
class Stage:
    """Everything that the story acts on. ``saw`` is what earlier steps looked for and found, by the name of each."""

    app: App
    page: PageClient
    run_dir: Path
    trainer: ProcessIdentity
    log: Path
    drilled_epoch: int = 0
    saw: dict[str, Wire] = field(default_factory=dict)

    @property
    def view(self) -> RunView | None:
        """The run as the supervisor knows it."""
        return self.app.supervisor.find(self.run_dir.name)


Play = Callable[[Stage], Awaitable[str]]


async def play(stage: Stage, step: StoryStep) -> None:
    """Every step was seen, in order.

    Raises:
        StoryError: one was not; says which, and what was shown instead.
    """
    for what, act in _STORY:
        ticker = asyncio.create_task(_tick(stage, step, what))
        try:
            step.done(await act(stage))
        except (TimeoutError, StoryError) as error:
            log = "\n            ".join(last_lines(stage.log)[-6:])
            raise StoryError(f"{what}: {error}\n          Last lines of the training:\n            {log}") from error
        finally:
            ticker.cancel()


async def _tick(stage: Stage, step: StoryStep, what: str) -> None:
    while True:
        step.live(f"{what}  {bar(stage.view)}")
        await asyncio.sleep(0.5)


def bar(view: RunView | None) -> str:
    """How far the epoch in training is; empty when there is none."""
    beat = view.beat if view else None
    if beat is None or not beat.epoch or not beat.batches or beat.batch is None:
        return ""
    full = round(_BAR_CELLS * beat.batch / beat.batches)
    return f"[{'█' * full}{'·' * (_BAR_CELLS - full)}] epoch {beat.epoch}, batch {beat.batch} of {beat.batches}"


def _text(message: Wire) -> str:
    """All that a message says."""
    return str(message.get("text", "")) + " " + json.dumps(message.get("blocks", []), ensure_ascii=False)


def _says(message: Wire, *words: str) -> bool:
    shown = _text(message)
    return all(word in shown for word in words)


async def _see(stage: Stage, *words: str, timeout_s: float, after: str = "") -> Wire:
    """A message of the channel that says all of ``words``, posted after that of the step ``after``."""
    after_ts = stage.saw[after]["ts"] if after else ""

    def found(view: PageView) -> Wire | None:
        posted = [message for message in view.in_channel(CHANNEL.name) if str(message["ts"]) > after_ts]
        return next((message for message in posted if _says(message, *words)), None)

    try:
        return await stage.page.wait_for(found, timeout_s)
    except TimeoutError as error:
        raise StoryError(f"no message with {', '.join(words)!r} within {timeout_s:g} s; {error}") from error


async def _ask(stage: Stage, person: Person, text: str, *words: str) -> Wire:
    """The answer, in the channel or for the person alone, to a slash command."""
    before = {(message["channel"], message["ts"]) for message in (await stage.page.look()).messages}
    answer = await stage.page.slash(person.user_id, "/train", text, CHANNEL.name)
    if not answer.ok:
        raise StoryError(f"/train {text} was answered with {answer.error}")

    def found(view: PageView) -> Wire | None:
        seen = [*view.in_channel(CHANNEL.name), *view.only_for(person.user_id)]
        new = [message for message in seen if (message["channel"], message["ts"]) not in before]
        return next((message for message in new if _says(message, *words)), None)

    try:
        return await stage.page.wait_for(found, ANSWER_TIMEOUT_S)
    except TimeoutError as error:
        raise StoryError(f"/train {text} was not answered with {', '.join(words)!r}; {error}") from error


async def _started(stage: Stage) -> str:
    seeing = asyncio.create_task(_see(stage, "training started, level standard", timeout_s=START_TIMEOUT_S))
    while not (await asyncio.wait([seeing], timeout=1.0))[0]:
        process = stage.app.driver.inspect(stage.trainer)
        if process.over:
            seeing.cancel()
            raise StoryError(f"the trainer ended before it began, with exit code {process.exit_code}")
    stage.saw["start"] = await seeing
    return "The channel says that the training has started, at level standard"


async def _status(stage: Stage) -> str:
    await _see(stage, "epoch 1 of", "finished", "criteria met", timeout_s=EPOCH_TIMEOUT_S)
    await _ask(stage, ANNA, "status", "Next milestone", "Last clean checkpoint", "Layers at level standard")
    return "Anna asks /train status and is told state, milestone, layers and the last clean checkpoint"


async def _typo(stage: Stage) -> str:
    await _ask(stage, CLEO, "statsu", "Did you mean /train status?")
    return "Cleo mistypes a command and is told the nearest"


async def _drill(stage: Stage) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *MODULE_ARGV, "drill", str(stage.run_dir), "fault=nan-image"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=trainer_environment({}),
    )
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise StoryError(f"the drill could not be asked for: {output.decode(errors='replace').strip()[-400:]}")
    alert = await _see(stage, "is not finite in epoch", "(drill)", "Images: ", timeout_s=60)
    stage.saw["alert"] = alert
    view = stage.view
    bad = [one for one in view.story() if one.num_bad] if view else []
    if not bad or bad[-1].num_in_weights:
        raise StoryError("the batch went into the weights")
    stage.drilled_epoch = bad[-1].epoch
    return (
        f"A drill puts a NaN into one batch: skipped, and the channel names epoch {stage.drilled_epoch} and the images"
    )


async def _resolved(stage: Stage) -> str:
    ts = stage.saw["alert"]["ts"]

    def found(view: PageView) -> Wire | None:
        alert = next((message for message in view.in_channel(CHANNEL.name) if message["ts"] == ts), None)
        return alert if alert and _says(alert, "is healthy again") else None

    await stage.page.wait_for(found, BATCH_TIMEOUT_S)
    return "Healthy batches follow: the same message now says that it is resolved"


async def _report(stage: Stage) -> str:
    number = stage.drilled_epoch
    await _see(stage, f"epoch {number} of", "finished", "No NaN", "Validation done", timeout_s=EPOCH_TIMEOUT_S)
    await _ask(stage, BEN, f"epoch {number} progress", f"epoch {number} of", "skipped", "criteria met")
    return f"Epoch {number} is reported with its five criteria, and again when Ben asks for it"


async def _proposed(stage: Stage) -> str:
    await _ask(stage, ANNA, "execute rollback", "oll back")
    stage.saw["card"] = await _see(stage, "digits: roll back to epoch", '"approve"', timeout_s=ANSWER_TIMEOUT_S)
    return "Anna asks for a rollback: the question stands in the channel, with a button for each choice"


async def _refused(stage: Stage) -> str:
    ts = stage.saw["card"]["ts"]
    for person, words in ((ANNA, "somebody else must approve"), (CLEO, "Only people on call")):
        await stage.page.click(person.user_id, ts, "approve", CHANNEL.name)

        def told(view: PageView, person: Person = person, words: str = words) -> Wire | None:
            return next((message for message in view.only_for(person.user_id) if _says(message, words)), None)

        await stage.page.wait_for(told, ANSWER_TIMEOUT_S)
    return "Anna can't approve her own request, Cleo is not on call: both are told so, nothing happens"


async def _rolled_back(stage: Stage) -> str:
    began_s = time.monotonic()
    await stage.page.click(BEN.user_id, stage.saw["card"]["ts"], "approve", CHANNEL.name)
    stage.saw["done"] = await _see(stage, "digits rolled back to epoch", "healthy batches", timeout_s=EPOCH_TIMEOUT_S)
    took = duration(time.monotonic() - began_s)
    return f"Ben approves: stopped, verified, archived, restored, restarted, healthy again, in {took}"


async def _goes_on(stage: Stage) -> str:
    view = stage.view
    if view is None or view.attempt != 2:
        raise StoryError(f"this should be attempt 2, it is {view.attempt if view else 'unknown'}")
    running = view.current.epoch if view.current else 1
    await _see(stage, f"epoch {running} of", "finished", timeout_s=EPOCH_TIMEOUT_S, after="done")
    await _ask(stage, ANNA, "status", "attempt 2", "Layers at level strict")
    return f"Training goes on: epoch {running} is finished by the second attempt, at level strict"


async def _stopped(stage: Stage) -> str:
    await _ask(stage, BEN, "stop now", "top")
    await _see(stage, "digits is stopped", timeout_s=BATCH_TIMEOUT_S, after="done")
    return "Ben says stop now: stopped at once, resumable, and the resume is offered before the rollback"


_STORY: Final[tuple[tuple[str, Play], ...]] = (
    ("The training starts", _started),
    ("The first epoch, and its status", _status),
    ("A typo", _typo),
    ("A NaN in one batch", _drill),
    ("The alert resolves", _resolved),
    ("The epoch report", _report),
    ("A rollback is asked for", _proposed),
    ("Who may not approve", _refused),
    ("The rollback", _rolled_back),
    ("Training goes on", _goes_on),
    ("Stop now", _stopped),
)
