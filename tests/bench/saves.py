"""Kills a small guarded training before and within each call by which it saves anything, and gives it bad disks.

kill -9 at a call leaves what is on the disk at that moment. So one training stands still before each such call (and in
the middle of a write), and its directory is judged as it is: no wrong verdict, and the plan of a resume begins at the
newest state that was attested clean. Some go on from there to their end, to the same bits. Then trainings on disks that
refuse calls at random: full, over quota, failing, read-only. ``--seed N``, ``--resumes N``, ``--disks N``,
``--stops-at BATCH`` (asks it to stop there: the saves of a stop). Needs a C compiler.
"""

from __future__ import annotations

import argparse
import errno
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

EPOCHS, BATCHES = 2, 4
FAULTS_C: Final = Path(__file__).parent / "deaths" / "faults.c"
INSIDE: Final = "TRAINMASTER_BENCH_SAVES"
"""Set in the process that has ``faults.c`` loaded."""


def main(words: list[str]) -> int:
    """1 when something did not hold."""
    parser = argparse.ArgumentParser(prog="saves")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--resumes", type=int, default=12)
    parser.add_argument("--disks", type=int, default=8)
    parser.add_argument("--stops-at", type=int, default=None)
    options = parser.parse_args(words)
    if os.environ.get(INSIDE):
        return Bench(Path(os.environ[INSIDE]), options).run()
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        print("left out: there is no C compiler")
        return 0
    with tempfile.TemporaryDirectory(prefix="trainmaster-saves-") as folder:
        library = Path(folder) / "faults.so"
        flags = ["-O1", "-shared", "-fPIC", "-w", "-U_FORTIFY_SOURCE"]
        subprocess.run([compiler, *flags, "-o", library, FAULTS_C, "-ldl"], check=True)
        environ = {
            **os.environ,
            INSIDE: folder,
            "LD_PRELOAD": str(library),
            "YOLO_CONFIG_DIR": str(Path(folder) / "yolo"),
            "CUDA_VISIBLE_DEVICES": "",
        }
        return subprocess.run([sys.executable, "-m", "tests.bench.saves", *words], env=environ, check=False).returncode


