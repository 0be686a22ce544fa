"""A request that Slack would refuse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class MethodRefusedError(Exception):
    """``ok: false`` with Slack's error name; ``lines`` become ``response_metadata.messages``."""

    def __init__(
        self,
        error: str,
        lines: Sequence[str] = (),
        *,
        status: int = 200,
        retry_after_s: int | None = None,
        extra: dict[str, str] | None = None,
    ) -> None:
        super().__init__(error)
        self.error = error
        self.lines = tuple(lines)
        self.status = status
        self.retry_after_s = retry_after_s
        self.extra = extra or {}

    def body(self) -> dict[str, Any]:
        """Return the JSON answer."""
        answer: dict[str, Any] = {"ok": False, "error": self.error, **self.extra}
        if self.lines:
            answer["errors"] = [line.removeprefix("[ERROR] ") for line in self.lines]
            answer["response_metadata"] = {"messages": list(self.lines)}
        return answer
