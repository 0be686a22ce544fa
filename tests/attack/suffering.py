"""One trouble with Slack while a trainer dies: when the people hear of it, before what else, and how often."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from tests.attack.living import LivingBot, end_trainers, light_train, process_environment, trained
from tests.attack.planting import rows
from tests.attack.strict_slack import StrictSlack
from tests.attack.strict_web import Post
from tests.attack.troubles import RESOLVER, Kind
from tests.support.run_dirs import START_TS, WrittenRun

VICTIM = "night"
NUM_REPORTS = 6
TOLD_S = 10.0
"""After Slack's return a death must be told within so long."""
_PENDING = "SELECT key FROM messages WHERE desired_version > sent_version"


@dataclass(frozen=True, kw_only=True)
class Suffered:
    """``told_s`` counts from Slack's return; negative when it was told before. ``earlier`` are the lesser messages that
    came between the return and the alert, ``twice`` the keys of what stands there more than once, ``missing`` what the
    bot had to tell and did not."""

    kind: str
    told_s: float | None
    earlier: tuple[str, ...]
    twice: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def held(self) -> bool:
        """Whether all is as it must be."""
        return self.told_s is not None and self.told_s <= TOLD_S and not (self.earlier or self.twice or self.missing)


async def suffer(folder: Path, kind: Kind, *, restarted: bool = False) -> Suffered:
    """A bot of its own lives through it. ``restarted``: it is killed in the trouble, and begins there anew."""
    async with _scene(folder) as (slack, bot, victim, others):
        async with kind.around(slack, folder):
            slack.trouble = kind.trouble
            began_s = time.monotonic()
            for other in others:
                other.finish_epoch(1, time.time() - START_TS)
            await _comes(lambda: kind.passes or len(_pending(bot)) >= NUM_REPORTS, "what is to wait")
            if restarted:
                await bot.kill()
                await bot.begin()
                await asyncio.sleep(1)
            victim.kill()
            victim.wait()
            await _comes(lambda: bool(rows(bot, "SELECT 1 FROM messages WHERE key LIKE ?", f"{VICTIM}%process%")), "it")
            await asyncio.sleep(max(2.0, kind.lasts_s - (time.monotonic() - began_s)))
            slack.trouble = None
        returned_s = time.monotonic() + kind.pause_s
        with contextlib.suppress(TimeoutError):
            await _comes(lambda: _alert(slack) is not None, "the alert", timeout_s=kind.pause_s + 3 * TOLD_S)
        with contextlib.suppress(TimeoutError):
            await _comes(lambda: not _pending(bot), "the rest", timeout_s=60.0)
        alert = _alert(slack)
        keys = Counter(_key(post) for post in slack.posts.values())
        return Suffered(
            kind=kind.name,
            told_s=None if alert is None else alert.at_s - returned_s,
            earlier=() if alert is None else tuple(_earlier(slack, returned_s - kind.pause_s, alert)),
            twice=tuple(key for key, count in keys.items() if count > 1),
            missing=tuple(_pending(bot)),
        )


_Scene = tuple[StrictSlack, LivingBot, subprocess.Popen[bytes], list[WrittenRun]]


@contextlib.asynccontextmanager
async def _scene(folder: Path) -> AsyncIterator[_Scene]:
    """A bot without a care, a run that trains, and runs whose epochs take long."""
    slack = await StrictSlack.start()
    site = folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(RESOLVER)
    paths = f"{site}:{process_environment(folder)['PYTHONPATH']}"
    bot = LivingBot(folder, slack, PYTHONPATH=paths, SLACK_API_URL=slack.api_url.replace("127.0.0.1", "localhost"))
    WrittenRun(bot.runs, VICTIM).record(started_ts=time.time(), pid=2**22 - 1)
    victim = light_train(bot.runs / VICTIM)
    try:
        await trained(bot.runs / VICTIM, 1, attempt=2)
        others = [WrittenRun(bot.runs, f"day{number}") for number in range(NUM_REPORTS)]
        for other in others:
            other.record(started_ts=time.time())
            other.beat(time.time() - START_TS + 300, epoch=1, batch=5)
        await bot.start(timeout_s=180)
        await _comes(lambda: not _pending(bot), "a quiet start")
        yield slack, bot, victim, others
    finally:
        await bot.stop()
        victim.kill()
        victim.wait()
        end_trainers(folder)
        await slack.close()


def _pending(bot: LivingBot) -> list[str]:
    return [str(key) for (key,) in rows(bot, _PENDING)]


def _key(post: Post) -> str:
    return str((post.metadata.get("event_payload") or {}).get("key"))


def _alert(slack: StrictSlack) -> Post | None:
    found = (post for post in slack.posts.values() if _key(post).startswith(VICTIM) and "process" in _key(post))
    return next((post for post in found if post.thread_ts is None), None)


def _earlier(slack: StrictSlack, since_s: float, alert: Post) -> list[str]:
    return [_key(post) for post in slack.posts.values() if since_s < post.at_s < alert.at_s]


async def _comes(holds: Callable[[], bool], what: str, *, timeout_s: float = 60.0) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            while not holds():  # noqa: ASYNC110 - what another process does has no event
                await asyncio.sleep(0.02)
    except TimeoutError as error:
        raise TimeoutError(what) from error
