"""The end of an epoch: what was chosen for then, and questions that it finds open."""

from __future__ import annotations

import pytest

from tests.unit.bot.operations.paper import ALICE, BOB, MALLORY, PaperWorld
from tests.unit.bot.operations.paper_run import RUN
from trainmaster.bot.core.conversation.message import ActionId
from trainmaster.bot.core.decisions.approval import ApprovalState
from trainmaster.bot.core.decisions.operation import BOT, IntentKind, OperationState
from trainmaster.bot.core.decisions.order import ContinueRun, Decide, ResumeRun, RollBackAfterEpoch
from trainmaster.bot.errors import CommandError

CHANNEL = "C0TRAIN"


async def choose(world: PaperWorld, approval: str, user: str = BOB) -> str:
    reply = await world.operations.perform(RollBackAfterEpoch(approval_id=approval, user=user, channel=CHANNEL))
    assert reply.private
    return reply.message.title


async def look(world: PaperWorld) -> None:
    await world.operations.tick(world.clock.now())
    await world.operations.settle()


async def test_rollback_that_was_chosen_for_then_begins_when_the_epoch_has_ended(world: PaperWorld) -> None:
    approval = await world.ask()
    assert await choose(world, approval) == "Chosen: roll back at the end of the epoch."
    card = world.outbox.last(f"approval/{approval}")
    assert (card.title, card.buttons) == ("digits: rollback to epoch 3 at the end of the epoch", ())
    await look(world)
    assert world.signals() == []
    assert any("a rollback at the end of epoch 5" in line for line in world.operations.planned(RUN))
    world.forensics.contaminated = {4, 5}
    world.runs.epoch = 6
    await look(world)
    (done,) = world.log.history(RUN)
    assert (done.state, done.plan and done.plan.target.epoch) == (OperationState.DONE, 3)
    assert done.decided_by == (BOB,)
    assert world.intents.all(IntentKind.ROLL_BACK_AFTER_EPOCH) == ()
    await look(world)
    assert len(world.log.history(RUN)) == 1


async def test_other_checkpoint_by_then_is_asked_about_anew(world: PaperWorld) -> None:
    approval = await world.ask()
    await choose(world, approval)
    world.run.checkpoint_path(3).write_text("replaced")
    world.runs.epoch = 6
    await look(world)
    assert world.log.history(RUN) == ()
    again = world.operations.pending(RUN)
    assert again is not None
    assert again.ended_epoch == 5
    card = world.outbox.last(again.card)
    assert card.title == "digits: epoch 5 has ended, decide now: roll back to epoch 3?"
    assert any(line.startswith("Changed since it was asked") for line in card.body)


async def test_who_is_no_longer_on_call_by_then_has_decided_nothing(world: PaperWorld) -> None:
    approval = await world.ask()
    await choose(world, approval)
    world.chat.users = frozenset({ALICE})
    world.runs.epoch = 6
    await look(world)
    assert world.log.history(RUN) == ()
    assert world.operations.pending(RUN) is not None


async def test_where_two_must_agree_both_are_asked_at_the_end(world: PaperWorld) -> None:
    world.with_limits(approvals_required=2)
    approval = await world.ask()
    await choose(world, approval)
    world.runs.epoch = 6
    await look(world)
    assert world.log.history(RUN) == ()
    assert world.operations.pending(RUN) is not None


@pytest.mark.parametrize(
    ("user", "answer"),
    [
        pytest.param(MALLORY, "Only people on call decide this.", id="not on call"),
        pytest.param(ALICE, "You asked for this rollback, so somebody else must approve it.", id="own request"),
    ],
)
async def test_choice_of_who_may_not_approve_changes_nothing(world: PaperWorld, user: str, answer: str) -> None:
    approval = await world.ask()
    assert await choose(world, approval, user) == answer
    assert world.operations.pending(RUN) is not None
    assert world.intents.all(IntentKind.ROLL_BACK_AFTER_EPOCH) == ()


async def test_second_choice_is_told_of_the_first(world: PaperWorld) -> None:
    world.with_limits(allow_self_approval=True)
    approval = await world.ask()
    await choose(world, approval)
    assert "chose the end of the epoch" in await choose(world, approval, ALICE)
    reply = await world.operations.perform(Decide(approval_id=approval, user=ALICE, approve=True))
    assert "chose the end of the epoch" in reply.message.title


async def test_continue_takes_it_back(world: PaperWorld) -> None:
    approval = await world.ask()
    await choose(world, approval)
    await world.operations.perform(ContinueRun(run=RUN, user=BOB))
    world.runs.epoch = 6
    await look(world)
    assert world.log.history(RUN) == ()
    assert world.operations.pending(RUN) is None


async def test_run_that_is_not_at_work_has_no_end_of_an_epoch(world: PaperWorld) -> None:
    approval = await world.ask()
    world.driver.kill(4000)
    world.run.stopped()
    with pytest.raises(CommandError, match="no epoch of digits is under way"):
        await choose(world, approval)
    found = world.questions.get(approval)
    assert found is not None
    assert found.state is ApprovalState.PENDING


