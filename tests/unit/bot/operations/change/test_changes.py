"""Other settings for a running training: asked, approved, and then a stop and a resume with them."""

from __future__ import annotations

import pytest

from tests.unit.bot.operations.paper import ALICE, BOB, MALLORY, PaperWorld
from tests.unit.bot.operations.paper_run import RUN
from trainmaster.bot.core.conversation.message import Message
from trainmaster.bot.core.conversation.tokens import moment, person
from trainmaster.bot.core.decisions.change import Proposal
from trainmaster.bot.core.decisions.operation import IntentKind
from trainmaster.bot.core.decisions.order import ChangeRecipe, Decide, StopNow
from trainmaster.bot.errors import CommandError
from trainmaster.bot.operations.change.limits import EXAMPLES, LIMITS

LR0 = (("lr0", "0.0002"),)


async def ask(world: PaperWorld, *settings: tuple[str, str], user: str = ALICE) -> str:
    order = ChangeRecipe(run=RUN, user=user, settings=settings or LR0)
    reply = await world.operations.perform(order)
    assert reply.card.startswith("approval/change-")
    return reply.card.removeprefix("approval/")


async def decide(world: PaperWorld, approval: str, *, user: str = BOB, approve: bool = True) -> str:
    reply = await world.operations.perform(Decide(approval_id=approval, user=user, approve=approve, reason="no"))
    await world.operations.settle()
    return reply.message.title


def card(world: PaperWorld, approval: str) -> Message:
    return world.outbox.last(f"approval/{approval}")


async def test_an_approved_change_stops_the_run_and_goes_on_with_it(world: PaperWorld) -> None:
    approval = await ask(world)
    assert "lr0" in card(world, approval).title
    assert len(card(world, approval).buttons) == 2
    assert world.signals() == []
    assert any("Open question: lr0" in line for line in world.operations.planned(RUN))
    assert await decide(world, approval) == "Approved. The change has begun."
    assert len(world.signals()) == 1
    (launched,) = world.launches()
    assert launched.endswith("lr0=0.0002")
    assert world.outbox.last(f"operation/{approval}").title == "digits goes on with lr0=0.0002"
    assert card(world, approval).buttons == ()
    assert world.operations.planned(RUN) == ()
    assert world.operations.run_of(f"approval/{approval}") == world.operations.run_of(f"operation/{approval}")
    acts = [act for _, act in world.audit.entries]
    assert acts[:2] == ["change.asked", "change.yes"]
    assert acts[-1] == "change.end"


async def test_more_epochs_are_given_to_the_trainer(world: PaperWorld) -> None:
    approval = await ask(world, ("epochs", "150"))
    assert any("falls along the new number" in line for line in card(world, approval).body)
    await decide(world, approval)
    assert world.launches()[0].endswith("epochs=150")


@pytest.mark.parametrize(
    ("user", "approve", "title"),
    [
        pytest.param(ALICE, True, "You asked for this change, so somebody else must approve it.", id="own request"),
        pytest.param(MALLORY, True, "Only people on call decide this.", id="not on call"),
        pytest.param(BOB, False, "Rejected. Nothing was done.", id="rejected"),
        pytest.param(ALICE, False, "Rejected. Nothing was done.", id="taken back"),
    ],
)
async def test_a_change_that_is_not_approved_touches_nothing(
    world: PaperWorld,
    user: str,
    approve: bool,
    title: str,
) -> None:
    assert await decide(world, await ask(world), user=user, approve=approve) == title
    assert (world.signals(), world.launches()) == ([], [])


async def test_fifty_clicks_change_once(world: PaperWorld) -> None:
    approval = await ask(world)
    titles = [await decide(world, approval) for _ in range(5)]
    assert titles.count("Approved. The change has begun.") == 1
    assert len(world.launches()) == 1


async def test_a_question_survives_the_bot_and_expires(world: PaperWorld) -> None:
    approval = await ask(world)
    world.instance_pid = 2
    world.operations = world.new_operations()
    world.clock.ts += world.limits.approval_ttl_s + 1
    await world.operations.tick(world.clock.now())
    assert "expired" in card(world, approval).title
    assert await decide(world, approval) == "There is no such question (any more)."
    assert world.signals() == []


async def pass_s(world: PaperWorld, seconds: float) -> None:
    world.clock.ts += seconds
    await world.operations.tick(world.clock.now())


def reminders(world: PaperWorld, approval: str) -> list[str]:
    return [key for key in world.outbox.versions if key.startswith(f"approval/{approval}/reminder/")]


@pytest.mark.parametrize("setting", [("lr0", "0.0002"), ("epochs", "150")], ids=["set", "extend"])
async def test_an_open_question_is_brought_to_mind_as_a_rollback_is(
    world: PaperWorld, setting: tuple[str, str]
) -> None:
    world.with_limits(reminder_s=10.0, max_reminders=1, escalate_to=("S0LEADS", BOB))
    approval = await ask(world, setting)
    await pass_s(world, 9.0)
    assert reminders(world, approval) == []
    for _ in range(5):
        await pass_s(world, 11.0)
    first, last = reminders(world, approval)
    assert world.outbox.threads[first] == f"approval/{approval}"
    assert world.outbox.threads[last] is None
    assert world.outbox.last(first).mentions == (BOB,)
    assert world.outbox.last(last).mentions == (BOB, "S0LEADS")
    assert setting[0] in world.outbox.last(first).title
    assert await decide(world, approval) == "Approved. The change has begun."


