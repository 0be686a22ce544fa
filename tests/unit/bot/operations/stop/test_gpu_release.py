"""After a stop the GPU is free, held, or out of sight; each is said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.bot.operations.paper import BOB, PaperWorld
from tests.unit.bot.operations.paper_run import RUN
from trainmaster.bot.core.conversation.message import Tone
from trainmaster.bot.core.decisions.order import StopNow
from trainmaster.bot.operations.limits import OperationLimits
from trainmaster.bot.operations.stop.ending import grace_s
from trainmaster.trainer.contract import Phase


class PaperGpu:
    """Processes that hold a GPU; ``hangs`` are counted after their end too."""

    def __init__(self, world: PaperWorld, *holders: int, hangs: bool = False, fault: Exception | None = None) -> None:
        self._world = world
        self._holders = frozenset(holders)
        self._hangs = hangs
        self._fault = fault

    def look(self) -> frozenset[int] | None:
        if self._fault is not None:
            raise self._fault
        alive = {int(pid) for pid, entry in self._world.driver.processes.items() if entry["alive"]}
        return self._holders if self._hangs else self._holders & alive


async def stopped(world: PaperWorld, gpu: object) -> tuple[Tone, str]:
    world.operations.world = replace(world.operations.world, gpu_holders=gpu)  # type: ignore[arg-type]
    world.operations.__post_init__()
    await world.operations.perform(StopNow(run=RUN, user=BOB))
    await world.operations.settle()
    (operation,) = world.log.history(RUN)
    message = world.outbox.last(operation.card)
    return message.tone, " ".join([*message.body, message.items[0].detail])


async def test_gpu_that_was_held_is_said_to_be_free_again(world: PaperWorld) -> None:
    worker = world.driver.spawn(parent=4000)
    tone, text = await stopped(world, PaperGpu(world, 4000, worker.pid, 77))
    assert tone is Tone.GOOD
    assert "its GPU is free again" in text


async def test_gpu_that_is_still_held_calls_a_person(world: PaperWorld) -> None:
    tone, text = await stopped(world, PaperGpu(world, 4000, hangs=True))
    assert tone is Tone.CRITICAL
    assert "the process is over, and the GPU's driver still counts it" in text


async def test_gpu_of_somebody_else_is_no_concern(world: PaperWorld) -> None:
    tone, text = await stopped(world, PaperGpu(world, 77, hangs=True))
    assert tone is Tone.GOOD
    assert "GPU" not in text


@pytest.mark.parametrize("fault", [OSError("driver"), RuntimeError("odd")])
async def test_gpu_driver_that_fails_keeps_nobody_from_stopping(world: PaperWorld, fault: Exception) -> None:
    tone, text = await stopped(world, PaperGpu(world, fault=fault))
    assert tone is Tone.GOOD
    assert "can't be seen here" in text


def test_grace_grows_with_measured_batches_and_saves_up_to_its_limit(world: PaperWorld) -> None:
    limits = OperationLimits(stop_grace_s=60, stop_grace_max_s=600)
    view = world.runs.all()[0]
    assert view.beat is not None
    slow = replace(view, heartbeat=replace(view.beat, batch=10, epoch_elapsed_s=200.0))
    saving = replace(slow, phases=replace(slow.phases, longest_s={Phase.SAVING: 30.0}))
    endless = replace(slow, phases=replace(slow.phases, longest_s={Phase.SAVING: 3000.0}))
    assert [grace_s(one, limits) for one in (None, slow, saving, endless)] == [60.0, 120.0, 180.0, 600.0]