async def test_open_question_is_put_anew_at_the_end_of_the_epoch_with_both_ways_in_clock_times(
    world: PaperWorld,
) -> None:
    approval = await world.ask()
    await look(world)
    pending = world.operations.pending(RUN)
    assert pending is not None
    assert pending.id == approval
    old_expiry = pending.expires_ts
    world.forensics.contaminated = {4, 5}
    world.runs.epoch = 6
    await look(world)
    assert world.operations.pending(RUN).id == approval  # type: ignore[union-attr]  # asked a moment ago
    world.clock.ts += world.limits.reminder_s
    await look(world)
    again = world.operations.pending(RUN)
    assert again is not None
    assert again.expires_ts == old_expiry
    assert (again.id != approval, again.ended_epoch) == (True, 5)
    old = world.questions.get(approval)
    assert old is not None
    assert old.state is ApprovalState.VOID
    card = world.outbox.last(again.card)
    fields = dict(card.fields)
    assert fields["Roll back now"].startswith("now, <t:")
    assert "the run ends" in fields["Roll back now"]
    assert fields["Continue forward"].startswith("now, <t:")
    assert card.items[0].text == "All batches"
    assert any(line.startswith("Recommended: ") for line in card.body)
    await look(world)
    assert world.operations.pending(RUN).id == again.id  # type: ignore[union-attr]


async def test_question_is_kept_up_to_date_in_its_own_message_and_calls_nobody(world: PaperWorld) -> None:
    approval = await world.ask()
    keys = set(world.outbox.versions)
    world.runs.epoch = 6
    world.clock.ts += world.limits.question_renew_s - 1
    await look(world)
    assert world.operations.pending(RUN).id == approval  # type: ignore[union-attr]  # too soon
    world.clock.ts += 1
    await look(world)
    again = world.operations.pending(RUN)
    assert again is not None
    assert (again.id != approval, again.card, again.plan.at_epoch) == (True, f"approval/{approval}", 6)
    assert set(world.outbox.versions) == keys
    card = world.outbox.last(again.card)
    assert "(epochs 4 to 6)" in card.body[1]
    assert not any(line.startswith("Changed since") for line in card.body)
    assert {one.value for one in card.buttons if one.action is ActionId.APPROVE} == {again.id}
    assert (again.created_ts, again.expires_ts) == (world.clock.ts - world.limits.question_renew_s, again.expires_ts)
    reply = await world.operations.perform(Decide(approval_id=approval, user=BOB, approve=True))
    assert reply.message.title.startswith("This question is void")
    assert world.operations.open(RUN) is None
    assert await world.approve(again.id) == "Approved. The rollback has begun."


async def test_yes_counts_on_when_only_the_epoch_is_another(world: PaperWorld) -> None:
    world.with_limits(approvals_required=2, allow_self_approval=True)
    approval = await world.ask()
    await world.operations.perform(Decide(approval_id=approval, user=BOB, approve=True))
    world.runs.epoch = 6
    world.clock.ts += world.limits.question_renew_s
    await look(world)
    again = world.operations.pending(RUN)
    assert again is not None
    assert [vote.user for vote in again.votes] == [BOB]
    assert await world.approve(again.id, ALICE) == "Approved. The rollback has begun."


async def test_question_about_a_run_that_stopped_is_put_for_the_stopped_run_at_once(world: PaperWorld) -> None:
    approval = await world.ask()
    world.driver.kill(4000)
    world.run.stopped()
    await look(world)
    again = world.operations.pending(RUN)
    assert again is not None
    assert again.card == f"approval/{approval}"
    card = world.outbox.last(again.card)
    assert "Recommended: roll back now, as nothing trains until somebody decides." in card.body
    labels = [button.label for button in card.buttons]
    assert "At the epoch's end" not in labels
    assert "Leave it as it is" in labels
    assert not any("At the epoch" in item.text for item in card.items)
    await look(world)
    assert world.operations.pending(RUN).id == again.id  # type: ignore[union-attr]


async def test_question_is_void_when_somebody_resumes_the_run(world: PaperWorld) -> None:
    approval = await world.ask()
    world.driver.kill(4000)
    world.run.stopped()
    await world.operations.perform(ResumeRun(run=RUN, user=BOB))
    await world.operations.settle()
    assert world.operations.pending(RUN) is None
    card = world.outbox.last(f"approval/{approval}")
    assert (card.buttons, "resumed the run" in card.body[0]) == ((), True)


async def test_choice_for_the_end_of_the_epoch_is_void_once_another_attempt_began(world: PaperWorld) -> None:
    approval = await world.ask()
    await choose(world, approval)
    world.run.write_record(world.driver.spawn(), attempt=2, level="standard", state="running")
    assert world.operations.planned(RUN) == ()
    await look(world)
    assert world.intents.all(IntentKind.ROLL_BACK_AFTER_EPOCH) == ()
    assert (BOT, "rollback.plan_dropped") in world.audit.entries
    assert world.outbox.last(f"approval/{approval}").title == "digits: rollback to epoch 3 is void"


async def test_decision_point_that_is_edited_tells_of_the_epoch_that_ended_last(world: PaperWorld) -> None:
    await world.ask()
    world.runs.epoch = 6
    world.clock.ts += world.limits.reminder_s
    await look(world)
    asked = world.operations.pending(RUN)
    assert asked is not None
    world.runs.epoch = 7
    world.clock.ts += world.limits.question_renew_s
    await look(world)
    again = world.operations.pending(RUN)
    assert again is not None
    assert (again.id != asked.id, again.card) == (True, asked.card)
    assert world.outbox.last(again.card).title.startswith("digits: epoch 6 has ended, decide now")
