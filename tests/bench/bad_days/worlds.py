"""The worlds that the scenario is played in: guarded under a bot, or stock in a shell loop. All processes are real."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import psutil

from tests.attack.living import LivingBot, process_environment
from tests.attack.strict_slack import StrictSlack
from tests.bench.bad_days.scenario import BAD_FOR, STORM, TAKES_A_CLUSTER, Fault, Planned
from trainmaster.trainer.contract import MODULE_ARGV, ExitCode, RunLayout, read_json

PERSON_S: Final = 1800.0
"""From an alert until a person acts."""
STOCK_LOOK_S: Final = 6 * 3600.0
"""Until somebody notices a hang that nothing tells: on average, by a person who looks in twice a day."""
HANG_LIMITS: Final = {"STALL_MIN_S": "12", "STOP_GRACE_S": "5"}
"""The small training's; what the defaults would have waited longer is added: see :data:`HANG_LONGER_S`."""
HANG_LONGER_S: Final = (120 - 12) + (60 - 5)
HANG_SEEN_S: Final = 25.0
"""Without a batch; the small training's take a tenth of a second."""
BOT_BACK_S: Final = 3.0
"""A service manager starts a dead bot again."""
QUEUE_S: Final = 2.0
"""The stand-in for a cluster starts an ended job again."""
GIVE_UP_ON_BOT_S: Final = 100.0
"""A trainer that the bot has not started again by then is seen to by a person."""
RUN: Final = "tenbad"


class Kind(StrEnum):
    """Which world."""

    AUTO = "auto"
    ASK = "ask"
    STOCK = "stock"


@dataclass(kw_only=True)
class Tale:
    """What happened in one world. ``waited_s`` is what people took and the small training's limits left out."""

    kind: Kind
    batches: int
    epochs: int
    persons: list[str] = field(default_factory=list)
    waited_s: float = 0.0
    finished: bool = False
    happened: dict[int, float] = field(default_factory=dict)
    """Number of a fault -> when."""
    outage: tuple[float, float] = (0.0, 0.0)


