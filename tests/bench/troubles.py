"""A trainer dies while Slack is in trouble: 40 kinds of it, and again with a bot that begins meanwhile.

``python -m tests.bench.troubles [--only WORDS]``. The bot is a process, Slack a stand-in that breaks on the wire. Must
reach: told within 10 s of Slack's return (the pause included that its last answer asked for), before every lesser
message, and nothing twice or lost. About half an hour on two cores.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.attack.suffering import TOLD_S, suffer
from tests.attack.troubles import KINDS


async def main(only: str) -> int:
    """1 when one of them missed."""
    missed, slowest_s, num = [], 0.0, 0
    with tempfile.TemporaryDirectory() as root:
        for restarted in (False, True):
            for number, kind in enumerate(
                one for one in KINDS if only in one.name and not (restarted and one.ends_starts)
            ):
                folder = Path(root) / f"{number}-{restarted}"
                folder.mkdir()
                suffered = await suffer(folder, kind, restarted=restarted)
                what = f"{kind.name}{', begun in it' if restarted else ''}"
                told = "never told" if suffered.told_s is None else f"told after {suffered.told_s:5.1f} s"
                print(f"{what:55} {told}{'' if suffered.held else f'  MISSED: {suffered}'}", flush=True)
                num, slowest_s = num + 1, max(slowest_s, suffered.told_s or 0.0)
                missed += [] if suffered.held else [what]
    print(
        f"{num} tried, {len(missed)} missed, the slowest told {slowest_s:.1f} s after Slack's return (limit {TOLD_S:g})"
    )
    return 1 if missed else 0


if __name__ == "__main__":
    options = argparse.ArgumentParser()
    options.add_argument("--only", default="", help="kinds whose names hold it")
    sys.exit(asyncio.run(main(options.parse_args().only)))
