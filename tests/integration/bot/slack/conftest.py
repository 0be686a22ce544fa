from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.integration.bot.slack.scene import Scene, connected


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    async with connected() as running:
        yield running
