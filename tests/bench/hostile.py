"""Two thousand generated run directories that mean harm, a hundred at a time beside healthy runs and a bot's process.

``python -m tests.bench.hostile [--num N] [--seed S]``, as root. Must reach: nothing executed, read or pinged, nothing
that the bot stumbles over; and that a healthy run is in trouble is seen at most 1 s later than without the others.
About 25 minutes on two cores.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.attack.beside import beside

AT_ONCE = 100
DELAY_S = 1.0


async def main(num: int, seed: str) -> int:
    """1 when something came about, or took too long."""
    missed, slowest_s = 0, 0.0
    for first in range(0, num, AT_ONCE):
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            outcome = await beside(Path(folder), range(first, min(num, first + AT_ONCE)), seed)
        held = not (outcome.harm or outcome.faults) and outcome.delay_s <= DELAY_S
        seen = ", ".join(f"{one:.2f}" for one in outcome.beside_s)
        missing = "" if held else f"  MISSED: {outcome}"[:4000]
        print(f"{first:5} on: seen after {seen} s (slowness {outcome.slowness:.1f}){missing}", flush=True)
        missed, slowest_s = missed + (not held), max(slowest_s, outcome.delay_s)
    print(f"{num} tried, {missed} hundreds missed; the largest delay {slowest_s:.2f} s (limit {DELAY_S:g})")
    return 1 if missed else 0


if __name__ == "__main__":
    options = argparse.ArgumentParser()
    options.add_argument("--num", type=int, default=2_000)
    options.add_argument("--seed", default="bench")
    given = options.parse_args()
    sys.exit(asyncio.run(main(given.num, given.seed)))
