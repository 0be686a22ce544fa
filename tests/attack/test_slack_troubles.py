"""Trouble with Slack while a trainer dies, against the bot as a process; every kind: ``make bench ARGS=troubles``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attack.suffering import suffer
from tests.attack.troubles import KINDS

pytestmark = pytest.mark.timeout(240)

BY_NAME = {kind.name: kind for kind in KINDS}


@pytest.mark.parametrize("name", ["never answered", "half an answer, taken", "429 without a time"])
async def test_a_death_is_told_within_10_s_of_slacks_return_once_and_before_lesser_messages(
    tmp_path: Path, name: str
) -> None:
    suffered = await suffer(tmp_path, BY_NAME[name])
    assert suffered.held, suffered


async def test_a_bot_that_begins_while_slack_is_away_tells_it_as_soon_and_needs_no_socket(tmp_path: Path) -> None:
    suffered = await suffer(tmp_path, BY_NAME["503, no sockets"], restarted=True)
    assert suffered.held, suffered
