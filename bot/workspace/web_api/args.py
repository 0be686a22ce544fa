"""The arguments of one Web API call."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from trainmaster.bot.workspace.refusal import MethodRefusedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Args:
    """Arguments by name: JSON values from a JSON body, strings from a form or a query."""

    values: dict[str, Any]

    def text(self, name: str) -> str:
        """Return the argument as text, empty when it is missing."""
        value = self.values.get(name)
        return "" if value is None else str(value)

    def required(self, name: str) -> Any:
        """Return the argument; raises :class:`MethodRefusedError` when it is missing or empty."""
        value = self.values.get(name)
        if value in {None, ""} if not isinstance(value, dict | list) else False:
            raise MethodRefusedError("invalid_arguments", [f"[ERROR] missing required field: {name}"])
        return value

    def flag(self, name: str) -> bool:
        """Return whether the argument is true, in any of the ways Slack takes."""
        return self.text(name).lower() in {"1", "true"}

    def given(self, name: str) -> Any:
        """Return the argument, or None when it is missing, null or empty text."""
        value = self.values.get(name)
        return None if value == "" else value


Method = Callable[[Args], dict[str, Any]]
Methods = dict[str, Method]


async def read_args(request: web.Request) -> Args:
    """Read query and body; raises :class:`MethodRefusedError` when the body is not what its content type says."""
    values: dict[str, Any] = dict(request.query)
    if request.content_type == "application/json":
        body = await request.text()
        try:
            decoded = json.loads(body) if body.strip() else {}
        except ValueError as fault:
            raise MethodRefusedError("invalid_json") from fault
        if not isinstance(decoded, dict):
            raise MethodRefusedError("json_not_object")
        values |= decoded
    elif request.content_type in {"application/x-www-form-urlencoded", "multipart/form-data"}:
        values |= dict(await request.post())
    elif request.can_read_body and await request.read():
        raise MethodRefusedError("invalid_post_type")
    return Args(values=values)
