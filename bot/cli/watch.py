"""``trainmaster watch``: runs live in a terminal. Reads only; whatever it does, no training notices."""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from trainmaster.bot.cli.arguments import VerbParser
from trainmaster.bot.core.health.host import HostFact
from trainmaster.bot.drivers.host import HostProbe
from trainmaster.bot.drivers.routing import driver_of
from trainmaster.bot.errors import CommandError
from trainmaster.bot.settings.model import Settings, examine_settings
from trainmaster.bot.storage.adoptions import find_adoptions, read_adoption
from trainmaster.bot.terminal.canvas import Canvas
from trainmaster.bot.terminal.dashboard import dashboard
from trainmaster.bot.terminal.screen import Drawn, draw_for_ever, is_live, print_once
from trainmaster.bot.terminal.sources import Sources
from trainmaster.visible import visible_line

_DESCRIPTION = """\
Runs live in this terminal: bars, losses and gradient norms as small charts,
bad batches, clips, events as they come, host and GPU. It only reads.

RUN is a run directory, a directory with runs, a run's name below RUNS_DIR, or
the console log of any Ultralytics training. Without one: all of RUNS_DIR and
the adopted runs. One run is shown in full, several have a line each.
"""
_HOST_EVERY_S = 5.0


def main(argv: Sequence[str]) -> int:
    """The picture was printed (``--once``, or no terminal).

    Raises:
        CommandError: a RUN names nothing that can be watched, or there is no RUNS_DIR.
        KeyboardInterrupt: Ctrl-C ended the live view; the terminal is as it was.
    """
    parser = VerbParser(prog="trainmaster watch", description=_DESCRIPTION)
    parser.add_argument("runs", nargs="*", metavar="RUN", help="what to watch (default: everything)")
    parser.add_argument("--once", action="store_true", help="print the picture and end")
    parser.add_argument(
        "--interval", type=_seconds, default=2.0, metavar="S", help="seconds between two looks (default: 2)"
    )
    given = parser.parse_args(argv)
    settings, _ = examine_settings(os.environ, Path(".env"), needs_slack=False)
    settings = settings or Settings()
    if not given.runs and not settings.runs_dir.is_dir():
        raise CommandError(
            "watch-runs-dir",
            f"RUNS_DIR is {visible_line(str(settings.runs_dir))}, which is no directory.",
            "name a run or a log (trainmaster watch RUN), or set RUNS_DIR to the trainer's project=",
        )
    # The driver takes notes on processes: this one's go with it.
    with tempfile.TemporaryDirectory(prefix="trainmaster-watch-") as notes, asyncio.Runner() as runner:
        picture = _Drawing(given.runs, settings, Path(notes), runner, live=not given.once and is_live(sys.stdout))
        if picture.live:
            draw_for_ever(picture.draw, sys.stdout, interval_s=given.interval)
        else:
            print_once(picture.draw, sys.stdout)
    return 0


class _Drawing:
    """Looks at runs and host and draws them."""

    def __init__(
        self, words: Sequence[str], settings: Settings, notes: Path, runner: asyncio.Runner, *, live: bool
    ) -> None:
        self.live = live
        self._runner = runner
        self._runs_dir = settings.runs_dir
        state_dir = settings.state_dir
        self._sources = Sources(
            words=words,
            runs_dir=settings.runs_dir,
            adoptions=lambda: [found for one in find_adoptions(state_dir) if (found := read_adoption(one))],
            inspector=driver_of(notes, slurm=settings.slurm, look_s=30.0, only_looks=True),
        )
        self._probe = HostProbe(lambda: {"RUNS_DIR": settings.runs_dir})
        self._host: HostFact | None = None
        self._asked_at_s = -math.inf

    def draw(self, canvas: Canvas) -> Drawn:
        """The picture of this moment."""
        runs = self._sources.look(canvas.now)
        if time.monotonic() - self._asked_at_s >= _HOST_EVERY_S:
            self._host = self._runner.run(self._probe.look(canvas.now))
            self._asked_at_s = time.monotonic()
        where = canvas.glyphs.text(str(self._runs_dir))
        waits, closed = f"No run below {where} yet.", [self._called(one) for one in self._sources.closed]
        return dashboard(runs, self._host, canvas, live=self.live, waits=waits, closed=closed)

    def _called(self, directory: Path) -> str:
        return str(directory.relative_to(self._runs_dir) if directory.is_relative_to(self._runs_dir) else directory)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.2 <= value <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is no interval: seconds from 0.2 to 3600")
    return value
