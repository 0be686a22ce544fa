"""kill -9 at every boundary of a rollback and at random moments: exactly one rollback, nothing lost."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from tests.crash.rollback_story import EPOCH_FILES, Points, count_points, die, ending, kill_trainer, live
from trainmaster.bot.core.decisions.operation import OperationState

pytestmark = pytest.mark.usefixtures("small")

NUM_MOMENTS = int(os.environ.get("TRAINMASTER_CRASH_MOMENTS", "30"))
"""200 for a release; the suite has less time."""


@pytest.mark.timeout(300)
def test_bot_killed_at_every_boundary_does_exactly_one_rollback(tmp_path: Path) -> None:
    total = count_points(tmp_path / "count")
    assert total > 40
    for number in range(1, total + 1):
        folder = tmp_path / f"point{number}"
        assert not live(folder, points=Points(last=number, then=die))
        assert live(folder)
        found = ending(folder)
        assert found.healthy, (number, found)
        assert found.audit_intact


@pytest.mark.timeout(300)
def test_bot_killed_twice_in_a_row_does_exactly_one_rollback(tmp_path: Path) -> None:
    total = count_points(tmp_path / "count")
    chance = random.Random(7)
    for round_number in range(15):
        folder = tmp_path / f"round{round_number}"
        first, second = chance.randint(1, total), chance.randint(1, total // 2)
        live(folder, points=Points(last=first, then=die))
        live(folder, points=Points(last=second, then=die))
        live(folder)
        found = ending(folder)
        assert found.healthy, (first, second, found)


@pytest.mark.timeout(900)
def test_bot_killed_at_random_moments_does_exactly_one_rollback(tmp_path: Path) -> None:
    began = time.monotonic()
    live(tmp_path / "undisturbed")
    whole_s = time.monotonic() - began
    chance = random.Random(11)
    for number in range(NUM_MOMENTS):
        folder = tmp_path / f"moment{number}"
        moment_s = chance.uniform(0.0, whole_s)
        live(folder, kill_after_s=moment_s)
        live(folder)
        found = ending(folder)
        assert found.healthy, (number, moment_s, found)
        assert found.audit_intact


@pytest.mark.timeout(300)
@pytest.mark.parametrize("bot_too", [False, True], ids=["trainer only", "trainer and bot"])
def test_trainer_killed_at_any_boundary_loses_nothing_and_leaves_a_word(tmp_path: Path, bot_too: bool) -> None:
    total = count_points(tmp_path / "count")
    for number in range(1, total + 1, 1 if not bot_too else 2):
        folder = tmp_path / f"point{number}"

        def strike(folder: Path = folder) -> None:
            kill_trainer(folder)()
            if bot_too:
                die()

        live(folder, points=Points(last=number, then=strike))
        if bot_too:
            live(folder)
        found = ending(folder)
        told = found.operation.state is OperationState.NEEDS_HUMAN and found.operation.problem
        assert found.healthy or told or found.operation.state is OperationState.DONE, (number, found)
        assert found.files == EPOCH_FILES
        assert found.living_trainers <= 1


@pytest.mark.timeout(300)
def test_bot_killed_while_it_undoes_leaves_the_run_as_it_was(tmp_path: Path) -> None:
    total = count_points(tmp_path / "count", archive_fails=True)
    for number in range(1, total + 1):
        folder = tmp_path / f"point{number}"
        live(folder, points=Points(last=number, then=die), archive_fails=True)
        live(folder, archive_fails=True)
        found = ending(folder)
        assert found.operation.state is OperationState.UNDONE, (number, found)
        assert found.launches == 0
        assert found.living_trainers == 1, (number, found)
        assert found.files == EPOCH_FILES