async def test_who_has_voted_is_not_reminded_and_a_restart_reminds_nobody_twice(world: PaperWorld) -> None:
    world.with_limits(reminder_s=10.0, approvals_required=2, allow_self_approval=True)
    approval = await ask(world)
    await decide(world, approval)
    await pass_s(world, 11.0)
    (first,) = reminders(world, approval)
    assert world.outbox.last(first).mentions == (ALICE,)
    world.instance_pid = 2
    world.operations = world.new_operations()
    await pass_s(world, 5.0)
    assert len(reminders(world, approval)) == 1
    assert await decide(world, approval, user=ALICE) == "Approved. The change has begun."


async def test_a_question_that_is_decided_is_not_brought_to_mind(world: PaperWorld) -> None:
    world.with_limits(reminder_s=10.0)
    approval = await ask(world)
    await decide(world, approval, approve=False)
    await pass_s(world, 11.0)
    assert reminders(world, approval) == []


async def test_a_newer_question_replaces_an_older_one(world: PaperWorld) -> None:
    first, second = await ask(world), await ask(world, ("mosaic", "0"))
    assert card(world, first).title == "digits: the change of lr0 0.0005 → 0.0002 is void"
    assert card(world, first).body == ("A newer question replaced it. Nothing was done.",)
    assert await decide(world, first) == "There is no such question (any more)."
    await decide(world, second)
    assert world.launches()[0].endswith("mosaic=0")


async def test_a_run_that_has_changed_since_is_left_alone(world: PaperWorld) -> None:
    approval = await ask(world)
    await world.operations.perform(StopNow(run=RUN, user=BOB))
    await world.operations.settle()
    signals = len(world.signals())
    assert await decide(world, approval) == "The run has changed since; nothing was done."
    assert (len(world.signals()), world.launches()) == (signals, [])
    assert "void" in card(world, approval).title


async def test_two_people_must_agree_where_two_are_asked_for(world: PaperWorld) -> None:
    world.with_limits(approvals_required=2, allow_self_approval=True)
    approval = await ask(world)
    assert await decide(world, approval) == "Your yes is counted; more are needed."
    assert await decide(world, approval) == "Your yes was counted before."
    assert world.signals() == []
    assert await decide(world, approval, user=ALICE) == "Approved. The change has begun."


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ((("lr0", "5"),), "lr0=5: it takes a number from 1e-09 to 1"),
        ((("lr0", "nan"),), "it takes a number"),
        ((("lr0", "1e999"),), "it takes a number"),
        ((("epochs", "1.5"),), "it takes a whole number"),
        ((("epochs", "2"),), "is in epoch 5 already"),
        ((("model", "x.pt"),), "no setting that can be changed from here"),
        ((("project", "/tmp"),), "no setting"),
        ((("lr0", "$(reboot)"),), "it takes a number"),
        ((("lr0", "1_0e-4"),), "it takes a number"),
        ((("lr0", "5e-4"),), "has that already"),
        ((("lr0", "0.00050"), ("epochs", "10")), "has that already"),
    ],
)
async def test_what_the_trainer_might_refuse_is_refused_before_anything_is_asked(
    world: PaperWorld, settings: tuple[tuple[str, str], ...], words: str
) -> None:
    with pytest.raises(CommandError, match=words.replace("(", r"\(")):
        await ask(world, *settings)
    assert world.intents.all(IntentKind.CHANGE) == ()


async def test_of_what_is_asked_for_only_what_changes_is_asked_in_full(world: PaperWorld) -> None:
    approval = await ask(world, ("epochs", "10"), ("lr0", "0.000123456789"))
    assert "epochs" not in card(world, approval).title
    await decide(world, approval)
    assert world.launches()[0].endswith(" lr0=0.000123456789")


@pytest.mark.parametrize("seen_by", ["the one who decides", "a look"])
async def test_an_end_that_the_run_has_passed_meanwhile_is_not_asked_any_more(world: PaperWorld, seen_by: str) -> None:
    """The trainer would refuse it, and the run would stay stopped."""
    approval = await ask(world, ("epochs", "6"))
    world.runs.epoch = 7
    if seen_by == "a look":
        await pass_s(world, 5.0)
    else:
        assert await decide(world, approval) == "The run has changed since; nothing was done."
    assert card(world, approval).body == ("The run has changed since: it is in epoch 7 already. Nothing was done.",)
    assert (world.signals(), world.launches()) == ([], [])


async def test_a_refused_value_is_answered_with_one_that_is_of_use(world: PaperWorld) -> None:
    with pytest.raises(CommandError) as caught:
        await ask(world, ("lr0", "7"))
    assert caught.value.hint == "such as /train set lr0=0.0002"
    assert EXAMPLES.keys() == LIMITS.keys()
    assert [key for key, (low, high) in LIMITS.items() if not low < EXAMPLES[key] < high] == []


async def test_a_question_calls_whom_it_waits_for_and_names_nobody_twice(world: PaperWorld) -> None:
    asked = card(world, await ask(world))
    assert asked.mentions == (BOB,)
    assert asked.context == (f"asked for by {person(ALICE)}, open until {moment(world.clock.ts + 3600.0)}",)
    assert str(asked).count(person(ALICE)) == 1


async def test_a_stopped_run_is_changed_by_hand(world: PaperWorld) -> None:
    await world.operations.perform(StopNow(run=RUN, user=BOB))
    await world.operations.settle()
    with pytest.raises(CommandError, match="run digits is"):
        await ask(world)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"changes": 3}', '{"changes": [{"key": 1}]}'])
def test_a_row_that_cannot_be_read_is_no_question(text: str) -> None:
    assert Proposal.parse(text) is None
