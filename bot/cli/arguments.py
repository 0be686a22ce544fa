"""Values that several verbs take on their command line."""

from __future__ import annotations

import argparse
from typing import Final

_MAX_PORT: Final = 65_535
_MAX_SECONDS: Final = 3600.0


def page_port(text: str) -> int:
    """A port on the command line; 0 is any free one.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    if not text.isdecimal() or int(text) > _MAX_PORT:
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
