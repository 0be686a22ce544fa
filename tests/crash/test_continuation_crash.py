"""kill -9 of the bot at every boundary of a start by itself: exactly one start, whatever the moment."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from tests.crash.rollback_story import BotProcess, Points, die, kill_trainer
from tests.unit.bot.operations.paper import FAST, PaperWorld
from tests.unit.bot.operations.paper_run import RUN
from trainmaster.bot.core.decisions.going_on import AutoResume
from trainmaster.bot.core.decisions.operation import OperationState
from trainmaster.bot.operations.limits import GoingOnLimits
from trainmaster.bot.storage.audit import AuditLog

pytestmark = pytest.mark.usefixtures("small")

GOING_ON = GoingOnLimits(auto_resume=AutoResume.AUTO, pause_s=0.002, settle_s=0.0, max_age_s=1e12)
LIMITS = replace(FAST, going_on=GOING_ON)


class Continuing(BotProcess):
    """One life of the bot beside a run that died: what is open is taken up, then the run is looked at twice."""

    async def live(self) -> None:
        world = self.world
        await world.operations.recover()
        await world.operations.settle()
        for _ in range(2):
            await world.runs.refresh(RUN)
            world.looks.notice(world.runs.all()[0])
            await world.operations.go_on()
            await world.operations.settle()


def life(folder: Path, points: Points) -> int:
    """One life in a process of its own; how many boundaries it passed, -1 when it was killed."""
    if not (folder / "runs").exists():
        folder.mkdir(parents=True)
        world = PaperWorld(folder, limits=LIMITS)
        process = world.start_run()
        world.looks.notice(world.runs.all()[0])
        world.driver.kill(process.pid, signum=signal.SIGKILL)
        world.database.close()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            bot = Continuing(folder, points, limits=LIMITS)
            asyncio.run(bot.live())
            os.write(writer, str(points.passed).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    passed = os.read(reader, 32)
    os.close(reader)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in {0, -signal.SIGKILL}, f"the bot ended with {code}"
    return int(passed) if code == 0 else -1


def told_of(folder: Path) -> tuple[list[OperationState], int, int, list[str]]:
    """States of its operations, launches, living trainers and what the audit log has of starts."""
    world = PaperWorld(folder, limits=LIMITS)
    states = [one.state for one in world.log.history(RUN, limit=100)]
    living = sum(bool(entry["alive"]) and not entry.get("bot") for entry in world.driver.processes.values())
    audited = [one.action for one in AuditLog(folder / "audit.jsonl").entries(1000)]
    launches = len(world.launches())
    world.database.close()
    return states, launches, living, [one for one in audited if one.startswith("resume.")]


@pytest.mark.timeout(300)
def test_bot_killed_at_every_boundary_of_a_continuation_starts_once(tmp_path: Path) -> None:
    total = life(tmp_path / "count", Points())
    assert total > 12
    for number in range(1, total + 1):
        folder = tmp_path / f"point{number}"
        assert life(folder, Points(last=number, then=die)) == -1
        assert life(folder, Points()) > 0
        states, launches, living, audited = told_of(folder)
        assert (states, launches, living) == ([OperationState.DONE], 1, 1), number
        assert audited == ["resume.begin", "resume.end"], number


@pytest.mark.timeout(300)
def test_bot_killed_at_two_boundaries_in_a_row_starts_once(tmp_path: Path) -> None:
    total = life(tmp_path / "count", Points())
    for number in range(1, total + 1, 3):
        folder = tmp_path / f"point{number}"
        life(folder, Points(last=number, then=die))
        life(folder, Points(last=max(1, (total - number) // 2), then=die))
        life(folder, Points())
        states, launches, living, audited = told_of(folder)
        assert (states, launches, living) == ([OperationState.DONE], 1, 1), number
        assert audited == ["resume.begin", "resume.end"], number


@pytest.mark.timeout(300)
def test_trainer_killed_at_any_boundary_of_a_continuation_is_started_again_and_counted(tmp_path: Path) -> None:
    total = life(tmp_path / "count", Points())
    for number in range(1, total + 1):
        folder = tmp_path / f"point{number}"
        life(folder, Points(last=number, then=kill_trainer(folder)))
        life(folder, Points())
        _, launches, living, _ = told_of(folder)
        assert living == 1, number
        assert launches <= 3, number
