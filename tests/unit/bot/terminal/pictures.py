"""Pictures of the dashboard as text, as a terminal without colours shows them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import UTC
from pathlib import Path

from rich.console import Console

from tests.support.run_dirs import START_TS, WrittenRun
from trainmaster.bot.core.health.host import DiskFact, GpuFact, HostFact, MemoryFact
from trainmaster.bot.core.run.facts import Identity, ProcessFact, ProcessStatus
from trainmaster.bot.terminal.canvas import Canvas, Shown
from trainmaster.bot.terminal.dashboard import dashboard
from trainmaster.bot.terminal.glyphs import UNICODE, Glyphs
from trainmaster.bot.terminal.sources import GuardedSource

HOST = HostFact(
    ts=START_TS,
    name="gpu-host",
    disks=(DiskFact(place="/", holds=("RUNS_DIR",), free_gib=120.0, total_gib=500.0),),
    memory=MemoryFact(total_gib=64.0, available_gib=32.0, swap_total_gib=0.0, swap_used_gib=0.0, swap_in_mib_s=None),
    gpus=(GpuFact(key="GPU 0", name="H100", temperature_c=61.0, memory_used_gib=40.0, memory_total_gib=80.0),),
)


class Living:
    """Every process is ``status``."""

    def __init__(self, status: ProcessStatus = ProcessStatus.ALIVE, later: ProcessFact | None = None) -> None:
        self.status = status
        self.later = later

    def inspect(self, identity: Identity) -> ProcessFact:
        return ProcessFact(status=self.status, ts=START_TS)

    def next_start(self, run: str, identity: Identity) -> ProcessFact | None:
        return self.later


def shown(
    run: WrittenRun,
    after_s: float = 500.0,
    status: ProcessStatus = ProcessStatus.ALIVE,
    later: ProcessFact | None = None,
) -> Shown:
    return look(run.layout.root, after_s, status, later)


def look(
    directory: Path,
    after_s: float = 500.0,
    status: ProcessStatus = ProcessStatus.ALIVE,
    later: ProcessFact | None = None,
) -> Shown:
    return GuardedSource(directory, Living(status, later), START_TS).look(START_TS + after_s)


def picture(
    runs: Sequence[Shown],
    *,
    width: int = 80,
    height: int | None = None,
    glyphs: Glyphs = UNICODE,
    after_s: float = 501.0,
    host: HostFact | None = HOST,
    colours: bool = False,
    closed: Sequence[str] = (),
) -> list[str]:
    """Its lines, without the blanks at their ends."""
    stream = io.StringIO()
    console = Console(
        file=stream, width=width, height=height, force_terminal=colours, color_system="256" if colours else None
    )
    canvas = Canvas(width=width, height=height, glyphs=glyphs, now=START_TS + after_s, zone=UTC)
    console.print(dashboard(runs, host, canvas, live=height is not None, closed=closed), soft_wrap=True)
    return [line.rstrip() for line in stream.getvalue().splitlines()]


def trained(root: Path, name: str = "night", *, epochs: int = 10, done: int = 3) -> WrittenRun:
    """A run within epoch ``done`` + 1, with a skipped batch and a series."""
    run = WrittenRun(root, name, epochs=epochs)
    run.event("run_started", 0.0, pid=1, level="standard", settings={"max_norm": 10.0})
    for epoch in range(1, done + 1):
        run.start_epoch(epoch, 100.0 * epoch)
        for batch in range(10, 101, 10):
            norm = 1.0 + batch / 100
            run.series(epoch=epoch, batch=batch, loss=5.0 / epoch, grad_norm_p50=norm, grad_norm_p99=2 * norm)
        run.finish_epoch(epoch, 100.0 * epoch + 99, loss=5.0 / epoch)
        run.save_checkpoint(epoch, 100.0 * epoch + 99.5)
    run.start_epoch(done + 1, 100.0 * (done + 1))
    run.bad_batch(done + 1, 42, 100.0 * (done + 1) + 42)
    run.beat(100.0 * (done + 1) + 50, epoch=done + 1, batch=50, clipped_epoch=3, grad_norm=3.25)
    return run
