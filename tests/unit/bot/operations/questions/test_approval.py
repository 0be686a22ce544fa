"""Who may decide, what a click answers, and that a question is decided once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.bot.operations.paper import ALICE, BOB, CAROL, MALLORY, PaperWorld
from tests.unit.bot.operations.paper_run import RUN
from trainmaster.bot.core.conversation.message import ActionId, ButtonStyle, Mark
from trainmaster.bot.core.conversation.tokens import moment, person
from trainmaster.bot.core.decisions.approval import ApprovalState
from trainmaster.bot.core.decisions.order import ContinueRun, Decide, ProposeRollback, StopNow
from trainmaster.bot.errors import ChatError, CommandError, StoreError
from trainmaster.bot.operations.limits import OperationLimits


async def click(world: PaperWorld, approval: str, user: str, *, approve: bool = True, reason: str = "") -> str:
    reply = await world.operations.perform(Decide(approval_id=approval, user=user, approve=approve, reason=reason))
    assert reply.private
    return reply.message.title


def state(world: PaperWorld, approval: str) -> ApprovalState:
    found = world.questions.get(approval)
    assert found is not None
    return found.state


async def test_card_tells_what_a_person_needs_to_decide(world: PaperWorld) -> None:
    card = world.outbox.last(f"approval/{await world.ask()}")
    assert card.title == "digits: roll back to epoch 3?"
    happened, cost, advice = card.body
    assert happened.startswith("3 bad batches in epoch 4")
    assert cost == "Costs 60 min of training (epochs 4 to 5)."
    assert advice.startswith("Recommended: continue, as no bad batch is in the weights.")
    assert [item.text for item in card.items] == ["Roll back now", "At the epoch's end", "Continue"]
    assert all("run ends <t:" in item.detail for item in card.items)
    assert [button.label for button in card.buttons if button.style is ButtonStyle.PRIMARY] == ["Continue"]
    assert card.mentions == (BOB,)  # who asked may not approve it, and is named as who asked
    assert card.table is None


async def test_digest_process_and_settings_of_a_plan_are_in_the_thread_only(world: PaperWorld) -> None:
    approval = await world.ask()
    card = world.outbox.last(f"approval/{approval}")
    details = card.details
    assert details is not None
    fields = dict(details.fields)
    assert "attempt 1" in fields["Run"]
    assert "epoch 5 of 10" in fields["Run"]
    assert "clean" in fields["Trusted because"]
    assert fields["Given up"].startswith("epochs 4 to 5")
    assert fields["Level"].startswith("level standard to strict")
    assert any("process 4000" in line for line in details.context)
    assert fields["Roll back now"].startswith("now, <t:")
    assert "the run ends" in fields["Roll back now"]
    assert {"Roll back at the end of the epoch", "Continue forward"} <= fields.keys()
    assert [item.mark for item in details.items] == [Mark.WARNING] * len(details.items)
    assert any("half precision" in item.text for item in details.items)
    assert details.table is not None
    assert ("3 lr0", "0.0005", "0.00025") in details.table.rows
    shown = str(replace(card, details=None, buttons=()))
    found = world.questions.get(approval)
    assert found is not None
    hidden = (approval, found.plan.digest[:12], found.plan.target.sha256[:12], found.plan.target.file, "4000")
    assert [one for one in hidden if one in shown] == []
    assert all(one in str(details) for one in hidden)


async def test_dry_run_shows_the_plan_and_asks_nobody(world: PaperWorld) -> None:
    reply = await world.operations.perform(ProposeRollback(run=RUN, user=ALICE, dry_run=True))
    assert "epoch 3" in reply.message.title
    assert world.operations.pending(RUN) is None
    assert world.outbox.versions == {}


async def test_same_question_asked_twice_is_one_question(world: PaperWorld) -> None:
    first = await world.ask()
    assert await world.ask(BOB) == first
    assert len(world.outbox.versions[f"approval/{first}"]) == 1


async def test_newer_question_with_another_plan_voids_the_older(world: PaperWorld) -> None:
    first = await world.ask()
    second = await world.ask(to_epoch=2)
    assert first != second
    assert state(world, first) is ApprovalState.VOID
    assert "newer card" in " ".join(
        (await world.operations.perform(Decide(approval_id=first, user=BOB, approve=True))).message.body
    )
    assert world.outbox.last(f"approval/{first}").buttons == ()


@pytest.mark.parametrize(
    ("user", "answer"),
    [
        pytest.param(MALLORY, "Only people on call decide this.", id="not on call"),
        pytest.param(ALICE, "You asked for this rollback, so somebody else must approve it.", id="own request"),
        pytest.param("", "Only people on call decide this.", id="nobody"),
    ],
)
async def test_click_that_may_not_count_is_answered_and_changes_nothing(
    world: PaperWorld, user: str, answer: str
) -> None:
    approval = await world.ask()
    assert await click(world, approval, user) == answer
    assert state(world, approval) is ApprovalState.PENDING
    assert not world.looks.held(RUN)


@pytest.mark.parametrize("forged", ["", "nonsense", "' OR 1=1 --", "0" * 5000])
async def test_forged_id_is_answered_and_changes_nothing(world: PaperWorld, forged: str) -> None:
    await world.ask()
    assert await click(world, forged, BOB) == "There is no such question (any more)."
    assert not world.looks.held(RUN)


async def test_own_request_may_be_approved_when_the_setting_allows_it(world: PaperWorld) -> None:
    world.with_limits(allow_self_approval=True)
    approval = await world.ask(ALICE)
    assert await click(world, approval, ALICE) == "Approved. The rollback has begun."
    await world.operations.settle()


@pytest.mark.parametrize("approve", [True, False], ids=["approved", "rejected"])
@pytest.mark.parametrize("decider", [ALICE, BOB])
async def test_a_closed_question_names_each_person_once(world: PaperWorld, decider: str, approve: bool) -> None:
    world.with_limits(allow_self_approval=True)
    approval = await world.ask()
    await click(world, approval, decider, approve=approve)
    shown = str(replace(world.outbox.last(f"approval/{approval}"), details=None))
    assert [shown.count(person(one)) for one in {ALICE, decider}] == [1] * len({ALICE, decider})


async def test_requester_may_take_the_question_back(world: PaperWorld) -> None:
    approval = await world.ask(ALICE)
    assert await click(world, approval, ALICE, approve=False) == "Rejected. Nothing was done."


async def test_rejection_shows_who_and_why_and_takes_the_buttons_away(world: PaperWorld) -> None:
    approval = await world.ask()
    await click(world, approval, BOB, approve=False, reason="one bad image")
    card = world.outbox.last(f"approval/{approval}")
    assert "<u:U0BOB>" in card.body[0]
    assert "one bad image" in card.body[0]
    assert card.buttons == ()
    assert await click(world, approval, BOB) == (
        f"{person('U0BOB')} rejected this ({moment(1732286400)}); your click changed nothing."
    )
    assert world.driver.log() == []


async def test_late_click_after_the_decision_changes_nothing(world: PaperWorld) -> None:
    approval = await world.ask()
    await world.approve(approval)
    assert "approved this" in await click(world, approval, ALICE)
    assert "approved this" in await click(world, approval, BOB, approve=False)
    assert len(world.launches()) == 1


async def test_expired_question_takes_its_buttons_away_and_cannot_be_approved(world: PaperWorld) -> None:
    approval = await world.ask()
    world.clock.ts += world.limits.approval_ttl_s
    await world.operations.tick(world.clock.now())
    assert state(world, approval) is ApprovalState.EXPIRED
    assert world.outbox.last(f"approval/{approval}").buttons == ()
    assert "expired" in await click(world, approval, BOB)
    assert world.driver.log() == []


async def test_click_after_the_time_is_up_expires_the_question_even_before_the_next_tick(world: PaperWorld) -> None:
    approval = await world.ask()
    world.clock.ts += world.limits.approval_ttl_s
    assert "expired" in await click(world, approval, BOB)
    assert state(world, approval) is ApprovalState.EXPIRED


async def test_clock_that_jumps_back_neither_expires_nor_repeats_reminders(world: PaperWorld) -> None:
    approval = await world.ask()
    world.clock.ts -= 1e6
    await world.operations.tick(world.clock.now())
    assert state(world, approval) is ApprovalState.PENDING
    assert list(world.outbox.versions) == [f"approval/{approval}"]


async def test_reminders_go_to_the_thread_then_once_to_the_channel_then_stop(world: PaperWorld) -> None:
    approval = await world.ask()
    for _ in range(6):
        world.clock.ts += 400.0
        await world.operations.tick(world.clock.now())
    keys = [key.removeprefix(f"approval/{approval}") for key in world.outbox.versions]
    assert keys == ["", "/reminder/1", "/reminder/2"]
    assert world.outbox.threads[f"approval/{approval}/reminder/1"] == f"approval/{approval}"


async def test_last_reminder_escalates_to_the_channel(world: PaperWorld) -> None:
    world.with_limits(reminder_s=10.0, max_reminders=1, escalate_to=("S0LEADS", BOB))
    approval = await world.ask()
    for _ in range(4):
        world.clock.ts += 10.0
        await world.operations.tick(world.clock.now())
    assert world.outbox.threads[f"approval/{approval}/reminder/2"] is None
    assert f"approval/{approval}/reminder/3" not in world.outbox.versions
    assert world.outbox.last(f"approval/{approval}/reminder/1").mentions == (BOB,)
    assert world.outbox.last(f"approval/{approval}/reminder/2").mentions == (BOB, "S0LEADS")


async def test_two_people_must_agree_when_two_are_required(world: PaperWorld) -> None:
    world.chat.users = frozenset({ALICE, BOB, CAROL})
    world.with_limits(approvals_required=2)
    approval = await world.ask(ALICE)
    assert await click(world, approval, BOB) == "Your yes is counted: 1 of 2."
    assert await click(world, approval, BOB) == "Your yes was counted before: 1 of 2."
    assert not world.looks.held(RUN)
    assert any("yes so far: <u:U0BOB>" in line for line in world.outbox.last(f"approval/{approval}").context)
    assert await click(world, approval, CAROL) == "Approved. The rollback has begun."
    await world.operations.settle()
    assert len(world.launches()) == 1


async def test_yes_of_somebody_taken_off_call_meanwhile_no_longer_counts(world: PaperWorld) -> None:
    world.chat.users = frozenset({ALICE, BOB, CAROL})
    world.with_limits(approvals_required=2)
    approval = await world.ask(ALICE)
    await click(world, approval, BOB)
    world.chat.users = frozenset({ALICE, CAROL})
    assert await click(world, approval, BOB) == "Only people on call decide this."
    assert (await click(world, approval, CAROL)).startswith("Your yes is counted")
    assert not world.looks.held(RUN)


async def test_nobody_decides_while_it_is_not_known_who_is_on_call(world: PaperWorld) -> None:
    approval = await world.ask()
    world.chat.fault = ChatError("slack", "usergroups.users.list did not answer.")
    with pytest.raises(ChatError):
        await world.operations.perform(Decide(approval_id=approval, user=BOB, approve=True))
    assert state(world, approval) is ApprovalState.PENDING


async def test_question_is_refused_when_nobody_is_on_call(world: PaperWorld) -> None:
    world.chat.users = frozenset()
    with pytest.raises(CommandError, match="no one is on call"):
        await world.operations.perform(ProposeRollback(run=RUN, user=ALICE))


@pytest.mark.parametrize("approve", [True, False])
async def test_decision_that_cannot_be_audited_is_not_made(world: PaperWorld, approve: bool) -> None:
    approval = await world.ask()
    world.audit.full = True
    with pytest.raises(StoreError):
        await world.operations.perform(Decide(approval_id=approval, user=BOB, approve=approve))
    assert state(world, approval) is ApprovalState.PENDING
    assert not world.looks.held(RUN)


async def test_question_that_cannot_be_audited_is_not_asked(world: PaperWorld) -> None:
    world.audit.full = True
    with pytest.raises(StoreError):
        await world.operations.perform(ProposeRollback(run=RUN, user=ALICE))
    assert world.operations.pending(RUN) is None


async def test_fifty_people_who_approve_at_once_make_one_rollback_and_forty_nine_polite_answers(
    tmp_path: Path,
) -> None:
    people = [f"U{number:04d}" for number in range(50)]
    world = PaperWorld(tmp_path)
    world.chat.users = frozenset([ALICE, *people])
    world.start_run()
    approval = await world.ask()
    other_bots = [world.operations, *(world.new_operations() for _ in range(4))]
    replies = await asyncio.gather(
        *(
            other_bots[number % 5].perform(Decide(approval_id=approval, user=user, approve=True))
            for number, user in enumerate(people)
        )
    )
    for bot in other_bots:
        await bot.settle()
    titles = [reply.message.title for reply in replies]
    assert titles.count("Approved. The rollback has begun.") == 1
    assert sum("approved this" in title for title in titles) == 49
    assert len(world.launches()) == 1
    assert len(world.signals()) == 1


async def test_click_while_another_operation_is_open_counts_nothing(world: PaperWorld) -> None:
    approval = await world.ask()
    world.runs.silent = True
    await world.operations.perform(StopNow(run=RUN, user=ALICE))
    assert "Another operation" in await click(world, approval, BOB)
    assert state(world, approval) is ApprovalState.PENDING
    await world.operations.settle()


async def test_continue_records_who_and_why_and_closes_the_question(world: PaperWorld) -> None:
    approval = await world.ask()
    reply = await world.operations.perform(ContinueRun(run=RUN, user=BOB, why="one bad image"))
    assert "goes on" in reply.message.title
    assert state(world, approval) is ApprovalState.REJECTED
    assert ("U0BOB", "run.continued") in world.audit.entries
    with pytest.raises(CommandError, match="only people on call"):
        await world.operations.perform(ContinueRun(run=RUN, user=MALLORY))


async def test_card_of_a_pending_question_has_a_button_for_each_choice(world: PaperWorld) -> None:
    approval = await world.ask()
    buttons = world.outbox.last(f"approval/{approval}").buttons
    assert [(button.action, button.value) for button in buttons] == [
        (ActionId.APPROVE, approval),
        (ActionId.ROLL_BACK_AFTER_EPOCH, approval),
        (ActionId.CONTINUE_RUN, RUN),
        (ActionId.REJECT, approval),
        (ActionId.DETAILS, approval),
    ]


async def test_message_key_tells_its_run(world: PaperWorld) -> None:
    approval = await world.ask()
    assert world.operations.run_of(f"approval/{approval}") == RUN
    assert world.operations.run_of(f"approval/{approval}/reminder/1") == RUN
    assert world.operations.run_of(f"{RUN}/loss/epoch-4") is None
    await world.approve(approval)
    assert world.operations.run_of(f"operation/{approval}") == RUN


def test_defaults_ask_for_a_second_person() -> None:
    assert OperationLimits().approvals_required == 1
    assert not OperationLimits().allow_self_approval
