"""A rollback of a real training through the channel: what it takes from click to healthy batches, and what it bears.

``python -m tests.bench.operations``. From the approval click to "confirmed healthy", less the trainer's own start-up as
it was in the same rollback (from its launch to its tenth batch by its own heartbeat): at most 5 s. Then 210 rollbacks
with kill -9 of the bot process, the trainer, or both at random moments, the journal's boundaries and 200 moments on
paper, and 10,000 bad inputs: none may fail.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.attack.living import LivingBot, end_trainers, train, trained
from tests.attack.material import make_material
from tests.attack.strict_slack import StrictSlack

TIMES = 7
LIMIT_S = 5.0
CONFIRM_BATCHES = 10
"""bot/operations/limits.py; the trainer's start-up ends with the batch that the bot waits for."""
ATTACKS = (
    ("kill -9 of bot, trainer and both, 210 rollbacks", "tests/attack/test_kills.py", {"TRAINMASTER_KILLS": "70"}),
    ("kill -9 at boundaries and 200 moments, on paper", "tests/crash", {"TRAINMASTER_CRASH_MOMENTS": "200"}),
    ("10,000 bad inputs", "tests/attack/test_bad_input.py", {"TRAINMASTER_BAD_INPUTS": "10000"}),
)


@dataclass(frozen=True)
class Timing:
    """Seconds of one rollback; ``steps`` are the bot's own record of where they went."""

    whole_s: float
    start_up_s: float
    steps: dict[str, float]

    @property
    def own_s(self) -> float:
        return self.whole_s - self.start_up_s


async def measure(folder: Path, material: Path) -> Timing:
    """One rollback of a real training, from the click on."""
    slack = await StrictSlack.start()
    bot = LivingBot(folder, slack)
    trainer = train(folder, material)
    run = bot.runs / "digits"
    try:
        await bot.start()
        await trained(run, 2, 2)
        await slack.command("U0ANN", "execute rollback to epoch 1")
        cards = await slack.until(slack.cards, what="the card")
        clicked_ts = time.time()
        await slack.click("U0BOB", cards[0], "approve")
        await trained(run, 2, CONFIRM_BATCHES, attempt=2)
        ready_ts = time.time()
        operation = await _closed(bot)
        launched = json.loads(dict(operation["notes"])["launched"])
        return Timing(
            whole_s=operation["updated_ts"] - clicked_ts,
            start_up_s=ready_ts - launched["create_time"],
            steps=_steps(bot.state / "trainmaster.sqlite3"),
        )
    finally:
        await bot.stop()
        end_trainers(folder)
        trainer.wait()
        await slack.close()


async def _closed(bot: LivingBot) -> dict[str, Any]:
    async with asyncio.timeout(120):
        while (operation := bot.operations()[-1])["state"] == "open":  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.02)
    if operation["state"] != "done":
        raise RuntimeError(f"{operation['state']}: {operation['problem']}")
    return operation


def _steps(database: Path) -> dict[str, float]:
    """Seconds from a step's beginning to its end, by the journal."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT step, kind, ts FROM journal ORDER BY seq").fetchall()
    begun = {step: ts for step, kind, ts in rows if kind == "begun"}
    return {step: ts - begun[step] for step, kind, ts in rows if kind == "done"}


def _speed() -> bool:
    """Whether the mark was reached."""
    with tempfile.TemporaryDirectory() as folder:
        material = make_material(Path(folder))
        taken = []
        for number in range(TIMES):
            place = Path(folder) / f"time{number}"
            place.mkdir()
            taken.append(asyncio.run(measure(place, material)))
    own = sorted(one.own_s for one in taken)
    start_up = sorted(one.start_up_s for one in taken)
    print(
        f"Click to confirmed healthy, {TIMES} rollbacks of a real training, less the trainer's own start-up:", end=" "
    )
    print(f"median {statistics.median(own):.1f} s, {own[0]:.1f} to {own[-1]:.1f} s (limit {LIMIT_S:g} s)")
    print(f"  the trainer's start-up in the same rollbacks: median {statistics.median(start_up):.1f} s")
    for step in taken[0].steps:
        spent = sorted(one.steps[step] for one in taken)
        print(f"  {step:8} {statistics.median(spent):5.2f} s, {spent[0]:.2f} to {spent[-1]:.2f} s")
    return statistics.median(own) <= LIMIT_S


def _attack(name: str, tests: str, environ: dict[str, str]) -> bool:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tests]
    ended = subprocess.run(command, env={**os.environ, **environ}, capture_output=True, text=True, check=False)
    lines = ended.stdout.strip().splitlines()
    print(f"{name}: {lines[-1] if lines else ended.stderr.strip()}", flush=True)
    if ended.returncode:
        print("\n".join(lines[-40:]))
    return ended.returncode == 0


def main() -> int:
    """1 when a mark was missed."""
    reached = [_speed(), *(_attack(*attack) for attack in ATTACKS)]
    return int(not all(reached))


if __name__ == "__main__":
    raise SystemExit(main())
