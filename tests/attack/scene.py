"""Slack, a bot process and a light run together, as the attacks find them."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.attack.living import LivingBot, end_trainers, light_run, light_train, trained, trainers
from tests.attack.strict_slack import StrictSlack
from tests.attack.strict_web import Post
from trainmaster.trainer.contract import RunLayout, read_json

ANN, BOB, CYD, DEE = "U0ANN", "U0BOB", "U0CYD", "U0DEE"
"""The first three are on call."""


@dataclass(kw_only=True)
class Scene:
    """A run in its third epoch, whose checkpoints of the first two are clean."""

    slack: StrictSlack
    bot: LivingBot
    run: Path
    trainer: subprocess.Popen[bytes]

    async def ask(self, user: str = ANN, words: str = "execute rollback to epoch 1") -> Post:
        """A new card stands in the channel."""
        before = {card.ts for card in self.slack.cards()}
        await self.slack.command(user, words)

        def card() -> Post | None:
            return next((card for card in self.slack.cards() if card.ts not in before), None)

        return await self.slack.until(card, what="the card")

    async def says(self, user: str, act: Any) -> str:
        """What ``user`` is told after ``act``: the newest answer, at least one."""
        before = len(self.slack.told(user))
        await act
        return (await self.slack.answered(user, before + 1))[-1]

    async def over(self, timeout_s: float = 60.0) -> dict[str, Any]:
        """The newest operation, closed."""
        async with asyncio.timeout(timeout_s):
            while True:
                operations = self.bot.operations()
                if operations and operations[-1]["state"] != "open":
                    return operations[-1]
                await asyncio.sleep(0.02)

    def untouched(self) -> bool:
        """Whether the run trains on as it did, and no operation was ever opened."""
        return self.bot.operations() == [] and self.attempt == 2 and len(trainers(self.run.parent.parent)) == 1

    @property
    def attempt(self) -> int:
        """As the run's record says."""
        return int((read_json(RunLayout(self.run).run_json) or {})["attempt"])

    def acts(self, action: str) -> int:
        """How often the audit log has ``action``."""
        return sum(entry["action"] == action for entry in self.bot.audit())


@contextlib.asynccontextmanager
async def stage(folder: Path, material: Path, slack: StrictSlack, **settings: str) -> AsyncIterator[Scene]:
    """A scene whose bot listens; at the end nothing is left running."""
    bot = LivingBot(folder, slack, **settings)
    run = light_run(folder, material)
    trainer = light_train(run)
    try:
        await trained(run, 3)
        await bot.start()
        yield Scene(slack=slack, bot=bot, run=run, trainer=trainer)
    finally:
        await bot.stop()
        end_trainers(folder)
        trainer.wait()
