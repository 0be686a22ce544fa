"""One real training, made once, whose run directory each test has a copy of; and Slack, strict."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.attack.material import make_paced_material
from tests.attack.strict_slack import StrictSlack
from tests.support.made_once import made_once


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """See :func:`make_paced_material`."""
    return made_once(tmp_path_factory, "material", make_paced_material)


@pytest.fixture
async def slack() -> AsyncIterator[StrictSlack]:
    """At the end it has seen nothing that Slack would have refused."""
    slack = await StrictSlack.start()
    yield slack
    await slack.close()
    assert slack.breaches == []
