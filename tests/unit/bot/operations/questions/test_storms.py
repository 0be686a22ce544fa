"""A run past saving is put to the people on call by the bot itself: once a storm."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.bot.operations.paper import ALICE, BOB, PaperWorld
from tests.unit.bot.operations.paper_run import RUN
from trainmaster.bot.core.conversation.message import ActionId, ButtonStyle, Tone
from trainmaster.bot.core.decisions.operation import IntentKind
from trainmaster.bot.core.decisions.order import ContinueRun, Decide, StopNow
from trainmaster.bot.core.run.facts import Event
from trainmaster.bot.errors import OperationError
from trainmaster.trainer.contract import replace_json


def gives_up(world: PaperWorld, *, seq: int = 7) -> None:
    """The trainer ends with exit code 4 in epoch 5."""
    record = world.run.record()
    world.driver.kill(int(str(record["pid"])))
    replace_json(world.run.layout.run_json, {**record, "state": "gave_up", "exit_code": 4})
    data = {"epoch": 5, "batch": 12, "why": "11 bad batches among the last 2000"}
    world.runs.events.append(Event(ts=world.clock.now(), run=RUN, attempt=1, seq=seq, kind="run_gave_up", data=data))


async def look(world: PaperWorld) -> None:
    """The supervisor looks at the run, and what that sets off is over."""
    world.looks.notice(world.runs.all()[0])
    await world.operations.settle()


async def test_run_that_gave_up_is_put_to_the_people_on_call_without_anybody_asking(world: PaperWorld) -> None:
    gives_up(world)
    await look(world)
    pending = world.operations.pending(RUN)
    assert pending is not None
    card = world.outbox.last(pending.card)
    actions = [button.action for button in card.buttons]
    assert actions == [ActionId.APPROVE, ActionId.CONTINUE_RUN, ActionId.REJECT, ActionId.DETAILS]
    assert set(card.mentions) == {ALICE, BOB}
    assert card.body[0].startswith("The trainer ended by itself in epoch 5: 11 bad batches")
    assert card.body[2].startswith("Recommended: roll back now, as ")
    assert [button.label for button in card.buttons if button.style is ButtonStyle.PRIMARY] == ["Roll back now"]
    assert pending.plan.level_after == "strict"
    assert ("Trainmaster", "approval.asked") in world.audit.entries


@pytest.mark.parametrize("user", [ALICE, BOB])
async def test_everybody_on_call_may_approve_what_the_bot_asked(world: PaperWorld, user: str) -> None:
    gives_up(world)
    await look(world)
    pending = world.operations.pending(RUN)
    assert pending is not None
    assert await world.approve(pending.id, user) == "Approved. The rollback has begun."
    (launch,) = world.launches()
    assert "level=strict" in launch


async def test_storm_is_asked_about_once_even_by_the_next_bot(world: PaperWorld) -> None:
    gives_up(world)
    await look(world)
    pending = world.operations.pending(RUN)
    assert pending is not None
    await world.operations.perform(
        Decide(approval_id=pending.id, user=BOB, approve=False, reason="I will look at the data first")
    )
    await look(world)
    world.operations = world.new_operations()
    await look(world)
    assert world.operations.pending(RUN) is None
    assert len([entry for entry in world.audit.entries if entry[1] == "approval.asked"]) == 1


async def test_rate_that_goes_on_after_continue_is_no_news_but_giving_up_is(world: PaperWorld) -> None:
    world.runs.streak = 12
    await world.operations.perform(ContinueRun(run=RUN, user=BOB, why="one bad shard"))
    await look(world)
    assert world.operations.pending(RUN) is None
    world.clock.ts += 5
    gives_up(world)
    await look(world)
    assert world.operations.pending(RUN) is not None


async def test_question_that_a_person_asked_before_is_enough(world: PaperWorld) -> None:
    approval = await world.ask()
    gives_up(world)
    await look(world)
    pending = world.operations.pending(RUN)
    assert pending is not None
    assert pending.id == approval
    told = world.intents.get(RUN, IntentKind.STORM_TOLD)
    assert told is not None


async def test_storm_without_a_clean_checkpoint_says_so_once(world: PaperWorld) -> None:
    world.forensics.contaminated = {1, 2, 3, 4}
    gives_up(world)
    await look(world)
    await look(world)
    (key,) = [key for key in world.outbox.versions if key.startswith("storm/")]
    (message,) = world.outbox.versions[key]
    assert message.tone is Tone.CRITICAL
    assert "least bad is epoch" in message.body[1]
    assert set(message.mentions) == {ALICE, BOB}


async def test_storm_whose_plan_cannot_be_made_yet_is_tried_again_later(world: PaperWorld) -> None:
    world.forensics.faults.next["catalog"] = OperationError("trainer-command", "the disk does not answer.")
    gives_up(world)
    await look(world)
    await look(world)
    assert world.operations.pending(RUN) is None
    world.clock.ts += 61
    await look(world)
    assert world.operations.pending(RUN) is not None


async def test_what_the_bot_asked_waits_through_the_night_and_what_a_person_asked_does_not(world: PaperWorld) -> None:
    gives_up(world)
    await look(world)
    pending = world.operations.pending(RUN)
    assert pending is not None
    assert pending.expires_ts - pending.created_ts == world.limits.storm_ttl_s
    await world.operations.perform(Decide(approval_id=pending.id, user=BOB, approve=False, reason="later"))
    asked = world.questions.get(await world.ask())
    assert asked is not None
    assert asked.expires_ts - asked.created_ts == world.limits.approval_ttl_s


async def test_nothing_is_asked_while_the_audit_log_is_full(world: PaperWorld) -> None:
    world.audit.full = True
    gives_up(world)
    await look(world)
    assert world.operations.pending(RUN) is None
    assert world.intents.get(RUN, IntentKind.STORM_TOLD) is None


async def test_operation_under_way_or_done_since_keeps_the_bot_quiet(world: PaperWorld) -> None:
    gives_up(world)
    world.clock.ts += 1
    await world.operations.perform(StopNow(run=RUN, user=BOB))
    await look(world)
    assert world.operations.pending(RUN) is None


@pytest.mark.parametrize("asks", [True, False])
async def test_fair_weather_and_the_setting_keep_the_bot_quiet(world: PaperWorld, asks: bool) -> None:
    if not asks:
        world.limits = replace(world.limits, propose_on_storm=False)
        world.operations = world.new_operations()
        gives_up(world)
    await look(world)
    assert world.operations.pending(RUN) is None
    assert not [key for key in world.outbox.versions if key.startswith("storm/")]
