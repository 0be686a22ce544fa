"""Decisions that are asked for where few would see them, cards that stand twice, and what status says is planned."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from tests.support.outboxes import FakeOutbox
from tests.support.worlds import ANNA, BEN, CommandWorld, FakeOperations, FakeRoles, FakeRuns
from tests.unit.conftest import Look
from trainmaster.bot.core.conversation.message import ActionId, Message, Reply
from trainmaster.bot.core.conversation.request import Origin, Press, Request
from trainmaster.bot.core.decisions.order import Order, ProposeRollback
from trainmaster.bot.errors import CommandError
from trainmaster.commands import COMMANDS, dispatch


@dataclass
class Asking(FakeOperations):
    """Keeps where the card was asked for."""

    places: list[tuple[str | None, str | None]] = field(default_factory=list)

    async def perform(self, order: Order) -> Reply:
        if not isinstance(order, ProposeRollback):
            return await super().perform(order)
        self.places.append((order.channel, order.thread_of))
        return Reply(message=Message(title="Rollback of digits: asked"), private=True, card="approval/a1")


@pytest.fixture
def asking() -> Asking:
    return Asking()


@pytest.fixture
def world(look: Look, asking: Asking) -> CommandWorld:
    outbox = FakeOutbox({("C1", "5.0"): "approval/a1"})
    roles = FakeRoles(members=frozenset({ANNA, BEN}))
    return CommandWorld(runs=FakeRuns([look()]), outbox=outbox, operations=asking, roles=roles)


async def say(world: CommandWorld, channel: str, words: str = "execute rollback") -> Reply:
    request = Request(origin=Origin.DIRECT, user=BEN, channel=channel, text=words)
    context = replace(
        world.context,
        link=lambda posted: f"https://slack/{posted.channel}/{posted.ts}",
        planned=lambda run: (f"Planned: {run} will be stopped after epoch 3.",),
    )
    return await dispatch(request, context, COMMANDS)


@pytest.mark.parametrize("channel", ["D0BEN", "C0ELSEWHERE"], ids=["direct message", "channel without the bot"])
async def test_a_card_asked_for_where_few_see_it_stands_in_the_alert_channel_and_is_linked(
    world: CommandWorld, asking: Asking, channel: str
) -> None:
    reply = await say(world, channel)
    assert asking.places == [(None, None)]
    assert "https://slack/C1/5.0" in reply.message.body[-1]
    assert "alert channel" in reply.message.body[-1]


async def test_a_card_asked_for_where_everybody_sees_it_stays_there(world: CommandWorld, asking: Asking) -> None:
    reply = await say(world, "C1")
    assert asking.places == [("C1", None)]
    assert not any("https://slack" in line for line in reply.message.body)


@pytest.mark.parametrize(
    ("twins", "channel", "counts"),
    [
        pytest.param({"approval/a1"}, "C1", True, id="its twin, in its channel"),
        pytest.param({"approval/a1"}, "C2", False, id="a copy in another channel"),
        pytest.param(set(), "C1", False, id="no twin is known of"),
    ],
)
async def test_the_twin_of_a_card_whose_first_post_was_lost_works(
    world: CommandWorld, twins: set[str], channel: str, counts: bool
) -> None:
    world.outbox.twins = twins
    press = Press(action=ActionId.APPROVE, value="a1", user=BEN, channel=channel, message_ts="4.0")
    if counts:
        await world.handler.action(press)
    else:
        with pytest.raises(CommandError, match="another message"):
            await world.handler.action(press)
    assert len(world.operations.asked) == counts


async def test_status_says_what_is_planned(world: CommandWorld) -> None:
    reply = await say(world, "C1", "status")
    assert "Planned: digits-0001 will be stopped after epoch 3." in reply.message.body
