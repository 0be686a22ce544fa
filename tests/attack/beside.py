"""A healthy run beside hostile ones: how soon its trouble is seen, and what the hostile ones brought about."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.attack.harms import plant
from tests.attack.hostile import VIPS, Canaries, Hostile
from tests.attack.living import LivingBot
from tests.attack.planting import rows
from tests.attack.strict_slack import StrictSlack
from tests.support.run_dirs import START_TS, WrittenRun

ANN: Final = "U0ANN"
NUM_CALM, NUM_BESIDE = 3, 6
"""Healthy runs that get into trouble before the hostile ones are there, and beside them."""
_SEEN_S = 60.0
_WORK_S = 0.3
_PUT = "SELECT created_ts FROM messages WHERE key LIKE ?"
_PING = re.compile(rf"<(?:@|#|!|u:|https?://evil)[^>]*>|({'|'.join(VIPS)})")
_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e0fff]")
ASKED: Final = (
    "status of {}",
    "checkpoints of {}",
    "explain of {}",
    "offenders of {}",
    "execute rollback dry run of {}",
)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """``calm_s`` and ``beside_s`` are how long it took each time to see that a healthy run is in trouble: without the
    hostile ones, and with them; ``slowness`` how often as long as its work anything took meanwhile, since others use
    this machine too. ``harm`` is what must not have come about; ``faults`` what the bot stumbled over."""

    num: int
    calm_s: tuple[float, ...]
    beside_s: tuple[float, ...]
    slowness: float
    harm: tuple[str, ...]
    faults: tuple[str, ...]

    @property
    def delay_s(self) -> float:
        """How much longer the slowest took than the middle one of those before."""
        return max(self.beside_s) - statistics.median(self.calm_s)


async def beside(folder: Path, numbers: range, seed: object) -> Outcome:
    """The hostile directories ``numbers`` of the series ``seed``, beside healthy ones, with a bot of their own."""
    slack = await StrictSlack.start()
    canaries = Canaries(folder=folder / "operator", token=f"hush-{secrets.token_hex(8)}")
    canaries.lay()
    bot = LivingBot(folder, slack)
    healthy = [_healthy(bot.runs, number) for number in range(NUM_CALM + NUM_BESIDE)]
    try:
        await bot.start()
        await asyncio.sleep(2)
        made = folder / "made"
        hostile = await asyncio.to_thread(
            lambda: [plant(bot.runs, one, seed, canaries, made_in=made) for one in numbers]
        )
        calm = [await _seen_s(bot, run) for run in healthy[:NUM_CALM]]
        for one in hostile:
            one.appear()
        after, slowness = [], 1.0
        for run in healthy[NUM_CALM:]:
            after.append(await _seen_s(bot, run))
            slowness = max(slowness, await asyncio.to_thread(_slowness))
        for one in hostile[:: max(1, len(hostile) // 5)]:
            for words in ASKED:
                await slack.command(ANN, words.format(_name(one)))
        for words in ("status", "runs", "alerts", "help"):
            await slack.command(ANN, words)
        await asyncio.sleep(8)
        alive = bot.pid != 0
        await bot.stop()
    finally:
        await bot.stop()
        await slack.close()
    return Outcome(
        num=len(hostile),
        calm_s=tuple(calm),
        beside_s=tuple(after),
        slowness=slowness,
        harm=(*_harm(slack, canaries, bot), *(() if alive else ("the bot ended",))),
        faults=tuple(_faults(bot.output())),
    )


def _slowness() -> float:
    """Over a second or so: how much longer work takes here than it would alone."""
    began_s, worked_s = time.monotonic(), time.thread_time()
    while time.thread_time() - worked_s < _WORK_S:
        pass
    return (time.monotonic() - began_s) / _WORK_S


def _healthy(runs: Path, number: int) -> WrittenRun:
    run = WrittenRun(runs, f"healthy{number}")
    run.record(started_ts=time.time())
    run.beat(time.time() - START_TS + 600, epoch=1, batch=5)
    run.start_epoch(1, time.time() - START_TS)
    return run


async def _seen_s(bot: LivingBot, run: WrittenRun) -> float:
    """Seconds from a batch with NaN to the message about it in the outbox."""
    now = time.time()
    run.bad_batch(1, 7, now - START_TS)
    async with asyncio.timeout(_SEEN_S):
        while not (found := rows(bot, _PUT, f"{run.run}/nonfinite%")):  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.05)
    return float(found[0][0]) - now


def _name(one: Hostile) -> str:
    name = one.place.name
    return name if name.isprintable() and name.isascii() else f"hostile-{name.rsplit('-', 1)[-1]}"


def _harm(slack: StrictSlack, canaries: Canaries, bot: LivingBot) -> Iterator[str]:
    if canaries.mark.exists():
        yield "something was run"
    shown = [text for post in slack.posts.values() for text in post.versions]
    shown += [whisper.text for whisper in slack.whispers]
    for text in shown:
        if canaries.token in text:
            yield f"a secret was shown: {text[:300]}"
        spoken, _, blocks = text.rpartition("\n")
        for said in (spoken, *_texts(json.loads(blocks))):
            for found in _PING.finditer(said):
                if not found[0].startswith(("<@U0ANN", "<@U0BOB", "<@U0CYD", "<!date^")) and _would_ping(said, found):
                    yield f"{found[0]} in {said[:300]!r}"
            if (hidden := _HIDDEN.search(said)) is not None:
                yield f"{hidden[0]!r} in {said[:300]!r}"
    if canaries.token in bot.output():
        yield "a secret is in the log"
    yield from (breach for breach in slack.breaches if "acknowledged after" not in breach)  # how busy this machine is


def _would_ping(said: str, found: re.Match[str]) -> bool:
    """A name alone, without its brackets, calls nobody."""
    return found[1] is None or f"<@{found[1]}" in said


def _texts(value: Any) -> Iterator[str]:
    """All that Slack would look through for mentions and links, and whom rich text names."""
    if isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        if value.get("type") in {"user", "usergroup", "broadcast", "channel"}:
            yield f"<@{value.get('user_id', '!channel')}>"
        elif value.get("type") == "mrkdwn":
            yield str(value.get("text"))
        else:
            for item in value.values():
                yield from _texts(item)


def _faults(output: str) -> Iterator[str]:
    for line in output.splitlines():
        if any(word in line for word in ("check-failed", "look-failed", "run-unreadable", "job-fault", "-bug")):
            yield line[:300]
