"""The lines of the log: one a message, whatever a name or another program's words hold."""

from __future__ import annotations

import logging
from typing import Any

from trainmaster.visible import visible, visible_line


class LogLines(logging.Formatter):
    """What a terminal would obey is shown, and no foreign text begins a line of its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        """The line of ``record``, without its traceback."""
        record.message = visible_line(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """The traceback, in its lines."""
        return visible(super().formatException(ei))


def show_foreign_text() -> None:
    """Warnings of a verb that keeps no log of its own are lines like those of the log."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(LogLines())
