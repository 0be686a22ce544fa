"""Values that several verbs take on their command line."""

from __future__ import annotations

import argparse
import sys
from difflib import get_close_matches
from typing import Final, NoReturn

from trainmaster.terminal import complain

_MAX_PORT: Final = 65_535
_MAX_SECONDS: Final = 3600.0
_LONGEST: Final = 400
"""Letters that are repeated of what was not understood, the last of them from its end: there it says what is wrong."""
_END: Final = 100


class _Paragraphs(argparse.HelpFormatter):
    """Paragraphs, which blank lines part, stay apart, each as wide as the terminal."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n\n".join(super(_Paragraphs, self)._fill_text(one, width, indent) for one in text.split("\n\n"))


class VerbParser(argparse.ArgumentParser):
    """The words of a verb; what it does not understand is said like every other error, with the nearest option."""

    def __init__(self, *, prog: str, description: str, epilog: str | None = None) -> None:
        super().__init__(prog=prog, description=description, epilog=epilog, formatter_class=_Paragraphs)

    def error(self, message: str) -> NoReturn:
        """The usage and ``message`` stand on the error stream, and the process ends with 2."""
        self.print_usage(sys.stderr)
        known = sorted(self._option_string_actions)
        unknown = message.split()[2:] if message.startswith("unrecognized arguments: ") else []
        given = [word.partition("=")[0] for word in unknown if word.startswith("-")]
        near = [one for word in given for one in get_close_matches(word, known, n=1)]
        meant = f" Did you mean {near[0]}?" if near else ""
        shown = message if len(message) <= _LONGEST else f"{message[: _LONGEST - _END]}…{message[-_END:]}"
        complain(f"{self.prog}: {shown}.{meant}\nHint: {self.prog} --help")
        self.exit(2)


def page_port(text: str) -> int:
    """A port on the command line; 0 is any free one.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    if not text.isdecimal() or int(text[:6]) > _MAX_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 0 (any free one) to {_MAX_PORT}")
    return int(text)


def seconds(text: str) -> float:
    """A short time on the command line, 0 to an hour.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= _MAX_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds: 0 to {_MAX_SECONDS:.0f}")
    return value
