"""An open question about other settings is void as soon as the run has changed, whether anybody presses or not."""

from __future__ import annotations

import pytest

from tests.unit.bot.operations.paper import ALICE, BOB, PaperWorld
from tests.unit.bot.operations.paper_run import RUN
from trainmaster.bot.core.decisions.operation import BOT, IntentKind
from trainmaster.bot.core.decisions.order import ChangeRecipe, StopNow


async def ask(world: PaperWorld) -> str:
    reply = await world.operations.perform(ChangeRecipe(run=RUN, user=ALICE, settings=(("lr0", "0.0002"),)))
    return reply.card


async def look(world: PaperWorld) -> None:
    await world.operations.tick(world.clock.now())
    await world.operations.settle()


@pytest.mark.parametrize("how", ["stopped", "another attempt"])
async def test_it_is_void_when_the_run_has_changed_also_after_a_restart_of_the_bot(world: PaperWorld, how: str) -> None:
    card = await ask(world)
    if how == "stopped":
        await world.operations.perform(StopNow(run=RUN, user=BOB))
        await world.operations.settle()
    else:
        world.run.write_record(world.driver.spawn(), attempt=2, level="standard", state="running")
    assert not any("Open question" in line for line in world.operations.planned(RUN))
    world.instance_pid = 2
    world.operations = world.new_operations()
    await look(world)
    assert world.outbox.last(card).buttons == ()
    told = world.outbox.last(card)
    assert "the run has changed since" in " ".join((told.title, *told.body)).lower()
    assert world.intents.all(IntentKind.CHANGE) == ()
    assert (BOT, "change.void") in world.audit.entries


async def test_it_waits_while_the_run_is_as_it_was(world: PaperWorld) -> None:
    card = await ask(world)
    world.runs.epoch = 6
    await look(world)
    assert world.outbox.last(card).buttons
    assert len(world.intents.all(IntentKind.CHANGE)) == 1
