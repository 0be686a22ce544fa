"""``.env.example``, written from the declarations. A test compares the file with it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from trainmaster.bot.settings.declared import names, title
from trainmaster.bot.settings.model import SECTIONS, Settings, unit_of

_WIDTH: Final = 120
_HEAD: Final = (
    "# Trainmaster's settings. Copy this file to .env and fill in what is empty; the rest are the defaults.",
    "# What is set in the environment wins over .env. An empty value counts as not set. trainmaster doctor checks all.",
)


def example() -> str:
    """Every setting with unit, reason and default, by the part that uses it."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    yield from _HEAD
    for owner in SECTIONS:
        yield f"\n# ---- {title(owner)} ----"
        for name in names(owner):
            info = Settings.model_fields[name]
            comment = f"{unit_of(name)}: {info.description}"
            yield "\n" + textwrap.fill(comment, _WIDTH, initial_indent="# ", subsequent_indent="# ")
            yield f"{name.upper()}={_as_written(info.default)}"
    yield ""


def _as_written(value: Any) -> str:
    """As an operator writes it."""
    match value:
        case None | ():
            return ""
        case bool():
            return str(value).lower()
        case float():
            return str(int(value)) if value.is_integer() else repr(value)
        case (int(), int()):
            return "{:02}:{:02}".format(*value)
        case str() | int() | Path():
            return str(value)
    raise TypeError(f"{value!r} has no form in an environment file")
