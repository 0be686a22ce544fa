"""Buttons: each does what it says, on what its value names, for whom it may."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.support.outboxes import FakeOutbox
from tests.support.worlds import BEN, CommandWorld, FakeAlerts, FakeRuns, nonfinite_alert
from tests.unit.conftest import Look
from trainmaster.bot.core.alerts.alert import Alert, AlertState
from trainmaster.bot.core.alerts.finding import Severity
from trainmaster.bot.core.conversation.message import ActionId, Button, Message, Reply, Tone
from trainmaster.bot.core.conversation.request import Origin, Press, Request
from trainmaster.bot.core.decisions.order import ContinueRun, Decide, ProposeRollback, ResumeRun, RollBackAfterEpoch
from trainmaster.bot.core.decisions.start_word import StartWord, all_of
from trainmaster.bot.errors import CommandError
from trainmaster.commands import COMMANDS, dispatch
from trainmaster.commands.request_handler import RequestHandler, details_key

FINGERPRINT = "digits-0001/nonfinite/attempt1/epoch1"


class World(CommandWorld):
    async def press(self, action: ActionId, value: str, *, reason: str = "", **more: Any) -> object:
        press = Press(action=action, value=value, user=BEN, channel="C1", message_ts="5.0", reason=reason, **more)
        return await self.handler.action(press)


@pytest.fixture
def world(look: Look) -> World:
    return World(
        runs=FakeRuns([look()]),
        alerts=FakeAlerts([nonfinite_alert(Severity.WARNING)]),
        outbox=FakeOutbox({("C1", "5.0"): FINGERPRINT}),
    )


@pytest.mark.parametrize(
    ("place", "counts"),
    [
        pytest.param(("C1", "5.0"), True, id="on its card"),
        pytest.param(None, True, id="card sent a moment ago, its place not known yet"),
        pytest.param(("C1", "4.0"), False, id="on another message"),
        pytest.param(("C2", "5.0"), False, id="in another channel"),
    ],
)
@pytest.mark.parametrize("action", [ActionId.APPROVE, ActionId.REJECT])
async def test_a_decision_counts_on_its_own_card_only(
    world: World, action: ActionId, place: tuple[str, str] | None, counts: bool
) -> None:
    if place is not None:
        world.outbox.keys[place] = "approval/a1"
    if counts:
        await world.press(action, "a1")
    else:
        with pytest.raises(CommandError, match="another message"):
            await world.press(action, "a1")
    assert len(world.operations.asked) == counts


@pytest.mark.parametrize(
    ("action", "reason", "asked"),
    [
        pytest.param(ActionId.APPROVE, "", Decide(approval_id="a1", user=BEN, approve=True), id="approve"),
        pytest.param(
            ActionId.REJECT,
            "too early",
            Decide(approval_id="a1", user=BEN, approve=False, reason="too early"),
            id="reject",
        ),
    ],
)
async def test_a_decision_goes_to_the_approval_named(
    world: World, action: ActionId, reason: str, asked: Decide
) -> None:
    await world.press(action, "a1", reason=reason)
    assert world.operations.asked == [asked]


async def test_propose_rollback_and_continue_act_on_the_run_named(world: World) -> None:
    await world.press(ActionId.PROPOSE_ROLLBACK, "digits-0001")
    await world.press(ActionId.CONTINUE_RUN, "digits-0001", reason="one bad image")
    assert world.operations.asked == [
        ProposeRollback(run="digits-0001", user=BEN, channel="C1", thread_of=FINGERPRINT),
        ContinueRun(run="digits-0001", user=BEN, channel="C1", why="one bad image"),
    ]


@pytest.mark.parametrize("action", [ActionId.PROPOSE_ROLLBACK, ActionId.CONTINUE_RUN])
async def test_a_forged_run_is_refused(world: World, action: ActionId) -> None:
    with pytest.raises(CommandError, match="no longer watched"):
        await world.press(action, "../../etc")
    assert world.operations.asked == []


async def test_ack_is_told_by_the_alert_itself(world: World) -> None:
    assert await world.press(ActionId.ACK, FINGERPRINT) is None
    assert world.alerts.acked == [(FINGERPRINT, "U0BEN")]


async def test_silence_lasts_what_the_button_means(world: World) -> None:
    await world.press(ActionId.SILENCE, FINGERPRINT)
    assert world.alerts.silenced == [(FINGERPRINT, world.clock.now() + 7200.0)]


async def test_unsilence_is_told_by_the_alert_itself(world: World) -> None:
    world.alerts.silence_where("U0ANNA", world.clock.now() + 60, world.clock.now(), run="digits-0001")
    assert await world.press(ActionId.UNSILENCE, FINGERPRINT) is None
    assert world.alerts.book == []
    with pytest.raises(CommandError, match="is not silenced"):
        await world.press(ActionId.UNSILENCE, FINGERPRINT)


@pytest.mark.parametrize("action", [ActionId.ACK, ActionId.SILENCE])
async def test_an_alert_that_is_over_is_refused(world: World, action: ActionId) -> None:
    with pytest.raises(CommandError, match="no longer fires"):
        await world.press(action, "digits-0001/other/x")


async def test_only_whole_commands_are_answered_in_a_thread_and_only_under_our_messages(world: World) -> None:
    assert world.handler.is_command("status")
    assert not world.handler.is_command("status is bad today")
    assert world.handler.is_ours("C1", "5.0")
    assert not world.handler.is_ours("C1", "6.0")


async def test_words_reach_the_commands(world: World) -> None:
    request = Request(origin=Origin.MENTION, user="U0BEN", channel="C1", text="runs")
    reply = await world.handler.command(request)
    assert reply is not None
    assert reply.message.title == "1 run, 1 at work"


async def test_details_are_put_into_the_thread_of_their_message_as_they_now_are(world: World) -> None:
    key = FINGERPRINT
    details = Message(title="digits: details", fields=(("Loss", "nan"),))
    world.outbox.put(key, Message(title="digits: loss is not finite", details=details))
    assert await world.press(ActionId.DETAILS, key) is None
    assert world.outbox.last(details_key(key)) == details
    assert world.outbox.threads[details_key(key)] == key


async def test_details_that_stand_in_the_thread_are_said_to_be_there(world: World) -> None:
    world.outbox.keys["C1", "6.0"] = details_key(FINGERPRINT)
    world.outbox.put(FINGERPRINT, Message(title="digits: x", details=Message(title="digits: details")))
    reply = await world.press(ActionId.DETAILS, FINGERPRINT)
    assert isinstance(reply, Reply)
    assert (reply.private, reply.message.title) == (True, "The details are in the thread.")


async def test_message_without_details_says_so(world: World) -> None:
    with pytest.raises(CommandError, match="nothing more to tell"):
        await world.press(ActionId.DETAILS, "forged")


async def test_resume_and_the_end_of_the_epoch_are_asked_of_the_operations(world: World) -> None:
    await world.press(ActionId.RESUME_RUN, "digits-0001")
    await world.press(ActionId.ROLL_BACK_AFTER_EPOCH, "a1")
    assert [type(one) for one in world.operations.asked] == [ResumeRun, RollBackAfterEpoch]


def dead(
    number: int, *, told_with: str | None = None, state: AlertState = AlertState.FIRING, asked: bool = True
) -> Alert:
    """The alert of a death, told in the message of ``told_with``."""
    run = f"night-{number}"
    word = StartWord(run=run, attempt=number).text
    small = StartWord(run=run, attempt=number, batch=8).text
    buttons = tuple(Button(action=ActionId.RESUME_RUN, label="Resume", value=one) for one in (small, word))
    base = nonfinite_alert(Severity.CRITICAL)
    finding = replace(base.finding, run=run, check="process_died", key="attempt1", buttons=buttons if asked else ())
    return replace(base, finding=finding, state=state, told_with=told_with)


async def test_one_press_resumes_every_run_of_a_message_that_waits_for_it(world: World) -> None:
    first = dead(1)
    world.alerts.alerts = [
        first,
        dead(2, told_with=first.fingerprint),
        dead(3, told_with=first.fingerprint, state=AlertState.RESOLVED),
        dead(4, told_with=first.fingerprint, asked=False),
        dead(5),
    ]
    reply = await world.press(ActionId.RESUME_RUN, all_of(first.fingerprint))
    assert isinstance(reply, Reply)
    assert reply.message.title == "Resuming 2 of 2 runs"
    orders = [one for one in world.operations.asked if isinstance(one, ResumeRun)]
    assert [(one.run, one.attempt, one.batch, one.anyway) for one in orders] == [
        ("night-1", 1, None, False),
        ("night-2", 2, None, False),
    ]


async def test_run_of_many_that_can_not_be_resumed_is_named_and_keeps_no_other(world: World) -> None:
    first = dead(1)
    world.alerts.alerts = [first, *(dead(number, told_with=first.fingerprint) for number in (2, 3, 4))]
    world.operations.answers = {
        "night-2": CommandError("said-before", "night-2 has had attempt 3 since.", "/train status"),
        "night-3": Reply(message=Message(title="night-3 was not started: GPU 0 is lost", tone=Tone.WARNING)),
    }
    reply = await world.press(ActionId.RESUME_RUN, all_of(first.fingerprint))
    assert isinstance(reply, Reply)
    assert reply.message.title == "Resuming 2 of 4 runs"
    assert reply.message.body == (
        "night-2 has had attempt 3 since. Hint: /train status",
        "night-3 was not started: GPU 0 is lost",
    )


@pytest.mark.parametrize("left", [[], [dead(1, state=AlertState.RESOLVED)], [dead(1, asked=False)]])
async def test_message_whose_runs_all_go_on_resumes_none(world: World, left: list[Alert]) -> None:
    world.alerts.alerts = left
    with pytest.raises(CommandError, match="no run of this message waits"):
        await world.press(ActionId.RESUME_RUN, all_of(dead(1).fingerprint))
    assert world.operations.asked == []


@pytest.mark.parametrize("action", [one for one in ActionId if one is not ActionId.DETAILS])
async def test_a_press_that_comes_minutes_late_asks_back_and_does_nothing(world: World, action: ActionId) -> None:
    if action in {ActionId.APPROVE, ActionId.REJECT}:
        world.outbox.keys["C1", "5.0"] = "approval/a1"
    with pytest.raises(CommandError, match="reached me only now"):
        await world.press(action, "digits-0001", pressed_ts=world.clock.now() - 121)
    assert world.operations.asked == []
    assert world.alerts.acked == []
    assert world.alerts.silenced == []


async def test_a_press_of_now_and_a_form_that_took_long_to_write_count(world: World) -> None:
    await world.press(ActionId.APPROVE, "a1", pressed_ts=world.clock.now() - 60)
    await world.press(ActionId.REJECT, "a1", pressed_ts=world.clock.now() - 600, by_form=True)
    assert len(world.operations.asked) == 2


@pytest.mark.parametrize("action", [ActionId.CONTINUE_RUN, ActionId.PROPOSE_ROLLBACK])
async def test_a_press_of_before_the_attempt_it_would_act_on_asks_back(
    world: World, look: Look, action: ActionId
) -> None:
    view = look()
    assert view.record is not None
    began_ts = world.clock.now() - 10
    world.runs.views = [replace(view, record=replace(view.record, started_ts=began_ts))]
    with pytest.raises(CommandError, match="before attempt"):
        await world.press(action, view.run, pressed_ts=began_ts - 30)
    assert world.operations.asked == []
    await world.press(action, view.run, pressed_ts=began_ts + 1)
    assert len(world.operations.asked) == 1


@pytest.mark.parametrize(
    ("action", "other"),
    [
        (ActionId.ACK, "pid 7 on gpu03"),
        (ActionId.SILENCE, "pid 7 on gpu03"),
        (ActionId.UNSILENCE, "pid 7 on gpu03"),
        (ActionId.ACK, ""),
        (ActionId.SILENCE, ""),
    ],
)
async def test_only_the_bot_that_tells_an_alert_takes_and_silences_it(
    world: World, action: ActionId, other: str
) -> None:
    context = replace(world.context, told_by=lambda key: other if key.startswith("digits-0001/") else "")
    handler = RequestHandler(context, silence_s=60.0, notify=lambda: None)
    press = Press(action=action, value=FINGERPRINT, user=BEN, channel="C1", message_ts="5.0")
    if other:
        with pytest.raises(CommandError, match=r"another Trainmaster tells the alerts here \(pid 7 on gpu03\)"):
            await handler.action(press)
    else:
        await handler.action(press)
    done = [*world.alerts.acked, *world.alerts.silenced]
    assert len(done) == (0 if other else 1)


async def test_a_command_about_alerts_is_not_carried_out_by_the_bot_that_tells_none(world: World) -> None:
    context = replace(world.context, told_by=lambda _: "pid 7 on gpu03")
    for text in ("ack", "silence 2h", "unsilence"):
        request = Request(origin=Origin.SLASH, user=BEN, channel="C1", text=text)
        with pytest.raises(CommandError, match="another Trainmaster tells the alerts here"):
            await dispatch(request, context, COMMANDS)
    assert world.alerts.acked == []
