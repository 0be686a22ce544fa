"""A stop offers a resume in one place, and only as long as the run stands still."""

from __future__ import annotations

from dataclasses import replace

from tests.support.run_dirs import START_TS
from tests.unit.bot.operations.paper import BOB, PaperWorld
from tests.unit.bot.operations.paper_run import RUN
from trainmaster.bot.core.alerts.finding import Finding, Nature, Severity
from trainmaster.bot.core.check_name import CheckName
from trainmaster.bot.core.conversation.message import ActionId, Button
from trainmaster.bot.core.decisions.order import StopNow
from trainmaster.bot.core.decisions.start_word import StartWord


async def stop(world: PaperWorld, thread_of: str | None = None) -> str:
    await world.operations.perform(StopNow(run=RUN, user=BOB, thread_of=thread_of))
    await world.operations.settle()
    (stopped,) = world.log.history(RUN)
    return stopped.card


def offers(world: PaperWorld, card: str) -> list[ActionId]:
    return [one.action for one in world.outbox.last(card).buttons]


def alert_of_the_stop(attempt: int = 1) -> Finding:
    button = Button(action=ActionId.RESUME_RUN, label="Resume", value=StartWord(run=RUN, attempt=attempt).text)
    return Finding(
        run=RUN,
        check=CheckName.RUN_STOPPED,
        key=f"attempt{attempt}/7",
        severity=Severity.INFO,
        nature=Nature.OCCURRENCE,
        ts=START_TS,
        title="digits: training stopped on request",
        buttons=(button,),
    )


async def test_a_stop_offers_nothing_any_more_once_the_run_goes_on_however_it_did(world: PaperWorld) -> None:
    card = await stop(world)
    (view,) = world.runs.all()
    world.looks.notice(view)
    assert ActionId.RESUME_RUN in offers(world, card)
    world.looks.notice(replace(view, record=replace(view.record, attempt=2)))  # type: ignore[type-var]  # it has one
    assert not {ActionId.RESUME_RUN, ActionId.PROPOSE_ROLLBACK} & set(offers(world, card))
    assert world.outbox.last(card).body[-1] == "It went on, as attempt 2."
    versions = len(world.outbox.versions[card])
    world.looks.stop_offers.notice(replace(view, record=replace(view.record, attempt=3)))  # type: ignore[type-var]
    assert len(world.outbox.versions[card]) == versions


async def test_the_alert_about_a_stop_of_the_bot_does_not_offer_the_resume_a_second_time(world: PaperWorld) -> None:
    await stop(world)
    (view,) = world.runs.all()
    (told,) = world.looks.told(view, [alert_of_the_stop()])
    assert told.buttons == ()
    other = alert_of_the_stop(attempt=2)
    assert world.looks.stop_offers.told_once(view, [other]) == [other], "a stop by hand, which no message told"


async def test_a_stop_that_was_told_in_a_thread_leaves_the_alert_its_button(world: PaperWorld) -> None:
    await stop(world, thread_of="some/alert")
    (view,) = world.runs.all()
    (told,) = world.looks.stop_offers.told_once(view, [alert_of_the_stop()])
    assert told.buttons


def death(attempt: int = 1) -> Finding:
    return Finding(
        run=RUN,
        check=CheckName.PROCESS_DIED,
        key=f"attempt{attempt}",
        severity=Severity.CRITICAL,
        nature=Nature.CONDITION,
        ts=START_TS,
        title="digits: the training process died at epoch 4, batch 7",
    )


async def test_a_trainer_that_a_stop_ended_without_a_word_of_its_own_has_not_died(world: PaperWorld) -> None:
    (view,) = world.runs.all()
    assert [one.check for one in world.looks.told(view, [death()])] == [CheckName.PROCESS_DIED]
    await stop(world)
    (view,) = world.runs.all()
    assert world.looks.told(view, [death()]) == []
    later = replace(view, record=replace(view.record, attempt=2))  # type: ignore[type-var]  # it has one
    assert [one.check for one in world.looks.told(later, [death(2)])] == [CheckName.PROCESS_DIED]
