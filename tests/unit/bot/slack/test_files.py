"""A picture counts as uploaded only where it has arrived."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from trainmaster.bot.errors import ChatError
from trainmaster.bot.slack.files import SlackFiles


class UploadPlace:
    """Tells where to upload, and what is complete."""

    proxy = None

    def __init__(self, port: int) -> None:
        self.port = port
        self.completed: list[Any] = []

    async def files_getUploadURLExternal(self, **_: object) -> dict[str, str]:  # noqa: N802 - Slack's name
        return {"upload_url": f"http://127.0.0.1:{self.port}/upload", "file_id": "F1"}

    async def files_completeUploadExternal(self, files: object) -> None:  # noqa: N802
        self.completed.append(files)


@pytest.fixture
async def place(request: pytest.FixtureRequest) -> AsyncIterator[UploadPlace]:
    async def upload(_: web.Request) -> web.Response:
        status: int = request.param
        return web.Response(status=status, headers={"Location": "/sign-in"} if status in range(300, 400) else {})

    async def sign_in(_: web.Request) -> web.Response:
        return web.Response(text="Please sign in.")

    site = web.Application()
    site.add_routes([web.post("/upload", upload), web.get("/sign-in", sign_in)])
    runner = web.AppRunner(site)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield UploadPlace(runner.addresses[0][1])
    await runner.cleanup()


@pytest.mark.parametrize("place", [302, 303, 403, 500], indirect=True)
async def test_a_picture_that_was_not_taken_is_none(place: UploadPlace) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(ChatError, match="refused with status"):
            await SlackFiles(place, session).upload("a.png", b"png", "alt")  # type: ignore[arg-type]
    assert place.completed == []


@pytest.mark.parametrize("place", [200], indirect=True)
async def test_a_picture_that_was_taken_is_complete(place: UploadPlace) -> None:
    async with aiohttp.ClientSession() as session:
        assert await SlackFiles(place, session).upload("a.png", b"png", "alt") == "F1"  # type: ignore[arg-type]
    assert place.completed == [[{"id": "F1", "title": "a.png"}]]
