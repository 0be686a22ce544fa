"""One real training, made once, whose run directory each test has a copy of; and Slack, strict."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.attack.living import train, trained
from tests.attack.strict_slack import StrictSlack
from tests.integration.trainer.conftest import TINY_MODEL


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``digits/data.yaml``, ``tiny.yaml`` and, in ``runs/digits``, a run stopped in its third epoch."""
    from trainer.digits import make

    folder = tmp_path_factory.mktemp("material")
    make(folder / "digits", images=160, imgsz=64, digits=160, progress=False)
    (folder / "tiny.yaml").write_text(TINY_MODEL, encoding="utf-8")
    process = train(folder, folder)
    try:
        asyncio.run(trained(folder / "runs" / "digits", 3, 2))
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 3
    finally:
        process.kill()
        process.wait()
    return folder


@pytest.fixture
async def slack() -> AsyncIterator[StrictSlack]:
    """At the end it has seen nothing that Slack would have refused."""
    slack = await StrictSlack.start()
    yield slack
    await slack.close()
    assert slack.breaches == []
