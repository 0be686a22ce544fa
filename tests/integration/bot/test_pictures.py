"""From a bad batch to its picture, in the message that told of it: real app, real drawing, real upload."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.integration.bot.world import CHANNEL, World, now_s, text_of
from tests.support.ready_python import ready_python
from trainmaster.trainer.contract import replace_json

pytest.importorskip("matplotlib")

DRAWS = ("matplotlib.figure", "matplotlib.backends.backend_agg", "PIL.PngImagePlugin")
PICTURE_S = 90.0
"""On a busy machine with a matplotlib that begins; the target on a quiet one is 10 s."""


@pytest.fixture(scope="module")
def drawing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A Python that has matplotlib. It takes a second to load, and most tests draw several times."""
    with ready_python(tmp_path_factory.mktemp("drawing"), *DRAWS) as program:
        yield program


@pytest.fixture
def trained(world: World, drawing: Path) -> World:
    """A run whose Python can draw, with rows and an incident."""
    world.run.record(python=str(drawing))
    for batch in range(1, 41):
        world.run.series(epoch=1, batch=batch, loss=2.0, lr=0.0005, grad_norm_p50=3.0, grad_norm_max=6.0)
    folder = world.run.layout.incidents / "0001"
    folder.mkdir(parents=True)
    replace_json(folder / "incident.json", {"epoch": 1, "batch": 42, "images": ["/d/x.png"], "bad_images": [0]})
    return world


def images(message: dict[str, Any]) -> list[dict[str, Any]]:
    return [block for block in message.get("blocks", ()) if block["type"] == "image"]


async def told(world: World) -> dict[str, Any]:
    world.run.bad_batch(1, 42, now_s())
    return await world.see("loss is not finite in epoch 1, batch 42")


async def shown(world: World, *words: str) -> dict[str, Any]:
    return await world.see("slack_file", *words, timeout_s=PICTURE_S)


async def test_the_alert_comes_at_once_and_its_pictures_join_the_same_message(trained: World) -> None:
    trained.run.record(python=sys.executable)  # as it is started
    await trained.start_bot()
    began_s = time.monotonic()
    alert = await told(trained)
    assert images(alert) == []
    with_pictures = await shown(trained, "loss is not finite")
    print(f"pictures after {time.monotonic() - began_s:.1f} s")
    assert with_pictures["ts"] == alert["ts"]
    curves, sheet = images(with_pictures)
    assert "A spike, not a trend: before the bad batch the loss moved by +0 %" in curves["alt_text"]
    assert "Suspected: x.png." in sheet["alt_text"]
    kinds = [block["type"] for block in with_pictures["blocks"]]
    assert kinds.index("image") > kinds.index("actions")
    for image in (curves, sheet):
        file = trained.workspace.state.files[image["slack_file"]["id"]]
        async with aiohttp.ClientSession() as session, session.get(file["url_private"]) as answer:
            assert (await answer.read()).startswith(b"\x89PNG")
    trained.run.beat(now_s(), epoch=1, batch=99)
    resolved = await trained.see("is healthy again", timeout_s=40)
    assert [one["slack_file"] for one in images(resolved)] == [one["slack_file"] for one in (curves, sheet)]


async def test_an_upload_that_breaks_off_is_repeated_and_the_alert_stands_meanwhile(trained: World) -> None:
    trained.workspace.faults.reset_next("files.getUploadURLExternal", after_effect=False)
    trained.workspace.faults.fail_next("files.completeUploadExternal", "internal_error")
    await trained.start_bot()
    alert = await told(trained)
    assert (await shown(trained, "loss is not finite"))["ts"] == alert["ts"]


async def test_a_picture_that_slack_does_not_take_yet_costs_no_word_of_the_message(trained: World) -> None:
    await trained.start_bot()
    alert = await told(trained)
    await asyncio.sleep(1.5)  # the edit with the picture is the next one
    trained.workspace.faults.fail_next("chat.update", "invalid_blocks")
    with_pictures = await shown(trained, "loss is not finite", "skipped without a trace")
    assert with_pictures["ts"] == alert["ts"]


async def test_a_bot_killed_before_the_picture_shows_it_after_its_return_and_tells_nothing_twice(
    trained: World,
) -> None:
    app = await trained.start_bot()
    alert = await told(trained)
    await app.close()
    await trained.start_bot()
    assert (await shown(trained, "loss is not finite"))["ts"] == alert["ts"]
    told_of_it = [one for one in await trained.page.messages(CHANNEL) if "epoch 1, batch 42" in text_of(one)]
    told_of_it = [one for one in told_of_it if '"ack"' in text_of(one)]  # the run's card names it as well
    assert len([one for one in told_of_it if not one.get("thread_ts") or one["thread_ts"] == one["ts"]]) == 1


async def test_the_answer_to_epoch_progress_gets_its_curves(trained: World) -> None:
    await trained.start_bot()
    await trained.page.slash("anna", "/train", "epoch 1 progress", CHANNEL)
    answer = await shown(trained, "epoch 1 of 4, running")
    assert images(answer)[0]["alt_text"].startswith("Curves of digits, epoch 1.")


async def test_without_matplotlib_the_text_stands_alone(world: World) -> None:
    world.run.record(python="/usr/bin/env")  # starts, and is no Python that could draw
    await world.start_bot()
    await told(world)
    await asyncio.sleep(3)
    assert images(await world.see("loss is not finite in epoch 1, batch 42")) == []
