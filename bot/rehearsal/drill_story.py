"""What a drill plays: NaN, alert, question, approval, rollback. Each step waits until it is seen, and is timed."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from trainmaster.bot.app import App
from trainmaster.bot.core.check_name import CheckName
from trainmaster.bot.core.conversation.message import Message, Tone
from trainmaster.bot.core.conversation.tokens import actor, plain
from trainmaster.bot.core.decisions.approval import Approval, ApprovalState
from trainmaster.bot.core.decisions.operation import Operation, OperationState
from trainmaster.bot.core.run.facts import ProcessIdentity
from trainmaster.bot.core.run.forecast import duration
from trainmaster.bot.core.run.state import RunState
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.drivers.local.environment import trainer_environment
from trainmaster.bot.rehearsal.demo_story import bar
from trainmaster.bot.rehearsal.small_training import Narrator
from trainmaster.trainer.contract import MODULE_ARGV

T = TypeVar("T")

NUM_SPOILT: Final = 5
"""As many as the trainer lets a drill spoil; more than the drill's own limit for a storm, so that the bot asks."""
START_TIMEOUT_S: Final = 300.0
"""Imports, a model build and a first epoch, on a slow laptop with a cold disk."""
STEP_TIMEOUT_S: Final = 120.0
_LOOK_S: Final = 0.1
_TICK_S: Final = 0.5
_REMIND_S: Final = 60.0

Click = Callable[[Approval], Awaitable[None]]


class DrillOver(Exception):  # noqa: N818 - an end, not always a fault
    """The drill ends before the rollback; says why, and what people should do about it."""


@dataclass(kw_only=True)
class Rehearsal:
    """``click`` approves in place of a person; None waits for one as long as ``wait_s``."""

    app: App
    name: str
    run_dir: Path
    trainer: ProcessIdentity
    wait_s: float
    click: Click | None
    took_s: dict[str, float] = field(default_factory=dict)
    first_bad: tuple[int, float] = (0, 0.0)
    """Epoch and time of the first spoilt batch."""

    @property
    def view(self) -> RunView | None:
        """The run as the supervisor knows it."""
        return self.app.supervisor.find(self.name)


async def play(rehearsal: Rehearsal, tell: Narrator, live: Callable[[str], None]) -> None:
    """Every step was seen; ``live`` shows meanwhile how the training goes.

    Raises:
        DrillOver: one was not, or people decided against the rollback.
    """
    ticker = asyncio.create_task(_tick(rehearsal, live))
    try:
        for act in (_trains, _spoilt, _alerted, _asked, _decided, _rolled_back):
            tell.done(await act(rehearsal, tell))
    finally:
        ticker.cancel()


async def _tick(rehearsal: Rehearsal, live: Callable[[str], None]) -> None:
    while True:
        live(bar(rehearsal.view) or "the training starts")
        await asyncio.sleep(_TICK_S)


def opening(name: str) -> Message:
    """What the channel reads first."""
    return Message(
        title=f"{name} begins: nothing here is a real training",
        tone=Tone.NEUTRAL,
        body=(
            "A small training of its own gets spoilt batches. The bot will ask the people on call for a rollback.",
            f"Look at the card and press Approve, as you would at night. Every message of it carries the name {name}.",
        ),
    )


def closing(rehearsal: Rehearsal, problem: str) -> Message:
    """What the channel reads last."""
    times = tuple((label, duration(seconds)) for label, seconds in rehearsal.took_s.items())
    if problem:
        title = f"{rehearsal.name} is over, without a rollback"
        return Message(title=title, tone=Tone.WARNING, body=(problem,), fields=times)
    title = f"{rehearsal.name} is over: rolled back and healthy"
    return Message(title=title, tone=Tone.GOOD, body=("Its training was stopped.",), fields=times)


async def _until(look: Callable[[], T | None], timeout_s: float, what: str) -> T:
    until_s = time.monotonic() + timeout_s
    while (found := look()) is None:
        if time.monotonic() > until_s:
            raise DrillOver(f"{what} was not seen within {duration(timeout_s)}.")
        await asyncio.sleep(_LOOK_S)
    return found


async def _trains(rehearsal: Rehearsal, tell: Narrator) -> str:
    del tell

    def clean_epoch() -> int | None:
        fact = rehearsal.app.driver.inspect(rehearsal.trainer)
        if fact.over:
            raise DrillOver(f"The small training ended before it began, with exit code {fact.exit_code}.")
        view = rehearsal.view
        return view.last_clean.epoch if view and view.state is RunState.TRAINING and view.last_clean else None

    epoch = await _until(clean_epoch, START_TIMEOUT_S, "A first epoch with a clean checkpoint")
    return f"The small training runs; the checkpoint of epoch {epoch} is clean"