class Bench:
    """In the process that has torch loaded once for all trainings, which are its children."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        os.environ.pop("LD_PRELOAD", None)  # of no use to what they start
        import torch

        torch.set_num_threads(1)
        from tests.bench.deaths import children, judging, trainings
        from tests.support.tiny_model import write_tiny_model
        from trainmaster.trainer.data.digits import make

        self.children, self.judging, self.trainings = children, judging, trainings
        self.folder, self.options = folder, options
        self.random = random.Random(options.seed)
        self.data = make(folder / "digits", images=30, imgsz=64, digits=60, progress=False)
        self.model = write_tiny_model(folder)
        self.faults: list[str] = []

    def run(self) -> int:
        """All of it, and a line for what did not hold."""
        whole = self.folder / "whole"
        code = self.train(whole)
        assert code == 0, (whole / "out").read_text()
        undisturbed = self.judging.Undisturbed.of(whole / "run", whole / "trail", epochs=EPOCHS, batches=BATCHES)
        self.judge = self.judging.Judge(undisturbed)
        places = self.halts()
        self.go_on(places)
        for number in range(self.options.disks):
            self.bad_disk(number)
        print("All holds." if not self.faults else f"{len(self.faults)} did not hold")
        return 1 if self.faults else 0

    def halts(self) -> list[Path]:
        """Directories as kills would have left them, each judged; some of them."""
        place, num, seen, kept = self.folder / "halted", 0, set(), []

        def halted() -> None:
            nonlocal num
            num += 1
            if (mark := _mark(place / "run")) not in seen:
                seen.add(mark)
                copy = self.folder / "kills" / str(num)
                shutil.copytree(place, copy, ignore=shutil.ignore_patterns("out", "log"))
                kept.append(copy)
                self.check_kill(copy, (place / "log").read_text().splitlines()[-1])

        at = self.options.stops_at
        environ = {} if at is None else {self.trainings.STOPS_AT: str(at)}
        fault = self.children.Fault(way=self.children.Way.HALT)
        code = self.train(place, fault=fault, environ=environ, halted=halted)
        print(f"stood still {num} times, {len(seen)} directories differ in what is saved; it ended with {code}")
        return kept

    def check_kill(self, copy: Path, moment: str) -> None:
        """What a resume would begin with is the newest that is clean."""
        layout = _layout(copy)
        trail = self.judging.trail_of(copy / "trail")
        found = self.judge.dead(layout, trail)
        planned = self.folder / "planned"
        shutil.rmtree(planned, ignore_errors=True)
        shutil.copytree(copy, planned)
        begins, newest = _plan(_layout(planned)), self.judge.newest(layout)
        if begins != newest and not (begins is None and newest == EPOCHS * BATCHES):  # then it had finished
            found.append(f"a resume would begin at {begins}, the newest state is of {newest}")
        self.tell(f"killed at {moment!r}", found)

    def go_on(self, places: list[Path]) -> None:
        """Some of them to their end."""
        able = [place for place in places if self.judge.newest(_layout(place)) not in {None, EPOCHS * BATCHES}]
        for place in self.random.sample(able, min(self.options.resumes, len(able))):
            layout, dead = _layout(place), {step.pid for step in self.judging.trail_of(place / "trail")}
            newest = self.judge.newest(layout)
            code = self.resume(place)
            trail = self.judging.trail_of(place / "trail")
            found = [f"resume ended with {code}"] if code else []
            found += [] if code else self.judge.went_on(layout, trail, newest=newest, dead=dead)
            self.tell(f"gone on from kill {place.name}", found)
        print(f"gone on to the end: {min(self.options.resumes, len(able))}")

    def bad_disk(self, number: int) -> None:
        """A training that meets errors here and there ends whole, or as crashed and goes on from there."""
        grows, changes = self.children.GROWS, self.children.CHANGES
        ways = (
            (errno.ENOSPC, grows, 12),
            (errno.EDQUOT, grows, 25),
            (errno.EIO, changes, 25),
            (errno.EROFS, changes, 40),
        )
        error, kinds, one_in = ways[number % len(ways)]
        seed = self.random.randrange(10**6)
        place = self.folder / f"disk{number}"
        fault = self.children.Fault(way=self.children.Way.FLAKY, error=error, kinds=kinds, first=seed, last=one_in)
        code = self.train(place, fault=fault)
        layout, trail = _layout(place), self.judging.trail_of(place / "trail")
        found = self.judge.files(layout) if layout.guard.is_dir() else []
        if code and self.judge.newest(layout) is not None:
            code = self.resume(place)
            trail = self.judging.trail_of(place / "trail")
            found += [f"resume ended with {code}"] if code else []
        if not code:
            found += [*self.judge.same_weights(layout, trail), *self.judge.tidy(layout)]
            found += [] if (layout.weights / "best.pt").exists() else ["there is no best.pt"]
        self.tell(f"{errno.errorcode[error]} one call in {one_in}, seed {seed}: ended with {code}", found, always=True)

    def tell(self, what: str, found: list[str], *, always: bool = False) -> None:
        """One line."""
        if found or always:
            print(f"{what}: {'; '.join(found) or 'holds'}", flush=True)
        self.faults += [f"{what}: {one}" for one in found]

    def train(self, place: Path, **more: Any) -> int:
        """The small training, in ``place``."""
        from trainmaster.trainer.cli.on_the_record import on_the_record, train_by

        overrides = {
            "model": str(self.model),
            "data": str(self.data),
            "imgsz": 32,
            "epochs": EPOCHS,
            "batch": 24 // BATCHES,
            "nbs": 2 * 24 // BATCHES,
            "project": str(place),
            "name": "run",
            "device": "cpu",
            "plots": False,
            "level": "guard",
            "warmup_epochs": 0.5,
            "snapshot_s": 0.001,
            "save_period": 1,
            "exact": True,
            "workers": 0,
        }
        start = partial(train_by, self.trainings.Attacked, overrides)
        return self._child(partial(on_the_record, start), place, **more)

    def resume(self, place: Path) -> int:
        """As a bot would."""
        from trainmaster.trainer.__main__ import main as trainer

        return self._child(partial(trainer, ["resume", str(place / "run")]), place)

    def _child(
        self, work: Callable[[], int], place: Path, *, environ: dict[str, str] | None = None, **more: Any
    ) -> int:
        place.mkdir(parents=True, exist_ok=True)
        trail = {self.trainings.TRAIL: str(place / "trail")}
        out, log = place / "out", place / "log"
        given = {"root": place / "run", "out": out, "log": log, "environ": {**trail, **(environ or {})}}
        return self.children.run(work, **given, **more)


def _layout(place: Path) -> Any:
    from trainmaster.trainer.contract import RunLayout

    return RunLayout(place / "run")


def _mark(root: Path) -> tuple[object, ...]:
    """Changes with whatever counts for a resume."""
    folders = (root / "weights", root / "guard" / "states")
    files = [path for folder in folders if folder.is_dir() for path in sorted(folder.iterdir())]
    files += [path for path in (root / "guard" / "checkpoints.jsonl", root / "results.csv") if path.exists()]
    return tuple((path.name, path.stat().st_ino, 0 if path.name[0] == "." else path.stat().st_size) for path in files)


def _plan(layout: Any) -> int | None:
    """How many batches lie behind what a resume would begin with; None when it is refused."""
    from trainmaster.trainer.arguments import ArgumentsError
    from trainmaster.trainer.records.run_directory import RunLock
    from trainmaster.trainer.state.resume_plan import ResumeRefusedError, make_plan

    lock = RunLock(layout)
    try:
        plan, _ = make_plan(layout, lock, from_epoch=None, given={})
    except (ResumeRefusedError, ArgumentsError):
        return None
    finally:
        lock.release()
    batch: int = plan.epoch * BATCHES + plan.state["batch"]
    return batch


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
