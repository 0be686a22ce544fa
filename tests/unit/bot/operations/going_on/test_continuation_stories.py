"""Made-up stories of deaths on paper, and the death that is asked about with half the batch."""

from __future__ import annotations

import random
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.bot.operations.going_on.test_continuation import (
    AUTO,
    a_world,
    crashes,
    dies,
    look,
    notice,
    starts,
    told,
)
from tests.unit.bot.operations.paper import ALICE, PaperWorld
from tests.unit.bot.operations.paper_run import RUN
from trainmaster.bot.core.conversation.message import ActionId, Mark
from trainmaster.bot.core.decisions.going_on import AutoResume
from trainmaster.bot.core.decisions.operation import OperationKind, OperationState
from trainmaster.bot.core.decisions.order import ResumeRun
from trainmaster.bot.core.decisions.start_word import StartWord
from trainmaster.bot.core.run.facts import ProcessFact, ProcessIdentity, ProcessStatus
from trainmaster.bot.core.run.job import EndCause, JobFact
from trainmaster.trainer.contract import replace_json


@pytest.fixture
def world(tmp_path: Path) -> PaperWorld:
    """A run at work under AUTO_RESUME=auto, which the bot has seen."""
    return a_world(tmp_path, AUTO)


@pytest.mark.parametrize(
    ("argv", "recipe", "batch", "words"),
    [
        pytest.param(["train", "batch=32"], {}, 16, "as many images as before", id="halved, accumulated twice"),
        pytest.param(["train"], {}, 8, "as many images as before", id="the default"),
        pytest.param(["train", "batch=128"], {}, 64, "64 images instead of 128", id="more than is accumulated"),
        pytest.param(
            ["train", "batch=48"], {}, 24, "3 batches and is of 72 images, not 48", id="rounded by Ultralytics"
        ),
        pytest.param(["train", "batch=7"], {}, 3, "With batch 3 instead of 7", id="an odd one"),
        pytest.param(["train", "batch=12", "device=0,1,2,3"], {}, 4, "instead of 12", id="as many for each device"),
        pytest.param(["train"], {"batch": "6", "device": "[0, 1]"}, 2, "instead of 6", id="of two devices on record"),
        pytest.param(["train", "batch=2", "device=0,1"], {}, None, "", id="one for each device can't be halved"),
        pytest.param(["train", "batch=-1"], {}, None, "", id="chosen by Ultralytics"),
        pytest.param(["train", "batch=1"], {}, None, "", id="one can't be halved"),
        pytest.param(["resume", "runs/digits"], {}, None, "", id="not told"),
        pytest.param(["resume", "x"], {"batch": "24", "nbs": "64"}, 12, "of 60 images, not 72", id="on record"),
        pytest.param(["train", "batch=32"], {"batch": "16"}, 8, "as many images as before", id="halved once already"),
    ],
)
async def test_device_out_of_memory_is_asked_with_the_batch_halved(
    world: PaperWorld, argv: list[str], recipe: dict[str, str], batch: int | None, words: str
) -> None:
    replace_json(world.run.layout.run_json, {**world.run.record(), "argv": argv, "recipe": recipe})
    crashes(world, "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB")
    await look(world)
    found = told(world)
    asked = [StartWord.parse(one.value).batch for one in found.buttons if one.action is ActionId.RESUME_RUN]
    assert asked == ([batch, None] if batch else [None])
    assert [words in line for line in found.body if "another run" in line] == ([True] if batch else [])
    assert world.launches() == []
    if batch:
        await world.operations.perform(ResumeRun(run=RUN, user=ALICE, attempt=1, batch=batch))
        await world.operations.settle()
        assert f"batch={batch}" in world.launches()[0]


