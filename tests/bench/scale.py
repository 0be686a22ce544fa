"""A thousand runs, two hundred of them at work, on one bot; and a hundred runs; each a process of its own.

``python -m tests.bench.scale``; ``ONLY="1000 runs"`` for that alone, ``PROFILE_TO=FILE`` writes a profile. Must reach,
of 1,000: start to connected <= 5 s, at most 10 % of one core and 200 MiB resident with a check every 15 s, ``status``
answered p99 <= 300 ms. Of 100: 100 MiB. Their losses fall and their states are new. "in trouble" are a thousand of
which each of the two hundred tells of a loss that does not fall and of an old state while it is measured. The import of
the package, and of the bot: 300 ms; that of all that it is wired of, libraries included, is told beside it.
"""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench import _watching as watching
from tests.bench._watching import Load, told
from tests.support.run_dirs import START_TS, WrittenRun
from trainmaster.trainer.contract import EventKind, RunRecordState

INTERVAL_S = 15


_EPOCH_S = 600.0
_ENDED_AGO_S = 400.0
"""Of the newest epoch: what ended just before the bot begins is news, and is told."""


def _write(folder: Path, number: int, *, at_work: bool, in_trouble: bool) -> WrittenRun:
    """A run of some epochs; one that is over ended well, a day ago. ``in_trouble``: its loss does not fall, and it has
    saved nothing for longer than two of its epochs take."""
    run = WrittenRun(folder / "runs", f"run{number:04d}", batches=100_000)
    ago_s = 0.0 if at_work else 86_400.0
    now_s = time.time() - START_TS - ago_s
    run.record(started_ts=time.time() - ago_s - 3600, updated_ts=time.time() - ago_s)
    for epoch in range(1, 11):
        ended_s = now_s - _ENDED_AGO_S + _EPOCH_S * (epoch - 10)
        run.start_epoch(epoch, ended_s - _EPOCH_S + 5)
        loss, took_s = (3.0, _ENDED_AGO_S / 4) if in_trouble else (3.5 - 0.1 * epoch, _EPOCH_S - 5)
        run.finish_epoch(epoch, ended_s, loss=loss, seconds=took_s)
        run.save_checkpoint(epoch, ended_s)
    run.series(epoch=10, batch=0, loss=5.0, after_s=now_s - 300)
    run.layout.series.write_text(300 * run.layout.series.read_text())
    run.start_epoch(11, now_s)
    run.beat(now_s, epoch=11, batch=10)
    if not at_work:
        run.event(EventKind.RUN_FINISHED, now_s)
        run.record(
            state=RunRecordState.FINISHED,
            exit_code=0,
            started_ts=time.time() - ago_s - 3600,
            updated_ts=time.time() - ago_s,
        )
    return run


async def measure(folder: Path, num_runs: int, num_at_work: int, *, in_trouble: bool) -> dict[str, float]:
    """The figures, by name."""
    runs = [_write(folder, number, at_work=number < num_at_work, in_trouble=in_trouble) for number in range(num_runs)]
    load = Load(
        runs=runs[:num_at_work],
        epoch=11,
        first_batch=10,
        check_interval_s=INTERVAL_S,
        profile_to=os.environ.get("PROFILE_TO", ""),
    )
    return await watching.measure(folder, load)


def import_ms(module: str) -> float:
    """Milliseconds of processor that an import adds to a Python that does nothing, the best of five."""

    def best(code: str) -> float:
        times = []
        for _ in range(5):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, "-c", code], check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        return 1000 * min(times)

    return best(f"import {module}") - best("pass")


def main() -> int:
    """1 when a mark was missed."""
    limits = {
        "1000 runs": {"start_s": 5.0, "cpu_pct": 10.0, "answer_p99_ms": 300.0, "rss_mib": 200.0},
        "in trouble": {"start_s": 5.0, "cpu_pct": 10.0, "answer_p99_ms": 300.0, "rss_mib": 200.0},
        "100 runs": {"start_s": 5.0, "cpu_pct": 10.0, "answer_p99_ms": 300.0, "rss_mib": 100.0},
    }
    sizes = {"1000 runs": (1000, 200), "in trouble": (1000, 200), "100 runs": (100, 20)}
    sizes = {name: size for name, size in sizes.items() if os.environ.get("ONLY", name) == name}
    figures: dict[str, dict[str, float]] = {
        "bot": {
            "import_ms": import_ms("trainmaster.bot"),
            "app_import_ms": import_ms("trainmaster.bot.app"),
            "wiring_import_ms": import_ms("trainmaster.bot.wiring.parts"),
        }
    }
    limits["bot"] = {"import_ms": 300.0, "app_import_ms": 300.0}
    for name, (num_runs, num_at_work) in sizes.items():
        with tempfile.TemporaryDirectory() as folder:
            figures[name] = asyncio.run(measure(Path(folder), num_runs, num_at_work, in_trouble=name == "in trouble"))
    reached = [told(name, values, limits[name]) for name, values in figures.items()]
    return int(not all(reached))


if __name__ == "__main__":
    raise SystemExit(main())
