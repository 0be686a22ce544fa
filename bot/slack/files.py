"""Pictures on their way into Slack: the external upload (docs.slack.dev, files.getUploadURLExternal)."""

from __future__ import annotations

import asyncio
from typing import Final
from urllib.parse import urlsplit

import aiohttp
from slack_sdk.web.async_client import AsyncWebClient

from trainmaster.bot.core.health.address import is_loopback_url
from trainmaster.bot.errors import ChatError
from trainmaster.bot.slack import limits
from trainmaster.bot.slack.faults import translated

UPLOAD_TIMEOUT_S: Final = 20.0
"""All three steps together; a picture that takes longer is tried again later."""


class SlackFiles:
    """Uploads. A file that no message shows is seen by nobody."""

    def __init__(self, client: AsyncWebClient, session: aiohttp.ClientSession) -> None:
        self._client = client
        self._session = session

    async def upload(self, name: str, content: bytes, alt: str) -> str:
        """Slack keeps the picture; the id by which a message shows it.

        Raises:
            ChatError: as :class:`trainmaster.bot.ports.Chat` says.
        """
        async with translated(f"uploading {name}"), asyncio.timeout(UPLOAD_TIMEOUT_S):
            place = await self._client.files_getUploadURLExternal(
                filename=name, length=len(content), alt_txt=alt[: limits.PICTURE_ALT_CHARS]
            )
            url, file = place.get("upload_url"), place.get("file_id")
            if not isinstance(url, str) or not isinstance(file, str):
                raise ChatError("slack-answer", f"uploading {name}: Slack told no place for it.")
            if urlsplit(url).scheme != "https" and not is_loopback_url(url):
                raise ChatError("slack-answer", f"uploading {name}: the place that was told is not secure.")
            async with self._session.post(url, data=content, proxy=self._client.proxy, allow_redirects=False) as answer:
                if answer.status != 200:
                    raise ChatError("slack-upload", f"uploading {name}: refused with status {answer.status}.")
            await self._client.files_completeUploadExternal(files=[{"id": file, "title": name}])
        return file