async def _spoilt(rehearsal: Rehearsal, tell: Narrator) -> str:
    del tell
    process = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            *MODULE_ARGV,
            "drill",
            str(rehearsal.run_dir),
            "fault=nan-image",
            f"batches={NUM_SPOILT}",
        ),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=trainer_environment({}),
    )
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise DrillOver(f"The fault could not be asked for: {output.decode(errors='replace').strip()[-400:]}")

    def first_bad() -> tuple[int, float] | None:
        view = rehearsal.view
        bad = [one for epoch in view.story() for one in epoch.bad_batches] if view else []
        return (bad[0].epoch, bad[0].ts) if bad else None

    rehearsal.first_bad = await _until(first_bad, STEP_TIMEOUT_S, "A spoilt batch")
    return f"NaN is put into {NUM_SPOILT} batches of epoch {rehearsal.first_bad[0]}: the guard skips them"


async def _alerted(rehearsal: Rehearsal, tell: Narrator) -> str:
    del tell
    view = rehearsal.view
    assert view is not None
    epoch, since_ts = rehearsal.first_bad
    key = f"{view.run}/{CheckName.NONFINITE}/attempt{view.attempt}/epoch{epoch}"
    await _until(lambda: rehearsal.app.outbox.posted(key), STEP_TIMEOUT_S, "The alert in the channel")
    took_s = rehearsal.took_s["NaN to alert"] = max(0.0, time.time() - since_ts)
    return f"The alert is in the channel, {took_s:.1f} s after the first bad batch"


async def _asked(rehearsal: Rehearsal, tell: Narrator) -> str:
    view = rehearsal.view
    assert view is not None

    def asked() -> Approval | None:
        pending = rehearsal.app.operations.pending(view.run)
        return pending if pending and rehearsal.app.outbox.posted(pending.card) else None

    approval = await _until(asked, STEP_TIMEOUT_S, "The question to the people on call")
    rehearsal.took_s["NaN to question"] = max(0.0, time.time() - rehearsal.first_bad[1])
    if rehearsal.click is None:
        tell.note(f"Now somebody on call presses Approve or Reject in the channel; the drill waits {_wait(rehearsal)}.")
    plan = approval.plan
    return f"The bot asks by itself: back to epoch {plan.target.epoch}, level {plan.level_after}, {_votes(approval)}"


async def _decided(rehearsal: Rehearsal, tell: Narrator) -> str:
    view = rehearsal.view
    assert view is not None
    first = rehearsal.app.operations.pending(view.run)
    asked_ts = first.created_ts if first else time.time()
    if rehearsal.click is not None and first is not None:
        await rehearsal.click(first)
    known = first.id if first else ""
    told_s = time.monotonic()

    def operation() -> Operation | None:
        nonlocal known, told_s
        newest = next(iter(rehearsal.app.operations.books.operations.history(view.run, limit=1)), None)
        if newest is not None and newest.state is not OperationState.VOIDED:
            return newest
        _refuse_if_closed(rehearsal, known)
        pending = rehearsal.app.operations.pending(view.run)
        if pending is not None and pending.id != known:
            known = pending.id
            tell.note("The run has gone on to another epoch meanwhile, so the plan is asked anew: press Approve there.")
        if time.monotonic() - told_s > _REMIND_S:
            told_s = time.monotonic()
            tell.note("Still waiting for somebody on call.")
        return None

    try:
        found = await _until(operation, rehearsal.wait_s, "A decision")
    except DrillOver as over:
        if str(over).startswith("A decision"):
            raise DrillOver(f"Nobody on call decided within {_wait(rehearsal)}; its training was stopped.") from over
        raise
    rehearsal.took_s["Question to decision"] = max(0.0, found.created_ts - asked_ts)
    who = ", ".join(plain(actor(user)) for user in found.decided_by)
    return f"Approved by {who} after {duration(rehearsal.took_s['Question to decision'])}"


def _refuse_if_closed(rehearsal: Rehearsal, approval_id: str) -> None:
    """A question that changed was asked again; only a No, or silence, ends the drill."""
    asked = rehearsal.app.operations.books.approvals.get(approval_id)
    if asked is None or asked.state not in {ApprovalState.REJECTED, ApprovalState.EXPIRED}:
        return
    if asked.state is ApprovalState.EXPIRED:
        raise DrillOver("The question expired before anybody on call decided.")
    who = plain(actor(asked.closed_by)) if asked.closed_by else "somebody"
    raise DrillOver(f"{who} rejected the rollback." + (f" Reason: {asked.reason}" if asked.reason else ""))


async def _rolled_back(rehearsal: Rehearsal, tell: Narrator) -> str:
    del tell
    view = rehearsal.view
    assert view is not None

    def over() -> Operation | None:
        newest = next(iter(rehearsal.app.operations.books.operations.history(view.run, limit=1)), None)
        return newest if newest and newest.state is not OperationState.OPEN else None

    operation = await _until(over, START_TIMEOUT_S, "The end of the rollback")
    if operation.state is not OperationState.DONE:
        raise DrillOver(f"The rollback ended as {operation.state}: {operation.problem}")
    took_s = rehearsal.took_s["Approval to healthy"] = operation.updated_ts - operation.created_ts
    return f"Stopped, verified, archived, restored, restarted, healthy again, in {duration(took_s)}"


def _wait(rehearsal: Rehearsal) -> str:
    return duration(rehearsal.wait_s)


def _votes(approval: Approval) -> str:
    return "one person decides" if approval.required == 1 else f"{approval.required} people must agree"
