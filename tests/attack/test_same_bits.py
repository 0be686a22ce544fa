"""A same-level rollback through the channel, the bot killed on the way, ends with the bits of an undisturbed run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.attack.living import PACED, LivingBot, end_trainers, train, trained
from tests.attack.scene import ANN, BOB
from tests.attack.strict_slack import StrictSlack
from tests.attack.strict_web import Post
from trainmaster.trainer.contract import RunLayout, read_json

pytestmark = [pytest.mark.training, pytest.mark.timeout(600)]

EPOCHS = 3


async def test_run_rolled_back_in_the_channel_ends_with_the_same_bits(
    tmp_path: Path, material: Path, slack: StrictSlack
) -> None:
    bot = LivingBot(tmp_path, slack, **PACED)
    whole = train(tmp_path, material, "exact=true", name="whole", epochs=EPOCHS, environment=PACED)
    disturbed = train(tmp_path, material, "exact=true", name="disturbed", epochs=EPOCHS, environment=PACED)
    run = bot.runs / "disturbed"
    try:
        await bot.start()
        await trained(run, 2, 5)
        operation = await roll_back(slack, bot)
        assert operation["state"] == "done", operation["problem"]
        assert operation["plan"]["level_after"] == "standard"
        for name in ("whole", "disturbed"):
            await finished(bot.runs / name)
    finally:
        await bot.stop()
        end_trainers(tmp_path)
        whole.wait()
        disturbed.wait()
    assert (read_json(RunLayout(run).run_json) or {})["attempt"] == 2
    states = [RunLayout(bot.runs / name).state_file(EPOCHS) for name in ("whole", "disturbed")]
    assert not list(unequal(*map(load, states)))
    weights = [RunLayout(bot.runs / name).weights / "last.pt" for name in ("whole", "disturbed")]
    one, other = (load(path)["model"].state_dict() for path in weights)
    assert not list(unequal(one, other))


async def roll_back(slack: StrictSlack, bot: LivingBot) -> dict[str, Any]:
    """Asked for, approved, the bot killed while it is under way; the operation, closed. Asked again when an epoch ended
    just then, as the approval is void then."""
    await slack.command(ANN, "execute rollback to epoch 1 level standard on disturbed")
    card: Post | None = None
    async with asyncio.timeout(240):
        while True:
            cards = [one for one in slack.cards() if card is None or one.ts != card.ts]
            if cards:
                card = cards[-1]
                await slack.click(BOB, card, "approve")
            operations = bot.operations()
            if operations and operations[-1]["step"] in {"archive", "restore"} and bot.lives == 1:
                await bot.kill()
                await bot.start()
            if operations and operations[-1]["state"] not in {"open", "voided"}:
                return operations[-1]
            await asyncio.sleep(0.01)


async def finished(directory: Path) -> None:
    """The training in ``directory`` has come to its end."""
    async with asyncio.timeout(240):
        while (read_json(RunLayout(directory).run_json) or {}).get("state") != "finished":  # noqa: ASYNC110 - a file
            await asyncio.sleep(0.1)


def load(path: Path) -> Any:
    import torch

    return torch.load(path, map_location="cpu", weights_only=False)


def unequal(one: Any, other: Any, place: str = "") -> Iterator[str]:
    """Where two trees of tensors differ in a bit; times and paths are not compared."""
    import torch

    if isinstance(one, torch.Tensor):
        if not (one.dtype == other.dtype and torch.equal(one, other)):
            yield place
    elif isinstance(one, dict):
        if set(one) != set(other):
            yield f"{place}: {set(one) ^ set(other)}"
        for key in one.keys() & other.keys() - {"args_not_default"}:  # a run that was resumed was given other words
            yield from unequal(one[key], other[key], f"{place}/{key}")
    elif isinstance(one, list | tuple):
        for number, pair in enumerate(zip(one, other, strict=True)):
            yield from unequal(*pair, f"{place}/{number}")
