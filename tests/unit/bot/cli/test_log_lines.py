"""The log on a screen."""

from __future__ import annotations

import logging

from trainmaster.bot.cli.log_lines import LogLines

ESCAPE, TURNED = "\x1b[31m", "\u202e"


def _line(message: str, *args: object, error: Exception | None = None) -> str:
    exc_info = (type(error), error, None) if error is not None else None
    record = logging.LogRecord("a.b", logging.WARNING, "f.py", 1, message, args, exc_info)
    return LogLines("%(levelname)s %(message)s").format(record)


def test_foreign_text_is_shown_and_stays_within_its_line() -> None:
    name = f"night{ESCAPE}{TURNED}\nERROR forged"
    assert _line("run %s was read", name) == "WARNING run night⟨U+001B⟩[31m⟨U+202E⟩⟨U+000A⟩ERROR forged was read"


def test_a_traceback_keeps_its_lines_and_hides_nothing() -> None:
    told = _line("it failed", error=ValueError(f"no {ESCAPE} here"))
    assert told.splitlines() == ["WARNING it failed", "ValueError: no ⟨U+001B⟩[31m here"]
