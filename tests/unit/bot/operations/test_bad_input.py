"""Nonsense from people and forged clicks: an answer, never a traceback, never an act."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.bot.operations.paper import ALICE, BOB, MALLORY, PaperWorld
from tests.unit.bot.operations.paper_run import NAME, RUN
from trainmaster.bot.core.conversation.message import Reply
from trainmaster.bot.core.decisions.order import (
    BringBack,
    ContinueRun,
    Decide,
    ProposeRollback,
    ResumeRun,
    ShowArchives,
    StopAfterEpoch,
    StopNow,
)
from trainmaster.bot.errors import TrainmasterError

WORDS = st.one_of(st.sampled_from([RUN, NAME, "", "latest", "../" * 9, "'; DROP TABLE approvals; --"]), st.text())
USERS = st.one_of(st.sampled_from([MALLORY, "", "U0", "<@U0BOB>", "U0BOB ", "u0bob"]), st.text(max_size=30))
EPOCHS = st.one_of(st.none(), st.integers(), st.sampled_from([0, -1, 5, 6, 2**63]))
LEVELS = st.one_of(st.none(), st.sampled_from(["iron", "strict+", "strict+-1", "STRICT+999999999999"]), st.text())


def quiet_world() -> PaperWorld:
    """One world for all examples: none of them may change it."""
    world = PaperWorld(Path(tempfile.mkdtemp()))
    world.start_run()
    return world


WORLD = quiet_world()


async def answered(call: object) -> None:
    """The call ended in an answer, or in a fault made for people to read."""
    with contextlib.suppress(TrainmasterError):
        assert isinstance(await call, Reply)  # type: ignore[misc]


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(approval=WORDS, user=USERS, approve=st.booleans(), reason=st.text())
def test_forged_clicks_do_nothing(approval: str, user: str, approve: bool, reason: str) -> None:
    asyncio.run(
        answered(WORLD.operations.perform(Decide(approval_id=approval, user=user, approve=approve, reason=reason)))
    )
    assert WORLD.driver.log() == []
    assert WORLD.log.history() == ()


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(run=WORDS, user=USERS, to_epoch=EPOCHS, level=LEVELS)
def test_odd_requests_touch_nothing(run: str, user: str, to_epoch: int | None, level: str | None) -> None:
    call = WORLD.operations.perform(ProposeRollback(run=run, user=user, to_epoch=to_epoch, level=level, dry_run=True))
    asyncio.run(answered(call))
    assert WORLD.driver.log() == []
    assert WORLD.log.history() == ()


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(run=WORDS, user=USERS, word=st.text())
def test_strangers_stop_resume_continue_and_bring_back_nothing(run: str, user: str, word: str) -> None:
    operations = WORLD.operations

    async def try_all() -> None:
        await answered(operations.perform(StopNow(run=run, user=user)))
        await answered(operations.perform(StopAfterEpoch(run=run, user=user)))
        await answered(operations.perform(ResumeRun(run=run, user=user, level=word)))
        await answered(operations.perform(ContinueRun(run=run, user=user, why=word)))
        await answered(operations.perform(BringBack(run=run, user=user, folder=word)))
        await answered(operations.perform(ShowArchives(run=run, user=user)))

    if user not in {ALICE, BOB}:
        asyncio.run(try_all())
    assert WORLD.driver.log() == []
    assert WORLD.log.history() == ()
    assert WORLD.run.record()["state"] == "running"
