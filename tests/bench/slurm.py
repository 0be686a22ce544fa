"""Runs on a real Slurm of two nodes: what a look at 100 jobs costs, and the long series of blows.

``python -m tests.bench.slurm``. 30 each of requeue, preemption, power cut, and power cut with the node back at once;
102 kill -9 of bot, controller or both at random moments of a rollback or a resume. No epoch may be lost, no second
run begun, and each blow is told within a tick of Slurm's own word. About two hours on two quiet cores.
``TRAINMASTER_SLURM_ROUNDS``, ``TRAINMASTER_SLURM_KILLS`` and ``TRAINMASTER_SEED`` change that;
``TRAINMASTER_SLURM_ONLY`` takes the series whose names hold it.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

STORIES = "tests/integration/slurm"
SERIES = (
    f"{STORIES}/test_many.py",
    *(
        f"{STORIES}/test_rounds.py::test_no_epoch_and_no_run_is_lost[{strike}]"
        for strike in ("requeue", "preemption", "power-cut", "power-flicker")
    ),
    *(
        f"{STORIES}/test_rounds.py::test_kill_at_a_random_moment_leaves_one_trainer[{victim}-{act}]"
        for victim in ("bot", "controller", "both")
        for act in ("rolled_back", "stopped_and_resumed")
    ),
)


def _figures(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _text(rows: list[dict[str, Any]]) -> str:
    """The count and, of each figure, its smallest, its median and its largest."""
    parts = [f"{len(rows)} held"]
    for name in sorted({key for row in rows for key in row} - {"name", "moment_s"}):
        values = sorted(row[name] for row in rows)
        unit, factor = ("ms", 1e3) if name == "processor_s" else ("s", 1)
        what = name.removesuffix("_s")
        parts.append(
            f"{what} {factor * values[0]:.1f} to {factor * values[-1]:.1f} {unit}, "
            f"median {factor * statistics.median(values):.1f}"
        )
    return "; ".join(parts)


def _series(test: str, folder: Path) -> bool:
    """Whether every round of it held."""
    figures = folder / "figures.jsonl"
    figures.unlink(missing_ok=True)
    environ = {"TRAINMASTER_SLURM_ROUNDS": "30", "TRAINMASTER_SLURM_KILLS": "102", **os.environ}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test]
    ended = subprocess.run(
        command, env={**environ, "TRAINMASTER_FIGURES": str(figures)}, capture_output=True, text=True, check=False
    )
    name = test.partition("[")[2].rstrip("]") or "look at 100 jobs"
    said = ended.stdout.strip().splitlines()
    print(f"{name}: {_text(_figures(figures))} ({said[-1] if said else ended.stderr.strip()})", flush=True)
    if ended.returncode:
        print("\n".join(said[-40:]), flush=True)
    return ended.returncode == 0 and " skipped" not in (said[-1] if said else "")


def main() -> int:
    """1 when a round did not hold, or nothing could be tried."""
    only = os.environ.get("TRAINMASTER_SLURM_ONLY", "")
    with tempfile.TemporaryDirectory() as folder:
        reached = [_series(test, Path(folder)) for test in SERIES if only in test]
    return int(not all(reached))


if __name__ == "__main__":
    raise SystemExit(main())
