"""The terminal that a verb runs in: how wide it is, what it can show, and a word while something takes long.

Standard library only; both bot and trainer use it.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import io
import os
import sys
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Final, TextIO

from trainmaster.visible import visible, visible_line

AFTER_S: Final = 1.0
"""What is over sooner needs no word."""
_EVERY_S: Final = 0.5
_CLEAR: Final = "\r\x1b[K"
_DUMB: Final = frozenset({"dumb", "unknown"})
_NARROWEST: Final = 20
_MOST_DIGITS: Final = 4
"""Of a screen's size."""
_LONGEST_NAME: Final = 400
"""Of a file that the system refused: one that is refused for its length fills a screen."""


def forgiving(*streams: TextIO) -> None:
    """What the encoding of a stream has no sign for is written as an escape, and ends nothing. Of the standard streams,
    which are meant when none are given, one that is closed or full, and a Ctrl-C, end in one line and not in a
    traceback."""
    if not streams:
        _prepare()
    for stream in streams or (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


_OF_A_STREAM: Final = frozenset({errno.EBADF, errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EPIPE})
_prepared: list[bool] = []


def _prepare() -> None:
    """Something is there to write to, nothing else takes the number of a stream that was closed, and what was not
    written is told, at the end of the process at the latest."""
    if _prepared:
        return
    _prepared.append(True)
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # the lowest number that is free is the one that is taken; what is written there fails
            os.set_inheritable(os.open(os.devnull, os.O_RDONLY), True)
    if sys.stdout is None:  # which Python has for one that was closed before it began
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - as long as the process
        import logging  # noqa: PLC0415 - rarely needed

        logging.raiseExceptions = False  # it would print a traceback a line
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - as above
    for name in ("COLUMNS", "LINES"):
        given = os.environ.get(name, "0")
        if not (given.isascii() and given.isdecimal() and len(given) <= _MOST_DIGITS):
            del os.environ[name]  # no size of a screen, which libraries would take as it is
    sys.excepthook = _told_in_a_line
    atexit.register(_end)


def _told_in_a_line(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        with contextlib.suppress(OSError, ValueError):
            print("Ended on request.", file=sys.stderr)
    elif not (isinstance(error, OSError) and error.errno in _OF_A_STREAM and _unwritable("\n")):
        sys.__excepthook__(kind, error, trace)


def _unwritable(text: str = "") -> bool:
    """Whether standard output does not take what was printed, and ``text``; says so, unless a reader such as head has
    seen enough, and loses what comes from now on. Once it has failed, Python forgets what it did not take: only more
    text tells."""
    try:
        if text:  # even of nothing, an unbuffered stream makes a call that fails
            sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        with contextlib.suppress(OSError, ValueError):  # nobody can be told
            if not isinstance(error, BrokenPipeError):
                print(f"The output can't be written: {error.strerror or error}.", file=sys.stderr, flush=True)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return True
    except ValueError:  # somebody closed it
        return False
    return False


def _end() -> None:
    if _unwritable():
        os._exit(1)


def columns(stream: TextIO | None = None) -> int | None:
    """How wide ``stream`` is as a terminal, or as ``COLUMNS`` says; None for a file or a pipe, which has no end."""
    out: TextIO | None = stream or sys.stdout  # there is none where a program has closed it, or has no console
    if not ((out and out.isatty()) or os.environ.get("COLUMNS", "").isdecimal()):
        return None
    return max(_NARROWEST, _size())


def obeys(stream: TextIO) -> bool:
    """Whether ``stream`` is a terminal that takes a line back and has colours: another one shows the signs for it."""
    return stream.isatty() and os.environ.get("TERM", "").lower() not in _DUMB


def coloured(stream: TextIO) -> bool:
    """Whether colours are shown there: on a terminal that has them, unless ``NO_COLOR`` is set (no-color.org)."""
    return obeys(stream) and not os.environ.get("NO_COLOR")


def _size() -> int:
    from shutil import get_terminal_size  # noqa: PLC0415 - as textwrap below

    return get_terminal_size((80, 24)).columns


def folded(text: str, width: int | None, *, indent: str = "") -> str:
    """``text`` in lines of at most ``width``, further lines behind ``indent``; as it is where nothing limits it. Longer
    words (paths) stay whole: a terminal goes on in its next line, and they can be copied."""
    if width is None:
        return text
    import textwrap  # noqa: PLC0415 - a scan starts in milliseconds, and does without

    lines = (
        textwrap.wrap(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False) or [""]
        for line in text.split("\n")
    )
    return "\n".join(one for many in lines for one in many)


def complain(text: str) -> None:
    """``text`` stands on the error stream, folded, with nothing in it that a screen would obey or hide; a hint stays in
    one line, so that its command can be copied."""
    width = columns(sys.stderr)
    with contextlib.suppress(OSError):  # nobody can be told
        for line in visible(text).split("\n"):
            print(line if line.startswith("Hint: ") else folded(line, width, indent="  "), file=sys.stderr)


def complain_of(error: OSError) -> None:
    """What the system refused stands on the error stream: the file, why, and what to look at. Of standard
    output, that it takes nothing."""
    if error.filename is None and error.errno in _OF_A_STREAM and _unwritable("\n"):
        return
    name = "" if error.filename is None else visible_line(os.fsdecode(error.filename))
    if len(name) > _LONGEST_NAME:
        name = f"{name[:_LONGEST_NAME]}…"
    where = f" {name}:" if name else ""
    complain(f"system:{where} {error.strerror or error}.\nHint: check free space, permissions and mounts")


def then(command: str) -> None:
    """Says what comes next. On the error stream, so that what a verb prints can be put into a file. A program that
    reads it hears nothing."""
    if sys.stderr.isatty():
        with contextlib.suppress(OSError):  # nobody can be told
            print(f"Next: {visible(command)}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def working(what: str) -> Iterator[Callable[[str], None]]:
    """Says ``what`` is being done and for how long, in one line that goes away again; only on a terminal that can. What
    is yielded changes the words. Nothing else is to be printed within."""
    stream = sys.stderr
    if not obeys(stream):
        yield lambda _: None
        return
    line = _Line(stream, what)
    try:
        yield line.tell
    finally:
        line.close()


class _Line:
    """The line, written by a thread of its own: what is being done can't be interrupted for it."""

    def __init__(self, stream: TextIO, what: str) -> None:
        self._stream = stream
        self._what = what
        self._began_s = time.monotonic()
        import threading  # noqa: PLC0415 - as textwrap above

        self._over = threading.Event()
        self._thread = threading.Thread(target=self._write, name="progress", daemon=True)
        self._thread.start()

    def tell(self, what: str) -> None:
        """Something else is being done."""
        self._what = what

    def close(self) -> None:
        """The line is gone."""
        self._over.set()
        self._thread.join(1.0)

    def _write(self) -> None:
        shown = False
        wait_s = AFTER_S
        with contextlib.suppress(OSError, ValueError):  # the terminal is gone
            while not self._over.wait(wait_s):
                width = _size()
                spent = f" {time.monotonic() - self._began_s:.0f} s"
                what = visible_line(self._what)[: max(1, width - len(spent) - 1)]
                self._stream.write(f"{_CLEAR}{what}{spent}")
                self._stream.flush()
                shown, wait_s = True, _EVERY_S
            if shown:
                self._stream.write(_CLEAR)
                self._stream.flush()
