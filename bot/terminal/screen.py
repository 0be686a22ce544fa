"""The terminal: what it can show, and the picture drawn anew until somebody ends it."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Final, NoReturn, Self, TextIO

from rich.console import Console, Group
from rich.live import Live

from trainmaster.bot.terminal.canvas import Canvas
from trainmaster.bot.terminal.glyphs import glyphs_for

Draw = Callable[[Canvas], Group]
"""The picture for a canvas."""
Drawn = Group

_ENDINGS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def console_for(stream: TextIO) -> Console:
    """Colours on a terminal only, and none where ``NO_COLOR`` is set; nothing in a text is taken for markup."""
    terminal = stream.isatty()
    colours = terminal and not os.environ.get("NO_COLOR")
    return Console(
        file=stream,
        force_terminal=terminal,
        color_system="auto" if colours else None,
        no_color=not colours,
        markup=False,
        emoji=False,
        highlight=False,
        soft_wrap=False,
    )


def is_live(stream: TextIO) -> bool:
    """Whether a picture can be drawn over another one there: a terminal that moves its cursor."""
    return stream.isatty() and not console_for(stream).is_dumb_terminal


def canvas_of(console: Console, now: float, *, whole: bool) -> Canvas:
    """As large as the terminal is now; ``whole`` has no end below."""
    return Canvas(
        width=max(20, console.width),
        height=None if whole else max(4, console.height),
        glyphs=glyphs_for(getattr(console.file, "encoding", None)),
        now=now,
        zone=None,
    )


def print_once(draw: Draw, stream: TextIO) -> None:
    """The picture stands on ``stream``, as long as it is."""
    console = console_for(stream)
    console.print(draw(canvas_of(console, time.time(), whole=True)), soft_wrap=True)


def draw_for_ever(draw: Draw, stream: TextIO, *, interval_s: float) -> None:
    """The picture is drawn anew each ``interval_s``, until Ctrl-C or a signal ends it; the terminal is then as before.

    Raises:
        KeyboardInterrupt: Ctrl-C.
        SystemExit: SIGTERM or SIGHUP.
    """
    console = console_for(stream)
    first = draw(canvas_of(console, time.time(), whole=False))
    with _Ending() as ending:
        with Live(first, console=console, screen=True, auto_refresh=False, redirect_stderr=False) as live:
            live.refresh()
            while not ending.within(interval_s):
                live.update(draw(canvas_of(console, time.time(), whole=False)), refresh=True)
        ending.carry_out()


class _Ending:
    """Signals that end the view. One that came while it was being drawn waits for the drawing's end, as half a drawing
    would leave the terminal in the view's own screen; a second one does not wait."""

    def __init__(self) -> None:
        self._asked: int | None = None
        self._heard, self._said = os.pipe()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for signum in _ENDINGS:
            if signal.getsignal(signum) is not signal.SIG_IGN:  # below nohup
                self._before[signum] = signal.signal(signum, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        os.close(self._heard)
        os.close(self._said)

    def within(self, seconds: float) -> bool:
        """Whether somebody ended it before ``seconds`` had passed."""
        return bool(select.select([self._heard], [], [], seconds)[0])

    def carry_out(self) -> NoReturn:
        """The process ends as the signal asked.

        Raises:
            KeyboardInterrupt: it was Ctrl-C.
            SystemExit: it was another.
        """
        if self._asked in {None, signal.SIGINT}:
            raise KeyboardInterrupt
        sys.exit(128 + (self._asked or 0))

    def _take(self, signum: int, _frame: FrameType | None) -> None:
        again, self._asked = self._asked is not None, signum
        if again:
            self.carry_out()
        os.write(self._said, b".")