class World:
    """One of them, played to its end by :meth:`play`."""

    def __init__(
        self, kind: Kind, folder: Path, material: Path, plan: Sequence[Planned], sizes: dict[str, Any]
    ) -> None:
        self.kind = kind
        self.folder = folder
        self.tale = Tale(kind=kind, batches=sizes["batches"], epochs=sizes["epochs"])
        self._plan = plan
        self._sizes = sizes
        self._dead_since: float | None = None
        self._asked = False
        self._last_line_ts = time.time()
        self._loop: subprocess.Popen[bytes] | None = None
        self._failures = 0
        folder.mkdir(parents=True)
        shutil.copytree(material / "digits", folder / "digits")
        shutil.copy2(material / "tiny.yaml", folder / "tiny.yaml")
        shutil.copy2(Path(__file__).with_name("beset.py"), folder / "beset.py")
        (folder / "happened").mkdir()
        image = min((folder / "digits/images/train").iterdir()).relative_to(folder)
        faults = [asdict(one) for one in plan]
        text = json.dumps({"faults": faults, "storm": STORM, "bad_for": BAD_FOR, "image": str(image)})
        (folder / "plan.json").write_text(text, encoding="utf-8")

    @property
    def layout(self) -> RunLayout:
        """Of its run."""
        return RunLayout(self.folder / "runs" / RUN)

    def overrides(self) -> dict[str, Any]:
        """Of its training."""
        return {
            "model": str(self.folder / "tiny.yaml"), "data": str(self.folder / "digits/data.yaml"), "imgsz": 64,
            "epochs": self._sizes["epochs"], "batch": 2, "nbs": 2, "device": "cpu", "amp": False, "plots": False,
            "workers": 0, "lr0": 0.01, "project": str(self.folder / "runs"), "name": RUN, "exist_ok": True,
            "verbose": False,
            **({} if self.kind is Kind.STOCK else {
                "level": "guard", "exact": True, "snapshot_s": self._sizes["snapshot_s"], "bad_window": 60,
                **self._sizes.get("more", {}),
            }),
        }  # fmt: skip

    def begin(self) -> None:
        """The training, as somebody types it; stock in its loop is begun the same way each time."""
        with (self.folder / "trainer.out").open("ab") as output:
            side = "stock" if self.kind is Kind.STOCK else "guarded"
            self._loop = subprocess.Popen(
                [sys.executable, "beset.py", side, json.dumps(self.overrides())],
                cwd=self.folder, env=process_environment(self.folder), stdout=output, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip

    def resume(self) -> None:
        """``trainmaster resume``, as a batch script or a person types it."""
        with (self.folder / "trainer.out").open("ab") as output:
            self._loop = subprocess.Popen(
                [sys.executable, *MODULE_ARGV, "resume", str(self.layout.root)],
                cwd=self.folder, env=process_environment(self.folder), stdout=output, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip

    async def play_undisturbed(self) -> int:
        """The training alone, watched by a bot, to its end; its exit code."""
        slack = await StrictSlack.start()
        bot = LivingBot(self.folder, slack, **HANG_LIMITS)
        try:
            await bot.start()
            self.begin()
            assert self._loop is not None
            code = await asyncio.to_thread(self._loop.wait)
            await asyncio.sleep(5.0)  # the last alerts are told
            return code
        finally:
            await bot.stop()
            await slack.close()
            self._end_all()

    async def play(self, *, limit_s: float) -> Tale:
        """The scenario, from the first batch to the last, or until ``limit_s`` are over."""
        deadline = time.monotonic() + limit_s
        if self.kind is Kind.STOCK:
            await self._play_stock(deadline)
        else:
            slack = await StrictSlack.start()
            hangs = "true" if self.kind is Kind.AUTO else "false"
            settings = {"AUTO_RESUME": self.kind.value, "AUTO_RESUME_PAUSE_S": "5", "AUTO_RESUME_HANGS": hangs}
            extra = {**settings, **HANG_LIMITS}
            bot = LivingBot(self.folder, slack, **extra)
            try:
                await bot.start()
                self.begin()
                await self._play_guarded(slack, bot, deadline)
                await asyncio.sleep(10.0)  # the last alerts are told
            finally:
                await bot.stop()
                await slack.close()
                self._end_all()
        self._note_happened()
        return self.tale

    # -- guarded ------------------------------------------------------------------------------------------------------

    async def _play_guarded(self, slack: StrictSlack, bot: LivingBot, deadline: float) -> None:
        done: set[int] = set()
        while time.monotonic() < deadline:
            await asyncio.sleep(0.2)
            self._reap()
            state = (read_json(self.layout.run_json) or {}).get("state")
            if state == "finished":
                self.tale.finished = True
                return
            at = self._newest_batch()
            for one in self._plan:
                if one.number not in done and at >= one.batch and one.fault in {Fault.BOT, Fault.SLACK}:
                    done.add(one.number)
                    self._happens(one)
                    await (self._kill_bot(bot) if one.fault is Fault.BOT else self._take_slack_away(slack))
            if (self.folder / "power").exists():
                (self.folder / "power").unlink()
                await self._kill_bot(bot)
            await self._see_to_the_trainer(slack, state)

    async def _see_to_the_trainer(self, slack: StrictSlack, state: str | None) -> None:
        if alive := self._trainers():
            self._dead_since = None
            if not self._hangs(alive):
                self._asked = False
                return
            if not self._asked and (self.kind is Kind.ASK or time.time() - self._last_line_ts > GIVE_UP_ON_BOT_S):
                self._asked = True
                self._person("a hang")
                for process in alive:
                    with contextlib.suppress(psutil.Error):
                        process.kill()
            return
        now = time.monotonic()
        self._dead_since = self._dead_since or now
        dead_s = now - self._dead_since
        if self._dead_since == now:
            self._asked = False
        if self._asked:
            return
        cluster = state == "stopped" and self._newest_fault() in TAKES_A_CLUSTER
        if cluster and dead_s > QUEUE_S:
            self._asked = True
            self.resume()
        elif (
            not cluster and dead_s > 3.0 and (state == "gave_up" or self.kind is Kind.ASK or dead_s > GIVE_UP_ON_BOT_S)
        ):
            self._asked = True
            self._person(f"the end of the trainer ({state})")
            if state == "gave_up":  # what was bad was skipped: the weights are worth going on with
                await slack.command("U0ANN", "continue because every bad batch was skipped")
                await asyncio.sleep(3.0)
            await slack.command("U0ANN", "resume")

    def _hangs(self, alive: Sequence[psutil.Process]) -> bool:
        """Whether a hang has come over one that is at work; a start after it is none."""
        if self._newest_fault() is not Fault.HANG or time.time() - self._last_line_ts < HANG_SEEN_S:
            return False
        number = next(one.number for one in self._plan if one.fault is Fault.HANG)
        since = (self.folder / "happened" / str(number)).stat().st_mtime
        with contextlib.suppress(psutil.Error):
            return any(process.create_time() < since for process in alive)
        return False

    def _person(self, why: str) -> None:
        print(f"  {self.kind}: a person is needed: {why}", flush=True)
        self.tale.persons.append(why)
        self.tale.waited_s += PERSON_S

    async def _kill_bot(self, bot: LivingBot) -> None:
        await bot.kill()
        await asyncio.sleep(BOT_BACK_S)
        await bot.start()

    async def _take_slack_away(self, slack: StrictSlack) -> None:
        away_s = max(self._sizes["epoch_s"] / 5, 5.0)  # an hour of five
        began = time.time()
        await slack.close()
        await asyncio.sleep(away_s)
        await slack.listen()
        self.tale.outage = (began, time.time())

    # -- stock --------------------------------------------------------------------------------------------------------

    async def _play_stock(self, deadline: float) -> None:
        self.begin()
        before = -1
        while time.monotonic() < deadline:
            await asyncio.sleep(0.2)
            assert self._loop is not None
            code = self._loop.poll()
            at = self._newest_batch()
            if code is None:
                if self._hangs([psutil.Process(self._loop.pid)]):
                    self.tale.persons.append("a hang that nothing told")
                    self.tale.waited_s += STOCK_LOOK_S
                    os.killpg(self._loop.pid, signal.SIGKILL)
                    self._loop.wait()
                continue
            if code == ExitCode.FINISHED:
                self.tale.finished = True
                return
            self._failures = self._failures + 1 if at == before else 0
            before = at
            if self._failures >= 3:
                self._failures = 0
                self._person("a loop that never trains")
                best, last = self.layout.weights / "best.pt", self.layout.weights / "last.pt"
                if not best.exists() or best.read_bytes() == last.read_bytes():
                    shutil.rmtree(self.layout.root, ignore_errors=True)  # nothing is left: from the start
                else:
                    shutil.copy2(best, last)
            await asyncio.sleep(1.0)
            self.begin()
        self._end_all()

    # -- looking ------------------------------------------------------------------------------------------------------

    def _newest_batch(self) -> int:
        path = self.folder / "trained.log"
        try:
            self._last_line_ts = path.stat().st_mtime
            with path.open("rb") as stream:
                stream.seek(max(0, stream.seek(0, os.SEEK_END) - 200))
                return int(stream.read().splitlines()[-1].split()[-1])
        except (OSError, IndexError, ValueError):
            return -1

    def _newest_fault(self) -> Fault | None:
        marks = [path for path in (self.folder / "happened").iterdir() if path.name.isdigit()]
        newest = max(marks, key=lambda path: path.stat().st_mtime, default=None)
        return None if newest is None else next(one.fault for one in self._plan if one.number == int(newest.name))

    def _happens(self, one: Planned) -> None:
        (self.folder / "happened" / str(one.number)).touch()

    def _note_happened(self) -> None:
        marks = (path for path in (self.folder / "happened").iterdir() if path.name.isdigit())
        self.tale.happened = {int(path.name): path.stat().st_mtime for path in marks}
        hung = any(one.fault is Fault.HANG and one.number in self.tale.happened for one in self._plan)
        if hung and self.kind is not Kind.STOCK:
            self.tale.waited_s += HANG_LONGER_S

    def _trainers(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                words = process.cmdline()
                resumes = "resume" in words and str(self.layout.root) in words
                ours = (resumes or "beset.py" in words) and process.cwd() == str(self.folder)
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def _reap(self) -> None:
        if self._loop is not None:
            self._loop.poll()

    def _end_all(self) -> None:
        for process in self._trainers():
            with contextlib.suppress(psutil.Error):
                process.kill()
        if self._loop is not None:
            self._loop.wait()
