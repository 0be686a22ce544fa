"""What people decide while a run is looked at, or a plan made, holds: a look may take seconds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.bot.operations.change.test_changes import ask as ask_change
from tests.unit.bot.operations.change.test_changes import decide as decide_change
from tests.unit.bot.operations.going_on.test_continuation import AUTO, a_world
from tests.unit.bot.operations.paper import ALICE, BOB, CAROL, PaperWorld
from tests.unit.bot.operations.paper_run import RUN
from tests.unit.bot.operations.questions.test_storms import gives_up
from tests.unit.bot.operations.questions.test_storms import look as look_for_storms
from trainmaster.bot.core.decisions.operation import IntentKind, OperationState
from trainmaster.bot.core.decisions.order import (
    ContinueRun,
    Decide,
    Order,
    PauseRun,
    ResumeLater,
    ResumeRun,
    RollBackAfterEpoch,
    StopAfterEpoch,
    StopNow,
)
from trainmaster.bot.core.run.facts import ProcessIdentity
from trainmaster.bot.core.run.launch_spec import LaunchSpec
from trainmaster.bot.errors import ClusterSilentError, CommandError

HOUR_S = 3600.0


def meanwhile(owner: object, look: str, act: Callable[[], Awaitable[object]]) -> None:
    """``act`` is over before the next ``look`` of ``owner`` has an answer."""
    real = getattr(owner, look)

    async def slow(*words: Any, **more: Any) -> Any:
        setattr(owner, look, real)
        found = await real(*words, **more)
        await act()
        return found

    setattr(owner, look, slow)


async def tick(world: PaperWorld, after_s: float = 0.0) -> None:
    world.clock.ts += after_s
    await world.operations.tick(world.clock.now())
    await world.operations.settle()


async def test_change_that_is_rejected_while_the_run_is_looked_at_does_not_begin(world: PaperWorld) -> None:
    approval = await ask_change(world)
    meanwhile(world.runs, "refresh", lambda: decide_change(world, approval, user=ALICE, approve=False))
    assert await decide_change(world, approval) == "There is no such question (any more)."
    assert (world.signals(), world.launches()) == ([], [])
    assert "change.yes" not in {act for _, act in world.audit.entries}


async def test_two_who_agree_to_a_change_at_once_both_count(world: PaperWorld) -> None:
    world.chat.users = frozenset({ALICE, BOB, CAROL})
    world.with_limits(approvals_required=2)
    approval = await ask_change(world)
    meanwhile(world.runs, "refresh", lambda: decide_change(world, approval, user=CAROL))
    assert await decide_change(world, approval) == "Approved. The change has begun."


async def test_change_that_is_rejected_during_a_tick_is_not_brought_to_mind(world: PaperWorld) -> None:
    approval = await ask_change(world)
    world.clock.ts += world.limits.reminder_s
    meanwhile(world.runs, "refresh", lambda: decide_change(world, approval, approve=False))
    await tick(world)
    assert world.intents.all(IntentKind.CHANGE) == ()
    assert world.outbox.posted(f"approval/{approval}/reminder/1") is None


@pytest.mark.parametrize(
    ("planned", "taken_back"),
    [
        pytest.param(StopAfterEpoch(run=RUN, user=BOB), ContinueRun(run=RUN, user=BOB), id="stop after the epoch"),
        pytest.param(PauseRun(run=RUN, user=BOB, until_ts=0.0), StopNow(run=RUN, user=BOB), id="resume at a time"),
    ],
)
async def test_plan_that_is_taken_back_while_its_run_is_looked_at_is_not_carried_out(
    world: PaperWorld, planned: Order, taken_back: Order
) -> None:
    if isinstance(planned, PauseRun):
        planned = replace(planned, until_ts=world.clock.now() + HOUR_S)
    await world.operations.perform(planned)
    await world.operations.settle()
    world.runs.epoch = 6
    before = world.driver.log()
    meanwhile(world.runs, "refresh", lambda: world.operations.perform(taken_back))
    await tick(world, HOUR_S)
    assert world.driver.log() == before


async def test_stop_while_the_gate_looks_is_the_last_word(world: PaperWorld) -> None:
    world.driver.kill(4000)

    async def stop() -> None:
        await world.operations.perform(StopNow(run=RUN, user=ALICE))
        await world.operations.settle()

    meanwhile(world.gate, "look", stop)
    with pytest.raises(CommandError, match="something else"):
        await world.operations.perform(ResumeRun(run=RUN, user=BOB))
    assert world.launches() == []
    await world.operations.perform(ResumeRun(run=RUN, user=BOB))
    await world.operations.settle()
    assert len(world.launches()) == 1


@pytest.mark.parametrize("anew", [False, True], ids=["taken back", "planned anew"])
async def test_resume_is_not_begun_by_a_plan_that_went_while_the_gate_looked(world: PaperWorld, anew: bool) -> None:
    await world.operations.perform(PauseRun(run=RUN, user=BOB, until_ts=world.clock.now() + HOUR_S))
    await world.operations.settle()
    later = ResumeLater(run=RUN, user=BOB, due_ts=world.clock.now() + 3 * HOUR_S)
    meanwhile(world.gate, "look", lambda: world.operations.perform(later if anew else StopNow(run=RUN, user=BOB)))
    await tick(world, HOUR_S)
    assert world.launches() == []
    assert bool(world.intents.all(IntentKind.RESUME_AT)) is anew
    await tick(world, 2 * HOUR_S)
    assert len(world.launches()) == anew


async def test_rollback_at_the_epochs_end_that_is_taken_back_while_it_is_planned_does_not_begin(
    world: PaperWorld,
) -> None:
    approval = await world.ask()
    await world.operations.perform(RollBackAfterEpoch(approval_id=approval, user=BOB, channel="C0TRAIN"))
    world.runs.epoch = 6
    back = ContinueRun(run=RUN, user=BOB)
    meanwhile(world.forensics, "catalog", lambda: world.operations.perform(back))
    await tick(world)
    assert (world.signals(), world.log.history(RUN), world.operations.pending(RUN)) == ([], (), None)


@pytest.mark.parametrize("approve", [False, True], ids=["rejected", "one of two yes"])
async def test_answer_to_a_question_that_is_planned_anew_meanwhile_counts(world: PaperWorld, approve: bool) -> None:
    world.chat.users = frozenset({ALICE, BOB, CAROL})
    world.with_limits(approvals_required=2, question_renew_s=0.0)
    approval = await world.ask()
    world.runs.epoch = 6
    answer = Decide(approval_id=approval, user=BOB, approve=approve)
    meanwhile(world.forensics, "catalog", lambda: world.operations.perform(answer))
    await tick(world, 0.0 if approve else world.limits.reminder_s)
    pending = world.operations.pending(RUN)
    assert (pending is not None) is approve
    if pending is not None:
        assert pending.id != approval
        assert [vote.user for vote in pending.votes] == [BOB]


async def test_question_of_a_person_stands_where_a_storm_is_planned_for_meanwhile(world: PaperWorld) -> None:
    gives_up(world)
    asked: list[str] = []

    async def ask() -> None:
        asked.append(await world.ask(to_epoch=2))

    meanwhile(world.forensics, "catalog", ask)
    await look_for_storms(world)
    pending = world.operations.pending(RUN)
    assert pending is not None
    assert [pending.id] == asked


async def test_hang_that_a_person_stops_meanwhile_is_one_stop_on_record(tmp_path: Path) -> None:
    world = a_world(tmp_path, replace(AUTO, stop_hangs=True))
    world.runs.stuck = True
    now_s = [0.0]
    world.operations.steady = lambda: now_s[0]
    world.operations.__post_init__()
    await world.operations.go_on()
    now_s[0] = 10 * HOUR_S
    meanwhile(world.runs, "refresh", lambda: world.operations.perform(StopNow(run=RUN, user=BOB)))
    await world.operations.go_on()
    await world.operations.settle()
    assert [who for who, act in world.audit.entries if act == "stop.begin"] == [BOB]


async def test_stop_now_ends_what_a_cluster_took_though_its_answer_was_lost(world: PaperWorld) -> None:
    approval = await world.ask()
    launch = world.driver.launch

    def lost(spec: LaunchSpec) -> ProcessIdentity:
        launch(spec)
        raise ClusterSilentError("cluster-silent", "the controller gives no answer.")

    world.driver.launch, world.runs.silent = lost, True  # type: ignore[method-assign]
    await world.operations.perform(Decide(approval_id=approval, user=BOB, approve=True))
    await world.launched()
    await world.operations.perform(StopNow(run=RUN, user=BOB))
    await world.operations.settle()
    operation = world.log.get(approval)
    assert operation is not None
    assert operation.state is OperationState.ABORTED
    assert not any(one["alive"] for one in world.driver.processes.values())
