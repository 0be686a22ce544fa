"""The gate of a bot that looks at nothing before a start."""

from __future__ import annotations

from trainmaster.bot.core.decisions.gate import GateFact
from trainmaster.bot.core.run.view import RunView


class OpenGate:
    """Where nothing is looked at before a start."""

    async def look(self, view: RunView) -> tuple[GateFact, ...]:  # noqa: ARG002 - part of the Protocol
        """Nothing stands against any start."""
        return ()
