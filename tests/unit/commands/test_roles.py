"""Who may do what: people on call, members, guests, people of other workspaces."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.worlds import ANNA, CommandWorld, FakeAlerts, FakeRoles, nonfinite_alert
from trainmaster.bot.core.conversation.message import ActionId
from trainmaster.bot.core.conversation.request import Origin, Press, Request
from trainmaster.bot.core.conversation.standing import Standing
from trainmaster.bot.errors import CommandError

ON_CALL, MEMBER, GUEST, OUTSIDER = ANNA, "U0MEM", "U0GUEST", "U0OUT"
CARE = [ActionId.ACK, ActionId.SILENCE, ActionId.UNSILENCE]
EVERY_BUTTON = list(ActionId)


class Office(CommandWorld):
    """A workspace with a guest and a stranger; the loss of digits is not finite."""

    def __init__(self, *, members_care: bool = False) -> None:
        super().__init__(
            alerts=FakeAlerts([nonfinite_alert()]),
            roles=FakeRoles({GUEST: Standing.GUEST}, members=frozenset({ON_CALL, MEMBER, GUEST})),
            members_care=members_care,
        )

    def on_record(self) -> list[tuple[str, str, str]]:
        return [
            (who, what, outcome) for (who, what), outcome in zip(self.audit.entries, self.audit.outcomes, strict=True)
        ]

    async def press(self, action: ActionId, user: str, **more: Any) -> object:
        value = self.alerts.alerts[0].fingerprint if action in CARE else "digits-0001"
        return await self.handler.action(
            Press(action=action, value=value, user=user, channel="C1", message_ts="5.0", **more)
        )

    async def say(self, text: str, user: str, channel: str = "C1", **more: Any) -> object:
        return await self.handler.command(Request(origin=Origin.MENTION, user=user, channel=channel, text=text, **more))


@pytest.mark.parametrize("user", [MEMBER, GUEST, OUTSIDER])
@pytest.mark.parametrize("action", CARE)
async def test_only_people_on_call_take_and_silence_alerts(action: ActionId, user: str) -> None:
    office = Office()
    with pytest.raises(CommandError, match="only people on call may"):
        await office.press(action, user)
    assert not office.alerts.acked
    assert not office.alerts.silenced
    assert office.on_record() == [(user, "person.refused", "not among people on call")]


@pytest.mark.parametrize("words", ["ack", "silence 2h", "silence 2h for digits", "unsilence"])
@pytest.mark.parametrize("channel", ["C1", "D0GUEST"])
async def test_words_of_a_guest_silence_nothing(words: str, channel: str) -> None:
    office = Office()
    with pytest.raises(CommandError, match="only people on call"):
        await office.say(words, GUEST, channel)
    assert not office.alerts.silenced
    assert office.on_record()[0][:2] == (GUEST, "person.refused")


async def test_members_of_the_channel_may_where_that_is_set_and_guests_and_outsiders_never() -> None:
    office = Office(members_care=True)
    await office.press(ActionId.ACK, MEMBER)
    assert office.on_record() == [(MEMBER, "alert.acked", "done")]
    for user in (GUEST, OUTSIDER):
        with pytest.raises(CommandError, match="members of the alert channel"):
            await office.press(ActionId.SILENCE, user)
    assert not office.alerts.silenced


@pytest.mark.parametrize("action", [one for one in EVERY_BUTTON if one is not ActionId.DETAILS])
async def test_guest_who_is_on_call_does_not_act(action: ActionId) -> None:
    office = Office()
    office.roles.standings[ON_CALL] = Standing.GUEST
    with pytest.raises(CommandError, match="your account is a guest"):
        await office.press(action, ON_CALL)
    assert office.operations.asked == []


@pytest.mark.parametrize("action", EVERY_BUTTON)
async def test_click_of_another_workspace_is_refused_and_on_record(action: ActionId) -> None:
    office = Office()
    with pytest.raises(CommandError, match="only people of this workspace"):
        await office.press(action, ON_CALL, foreign="T0EVIL")
    assert office.operations.asked == []
    assert office.on_record() == [(ON_CALL, "person.refused", "of workspace T0EVIL")]


@pytest.mark.parametrize("words", ["stop now", "status", "ack", "help"])
async def test_words_of_another_workspace_are_refused(words: str) -> None:
    office = Office()
    with pytest.raises(CommandError, match="only people of this workspace"):
        await office.say(words, ON_CALL, foreign="T0EVIL")


async def test_who_somebody_is_must_not_delay_an_emergency_stop() -> None:
    office = Office()
    office.roles.standings[ON_CALL] = Standing.UNKNOWN
    await office.press(ActionId.ACK, ON_CALL)
    assert office.on_record() == [(ON_CALL, "alert.acked", "done")]


async def test_silence_in_a_direct_message_is_said_in_public() -> None:
    office = Office()
    await office.say("silence 2h", ON_CALL, "D0ANNA")
    ((message,),) = office.outbox.versions.values()
    assert ": silent for 2 h" in message.title
    assert "Silenced by" in message.body[0]
    assert office.on_record() == [(ON_CALL, "alert.silenced", "done")]


async def test_direct_message_of_somebody_outside_the_channel_asks_for_nothing() -> None:
    office = Office()
    with pytest.raises(CommandError, match="only members of the alert channel"):
        await office.say("execute rollback", OUTSIDER, "D0OUT")
    with pytest.raises(CommandError, match="only members of the alert channel"):
        await office.say("execute rollback", OUTSIDER, "C0GROUP", group_direct=True)
    assert office.operations.asked == []


async def test_command_that_was_said_long_ago_asks_back() -> None:
    office = Office()
    with pytest.raises(CommandError, match="nothing was done"):
        await office.say("ack", ON_CALL, ts=str(office.clock.now() - 121))
    assert not office.alerts.acked
    await office.say("ack", ON_CALL, ts=str(office.clock.now() - 119))
    assert office.alerts.acked