@pytest.mark.parametrize("seed", range(20))
async def test_no_sequence_of_deaths_starts_one_root_more_than_three_times_without_progress(
    tmp_path: Path, seed: int
) -> None:
    """The whole of it on paper; a thousand sequences are told to the rules alone in tests/unit/bot/core."""
    chance = random.Random(seed)
    world = a_world(tmp_path, AUTO)
    since: dict[str, int] = {}
    for turn in range(14):
        how = chance.choice(["kill", "vanish", "driver", "code", "unknown", "healthy", "finish"])
        if how == "finish":
            world.runs.epochs_done[int(str(world.run.record()["attempt"]))] = 5 + turn
            since = {} if int(str(world.run.record()["attempt"])) > 1 else since
        elif how in {"kill", "vanish"}:
            dies(world, signum=signal.SIGKILL if how == "kill" else None)
        elif how != "healthy":
            text = {"driver": f"RuntimeError: CUDA error {turn}", "code": "KeyError: 1", "unknown": "Error: odd"}[how]
            crashes(world, text)
        before = len(starts(world))
        await look(world)
        for one in starts(world)[before:]:
            root = str(one.note("root"))
            since[root] = since.get(root, 0) + 1
            assert since[root] <= 3
        assert world.signals() == [], "what lives is never touched"
        if not world.runs.all()[0].state.active:  # a person starts it, so that the story goes on
            await world.operations.perform(ResumeRun(run=RUN, user=ALICE))
            await world.operations.settle()
    assert all(one.kind is OperationKind.RESUME for one in world.log.history(RUN, limit=100))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("", "It stands still: it was killed from outside, by nobody known."),
        ("RuntimeError: odd", "It stands still: nobody can tell from its last error whether it comes again."),
    ],
)
async def test_ask_says_why_it_stands_still_and_nothing_of_what_nobody_wanted(
    tmp_path: Path, error: str, said: str
) -> None:
    world = a_world(tmp_path, replace(AUTO, auto_resume=AutoResume.ASK))
    if error:
        crashes(world, error)
    else:
        dies(world)
    assert told(world).body == (said,)


async def test_what_a_step_waited_for_is_not_said_of_the_next_one(tmp_path: Path) -> None:
    world = a_world(tmp_path, replace(AUTO, pause_s=0.01))
    dies(world)
    await look(world)
    card = world.outbox.versions[starts(world)[0].card]
    waits = {(item.text, item.detail) for one in card for item in one.items if item.mark is Mark.RUNNING}
    assert ("Ready to start", "in 0 s; /train stop now prevents it") in waits
    assert {("Start the trainer", ""), ("See healthy batches", "")} <= waits
    assert not [text for text, detail in waits if text != "Ready to start" and detail]


async def test_run_that_came_back_from_its_copies_with_an_older_number_goes_on(world: PaperWorld) -> None:
    """Its disk died before the record of the newest attempt was copied: the next one has that number again."""
    dies(world)
    replace_json(world.run.layout.run_json, {**world.run.record(), "attempt": 5})
    await world.operations.perform(ResumeRun(run=RUN, user=ALICE, anyway=True))
    replace_json(world.run.layout.run_json, {**world.run.record(), "attempt": 4})
    await world.operations.settle()
    assert world.run.record()["attempt"] == 5
    await notice(world)
    dies(world)
    await look(world)
    assert [one.state for one in starts(world)] == [OperationState.DONE]


@pytest.mark.parametrize("waits", [True, False], ids=["while it waits in the queue", "as it starts"])
async def test_job_of_a_start_by_itself_that_a_person_cancels_is_not_submitted_again(
    world: PaperWorld, monkeypatch: pytest.MonkeyPatch, waits: bool
) -> None:
    dies(world)
    world.runs.silent = True
    inspect, launched = world.driver.inspect, 4000 + len(world.driver.processes)
    job = JobFact(id="12", cause=EndCause.CANCELLED)
    looks = [ProcessStatus.PENDING] * 4 if waits else []

    def cancelled(process: ProcessIdentity) -> ProcessFact:
        if process.pid != launched:
            return inspect(process)
        if looks:
            return ProcessFact(status=looks.pop(), ts=0.0, job=replace(job, cause=None, reason="Priority"))
        return ProcessFact(status=ProcessStatus.GONE, ts=0.0, job=job)

    monkeypatch.setattr(world.driver, "inspect", cancelled)
    for _ in range(3):
        await look(world)
    assert len(world.launches()) == 1
    assert world.log.history(RUN)[0].state is OperationState.NEEDS_HUMAN
