"""Ten bad days: a real small training under twenty seeded faults, guarded alone, guarded with a person, and stock.

``python -m tests.bench.ten_days [--seed N] [--epochs N] [--worlds auto,ask,stock]``, or ``make bench ARGS="..."``.
An epoch of the small training stands for five hours: lost training counts as its share of an epoch at that scale;
waiting, start-up and what people take count in real seconds. Trainer, bot and kills are real; Slack is a stand-in, and
so is the cluster: a job that was asked to end is started again with ``resume``, a power cut kills trainer and bot.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import psutil

from tests.bench.bad_days.reckoning import Reckoned, own_alarms, reckon, trained_rows
from tests.bench.bad_days.scenario import ASKS_A_PERSON, EPOCH_S, OF_THE_BATCH, Planned, scenario
from tests.bench.bad_days.worlds import Kind, Tale, World

TARGET: Final = 0.995
SNAPSHOTS_AN_EPOCH: Final = 60
"""Of the small training: every five minutes of five hours, as the guard chooses where a save takes half a second."""
IMAGES: Final = 150
"""Four fifths of them are trained on, two a batch: a batch is five minutes, too."""
LIMIT_S: Final = 3600.0
"""For one world, in real seconds."""


def main() -> int:
    """1 when the guarded run was less productive than it must be, or is not the undisturbed one bit for bit."""
    parser = argparse.ArgumentParser(prog="ten_days")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=48)
    parser.add_argument("--worlds", default="auto,ask,stock")
    parser.add_argument("--keep", type=Path, help="a folder that the runs are left in")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        return _compared(asked, asked.keep or Path(made))


def _compared(asked: argparse.Namespace, root: Path) -> int:
    from tests.support.tiny_model import write_tiny_model
    from trainmaster.trainer.data.digits import make

    make(root / "digits", images=IMAGES, imgsz=64, digits=IMAGES, progress=False)
    write_tiny_model(root)
    batches = -(-len(list((root / "digits/images/train").iterdir())) // 2)
    plan = scenario(asked.seed, batches=batches, epochs=asked.epochs)
    sizes: dict[str, Any] = {"batches": batches, "epochs": asked.epochs, "snapshot_s": 0.0, "epoch_s": 10.0}
    print(
        f"seed {asked.seed}: {asked.epochs} epochs of {batches} batches, each epoch standing for {EPOCH_S / 3600:g} h"
    )
    for one in plan:
        print(f"  batch {one.batch:5}: {one.fault}")
    whole, epoch_s, own = asyncio.run(_undisturbed(root, plan, sizes))
    # A batch is as long as it is from one state to the next: none is to be passed over because it came a moment early.
    sizes |= {"epoch_s": epoch_s, "snapshot_s": epoch_s / SNAPSHOTS_AN_EPOCH / 2}
    print(f"undisturbed: {epoch_s:.1f} s an epoch here; a state each batch\n", flush=True)
    found = []
    worlds = [World(Kind(name), root / name, root, plan, sizes) for name in asked.worlds.split(",")]
    for world, tale in zip(worlds, asyncio.run(_played(worlds)), strict=True):
        found.append(reckon(tale, world.folder, plan, own))
        print(_text(found[-1]), flush=True)
        if world.kind is not Kind.STOCK and tale.finished:
            same = _same_bits(whole, world.layout.state_file(asked.epochs))
            print(
                f"  bit for bit the undisturbed run without the skipped batches: {'yes' if same else 'NO'}", flush=True
            )
            sizes["same"] = sizes.get("same", True) and same
    print(_table(found, asked.seed))
    auto = next((one for one in found if one.kind is Kind.AUTO), None)
    wanted = sum(one.fault in ASKS_A_PERSON for one in plan)
    missed = auto is not None and (auto.share < TARGET or len(auto.persons) > wanted or not auto.finished)
    return int(missed or not sizes.get("same", True))


async def _played(worlds: Sequence[World]) -> list[Tale]:
    """Side by side: they share the machine, so the real seconds of each are rather too long than too short."""
    return list(await asyncio.gather(*(world.play(limit_s=LIMIT_S) for world in worlds)))


async def _undisturbed(
    root: Path, plan: Sequence[Planned], sizes: dict[str, Any]
) -> tuple[Path, float, frozenset[str]]:
    """The run that has the bad batches and nothing else: its last state, how long an epoch takes here, and what the
    bot calls people for in it."""
    of_batch = [one for one in plan if one.fault in OF_THE_BATCH]
    more = {"bad_streak": 1000, "bad_count": 1000}
    world = World(Kind.AUTO, root / "undisturbed", root, of_batch, {**sizes, "more": more})
    code = await world.play_undisturbed()
    if code:
        raise RuntimeError((world.folder / "trainer.out").read_text(errors="replace")[-2000:])
    first = {batch // sizes["batches"]: ts for ts, _, batch in reversed(trained_rows(world.folder))}
    starts = [first[epoch] for epoch in sorted(first)]
    took_s = statistics.median(after - before for before, after in itertools.pairwise(starts))
    return world.layout.state_file(sizes["epochs"]), took_s, own_alarms(world.folder)


def _same_bits(left: Path, right: Path) -> bool:
    import torch

    from trainmaster.trainer.checkpoints.state import load_state

    one, other = (load_state(path)["model"] for path in (left, right))
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def _text(one: Reckoned) -> str:
    return "\n".join(
        (
            f"{one.kind}: {100 * one.share:.2f} % productive" + ("" if one.finished else ", NOT FINISHED"),
            (
                f"  training done again: {one.retrained} batches and half of {one.cut} = "
                f"{(one.retrained + one.cut / 2) / one.batches * EPOCH_S:,.0f} s; not training: {one.down_s:,.0f} s; "
                f"waiting for people and longer limits: {one.waited_s:,.0f} s"
            ),
            f"  bad batches skipped: {one.skipped}; a person was needed {len(one.persons)} times"
            + (f": {', '.join(one.persons)}" if one.persons else ""),
            f"  false alarms: {', '.join(one.false_alarms) or 'none'}; late: {', '.join(one.late) or 'none'}",
            f"  of the training itself, undisturbed too: {', '.join(one.own_alarms) or 'none'}",
        )
    )


def _table(found: Sequence[Reckoned], seed: int) -> str:
    memory = psutil.virtual_memory().total / 2**30
    rows = [
        (
            f"\n{time.strftime('%Y-%m-%d')}, {platform.processor() or platform.machine()}, {psutil.cpu_count()} cores, "
            f"{memory:.0f} GiB, load {os.getloadavg()[2]:.0f}, Python {platform.python_version()}, seed {seed}"
        ),
        "| world | productive | lost of ten days | batches lost | a person needed | alarms: false, own | alerts late |",
        "|---|---|---|---|---|---|---|",
    ]
    rows += [
        f"| {one.kind} | {100 * one.share:.2f} % | {one.lost_s / 3600:.1f} h | {one.skipped} skipped, {one.retrained} "
        f"again | {len(one.persons)} | {len(one.false_alarms)} and {len(one.own_alarms)} | {len(one.late)} |"
        for one in found
    ]
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
