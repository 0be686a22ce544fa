"""Values that several verbs take on their command line."""

from __future__ import annotations

import argparse
from typing import Final

_MAX_PORT: Final = 65_535


def page_port(text: str) -> int:
    """A port on the command line; 0 is any free one.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    if not text.isdecimal() or int(text) > _MAX_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 0 (any free one) to {_MAX_PORT}")
    return int(text)
