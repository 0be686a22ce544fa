"""The paper world of these tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.bot.operations.paper import PaperWorld


@pytest.fixture
def world(tmp_path: Path) -> PaperWorld:
    """A run in its fifth epoch, trained at level standard, whose fourth is contaminated. Alice and Bob are on call."""
    world = PaperWorld(tmp_path)
    world.start_run()
    return world
