"""Run directories of a stranger, beside a bot that could do anything: nothing in them is run, signalled or shown."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.attack.living import LivingBot
from tests.attack.scene import ANN, DEE
from tests.attack.strict_slack import StrictSlack
from tests.support.run_dirs import START_TS, WrittenRun

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can plant a directory of somebody else"),
]
STRANGER = 4242
ACTING = ["stop now", "stop after epoch", "execute rollback", "execute rollback dry run", "resume", "archive"]


class Planted:
    """A run whose Python leaves a mark when it is run, whose process sleeps, and whose batches are all bad."""

    def __init__(self, folder: Path, *, log: Path) -> None:
        self.mark = folder / "it-ran"
        evil = folder / "python"
        evil.write_text(f"#!/bin/sh\ntouch {self.mark}\n")
        evil.chmod(0o755)
        self.sleeper = subprocess.Popen(["sleep", "300"], start_new_session=True)
        self.run = WrittenRun(folder / "runs", "night")
        self.run.record(pid=self.sleeper.pid, python=str(evil), cwd=str(folder), log=str(log))
        began_s = time.time() - START_TS
        self.run.start_epoch(1, began_s)
        self.run.beat(began_s, epoch=1, batch=90)
        for batch in range(1, 40):
            self.run.bad_batch(1, batch, began_s, images=["<u:U0ANN>.png", "<@U0ANN>", "\u202egnp.exe"])

    def give_away(self) -> None:
        root = self.run.layout.root
        for path in (root, *root.rglob("*")):
            os.chown(path, STRANGER, STRANGER, follow_symlinks=False)


@pytest.fixture
def planted(tmp_path: Path) -> Iterator[Planted]:
    secret = tmp_path / "secret.log"
    secret.write_text("RuntimeError: xoxb-top-secret\n")
    secret.chmod(0o600)
    found = Planted(tmp_path, log=secret)
    yield found
    found.sleeper.kill()
    found.sleeper.wait()


@pytest.fixture
async def bot(tmp_path: Path, slack: StrictSlack, planted: Planted) -> AsyncIterator[LivingBot]:
    found = LivingBot(tmp_path, slack)
    yield found
    await found.stop()


async def says(slack: StrictSlack, user: str, words: str) -> str:
    before = len(slack.told(user))
    await slack.command(user, words)
    return (await slack.answered(user, before + 1))[-1]


async def test_a_strangers_run_is_watched_only(planted: Planted, bot: LivingBot, slack: StrictSlack) -> None:
    planted.give_away()
    await bot.start()
    for words in ACTING:
        assert f"watched only: owned by uid {STRANGER}" in await says(slack, ANN, words), words
    await slack.command(ANN, "status")
    await slack.until(lambda: slack.newest(f"watched only: owned by uid {STRANGER}"), what="the status")
    assert not planted.mark.exists()
    assert planted.sleeper.poll() is None
    shown = [post.shown for post in slack.posts.values()] + slack.told(ANN)
    assert not any("top-secret" in text or "<@U0ANN>.png" in text or "\u202e" in text for text in shown)


async def test_a_process_that_is_no_trainer_is_left_alone(planted: Planted, bot: LivingBot, slack: StrictSlack) -> None:
    await bot.start()
    for words in ("stop now", "stop after epoch"):
        assert "is no trainer of this run (sleep 300)" in await says(slack, ANN, words)
    assert planted.sleeper.poll() is None


@pytest.mark.parametrize("whose", ["the bot", "its parent"])
async def test_the_bot_signals_neither_itself_nor_its_parent(
    planted: Planted, bot: LivingBot, slack: StrictSlack, whose: str
) -> None:
    await bot.start()
    assert bot._process is not None
    planted.run.record(pid=bot._process.pid if whose == "the bot" else os.getpid(), python=sys.executable)
    assert "the bot's own" in await says(slack, ANN, "stop now")
    assert bot._process.returncode is None


async def test_somebody_not_on_call_runs_nothing(planted: Planted, bot: LivingBot, slack: StrictSlack) -> None:
    planted.give_away()
    await bot.start()
    assert "watched only" in await says(slack, DEE, "execute rollback dry run")
    assert "Only people on call" in await says(slack, DEE, "silence 2h")
    assert not planted.mark.exists()
    refused = [entry for entry in bot.audit() if entry["action"] == "person.refused"]
    assert [entry["actor"] for entry in refused] == [DEE]
