"""Uploaded files: an upload URL, the bytes, and the message that shows them."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from trainmaster.bot.workspace.page.gate import is_token
from trainmaster.bot.workspace.refusal import MethodRefusedError
from trainmaster.bot.workspace.socket_mode.events import EventSource
from trainmaster.bot.workspace.state.messages import Body
from trainmaster.bot.workspace.state.people import BOT_USER_ID
from trainmaster.bot.workspace.state.state import WorkspaceState
from trainmaster.bot.workspace.web_api.args import Args, Methods

MAX_FILE_BYTES: Final = 32 * 1024 * 1024
_MAGIC: Final = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
}


@dataclass(slots=True, kw_only=True)
class StoredFile:
    """One upload. ``secret`` is the unguessable part of the address under which the page shows it."""

    file_id: str
    secret: str
    name: str
    length_bytes: int
    alt_text: str
    data: bytes | None = None
    title: str = ""

    @property
    def mimetype(self) -> str:
        """The type by the first bytes: what is no known picture is only ever offered as a download."""
        start = self.data or b""
        found = (kind for magic, kind in _MAGIC.items() if start.startswith(magic))
        if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
            return "image/webp"
        return next(found, "application/octet-stream")


class Files:
    """All uploads, in memory."""

    def __init__(self, *, state: WorkspaceState, events: EventSource, base_url: Callable[[], str]) -> None:
        self._state = state
        self._events = events
        self._base_url = base_url
        self._files: dict[str, StoredFile] = {}

    def methods(self) -> Methods:
        """Return the methods by name."""
        return {
            "files.getUploadURLExternal": self.get_upload_url,
            "files.completeUploadExternal": self.complete_upload,
        }

    def by_secret(self, secret: str) -> StoredFile | None:
        """Return the file at an address."""
        return next((file for file in self._files.values() if is_token(secret, file.secret)), None)

    def get_upload_url(self, args: Args) -> dict[str, Any]:
        """Return where to send the bytes."""
        length = args.text("length")
        if not length.isdigit() or not 0 < int(length) <= MAX_FILE_BYTES:
            raise MethodRefusedError("invalid_arguments", ["[ERROR] length must be more than 0 [json-pointer:/length]"])
        file = StoredFile(
            file_id="F" + secrets.token_hex(5).upper(),
            secret=secrets.token_urlsafe(18),
            name=str(args.required("filename")),
            length_bytes=int(length),
            alt_text=args.text("alt_txt"),
        )
        self._files[file.file_id] = file
        return {"upload_url": f"{self._base_url()}/upload/v1/{file.secret}", "file_id": file.file_id}

    def receive(self, secret: str, data: bytes) -> bool:
        """Keep the bytes; False when the address is unknown, used, or the length is not the one announced."""
        file = self.by_secret(secret)
        if file is None or file.data is not None or len(data) != file.length_bytes:
            return False
        file.data = data
        return True

    def complete_upload(self, args: Args) -> dict[str, Any]:
        """The files are shared in the channel, in one message."""
        raw = args.required("files")
        try:
            wanted = json.loads(raw) if isinstance(raw, str) else raw
            entries = [(str(entry["id"]), str(entry.get("title") or "")) for entry in wanted]
        except (ValueError, TypeError, KeyError) as fault:
            raise MethodRefusedError(
                "invalid_arguments", ["[ERROR] must provide an array [json-pointer:/files]"]
            ) from fault
        described = []
        for file_id, title in entries:
            file = self._files.get(file_id)
            if file is None or file.data is None:
                raise MethodRefusedError("file_not_found")
            file.title = title or file.name
            described.append(self._describe(file))
            self._state.keep_file(described[-1])
        channel_id = args.text("channel_id")
        if channel_id:
            self._share(channel_id, described, args)
        return {"files": described}

    def _share(self, channel_id: str, described: list[dict[str, Any]], args: Args) -> None:
        channel = self._state.channels.get(channel_id)
        if channel is None:
            raise MethodRefusedError("channel_not_found")
        if not channel.bot_is_member:
            raise MethodRefusedError("not_in_channel")
        message = self._state.post(
            channel_id=channel_id,
            user_id=BOT_USER_ID,
            body=Body(text=args.text("initial_comment"), files=tuple(described)),
            thread_ts=args.text("thread_ts") or None,
        )
        self._events.posted(message)

    def _describe(self, file: StoredFile) -> dict[str, Any]:
        url = f"{self._base_url()}/files/{file.secret}"
        return {
            "id": file.file_id,
            "name": file.name,
            "title": file.title,
            "mimetype": file.mimetype,
            "size": file.length_bytes,
            "alt_txt": file.alt_text,
            "url_private": url,
            "permalink": url,
        }
