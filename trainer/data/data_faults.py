"""What of a data set cannot be trained on: found when it is scanned, or when a sample is made of it."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ultralytics.utils import LOGGER

from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.checkpoints.naming import some
from trainmaster.trainer.contract import EventKind, RunLayout
from trainmaster.trainer.data.tracing import UNREADABLE_KEY
from trainmaster.trainer.records.recorder import Recorder

MAX_NAMED: Final = 20
"""Files named in an event; the list beside it has all."""
_STANDS_IN: Final = {
    "batch": "could not be read; another sample stands in",
    "val_batch": "could not be read for validation; something else stands in",
}
MAX_LINES: Final = 4
"""Of a refusal: what it is and the first files, where a line is told of each."""
_ANSI: Final = re.compile(r"\x1b\[[0-9;]*m")
_LEFT_OUT: Final = re.compile(r"^(?:(?:train|val|test): ?)?(?P<file>.+?): ignoring (?P<why>.+)$")
"""How Ultralytics tells an image or label that it leaves out (``data/utils.py``, 8.4.190)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A file that is not trained on, and why."""

    file: str
    why: str


class _Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.found: list[LeftOut] = []

    def emit(self, record: logging.LogRecord) -> None:
        for line in _ANSI.sub("", record.getMessage()).splitlines():
            if match := _LEFT_OUT.match(line.strip()):
                self.found.append(LeftOut(file=match["file"], why=match["why"]))


@contextlib.contextmanager
def collecting() -> Iterator[list[LeftOut]]:
    """Within, what Ultralytics leaves out of a data set, and tells on its console only, is collected.

    Also when its logger was made silent (``YOLO_VERBOSE=False``): the console stays as silent as it was.
    """
    collector, level = _Collector(), LOGGER.level
    others = [(handler, handler.level) for handler in LOGGER.handlers]
    for handler, own in others:
        handler.setLevel(max(own, level))
    LOGGER.setLevel(min(level, logging.INFO))
    LOGGER.addHandler(collector)
    try:
        yield collector.found
    finally:
        LOGGER.removeHandler(collector)
        LOGGER.setLevel(level)
        for handler, own in others:
            handler.setLevel(own)


@contextlib.contextmanager
def told_as_bad_input(data: Any) -> Iterator[None]:
    """Within, a data set that Ultralytics refuses is one that somebody has to put right, not a crash.

    Raises:
        ArgumentsError: in its words, with the first of the files it names.
    """
    try:
        yield
    except (RuntimeError, FileNotFoundError, ValueError) as error:
        lines = [line.strip() for line in _ANSI.sub("", str(error)).splitlines() if line.strip()]
        text = " ".join(lines[:MAX_LINES]).encode("ascii", "ignore").decode()
        raise ArgumentsError(f"data={data} cannot be trained on: {' '.join(text.split())}") from error


class DataFaults:
    """Names and counts what is not trained on, each file once."""

    def __init__(self, layout: RunLayout, recorder: Recorder) -> None:
        self._layout = layout
        self._recorder = recorder
        self._told: set[str] = set()
        self._new: list[tuple[str, LeftOut]] = []

    def scanned(self, where: str, found: list[LeftOut]) -> None:
        """The data set ``where`` ("train" or "val") was scanned, and ``found`` left out of it."""
        new = [item for item in found if item.file not in self._told]
        if not new:
            return
        name = f"left_out_{where}.txt"
        try:
            text = "".join(f"{item.file}\t{item.why}\n" for item in new)
            (self._layout.guard / name).write_text(text, encoding="utf-8", errors="replace")
        except OSError as error:
            self._recorder.storage_fault(name, error)
        self._tell(where, new, f"guard/{name}")

    def batch(self, batch: Mapping[str, Any], *, validating: bool = False) -> None:
        """A batch came from a loader, perhaps with stand-ins for samples that could not be read."""
        lines = [line for text in batch.get(UNREADABLE_KEY, ()) for line in text.splitlines()]
        if not lines:
            return
        parts = (line.partition("\t") for line in lines)
        found = {file: LeftOut(file=file, why=why) for file, _, why in parts if file not in self._told}
        if found:
            self._tell("val_batch" if validating else "batch", list(found.values()), None)

    def taken(self) -> list[tuple[str, LeftOut]]:
        """What this process has met with since the last call, and where."""
        taken, self._new = self._new, []
        return taken

    def tell(self, met: list[tuple[str, LeftOut]]) -> None:
        """What another rank has met with is told, as far as it is new here."""
        for where in dict.fromkeys(where for where, _ in met):
            if new := [one for place, one in met if place == where and one.file not in self._told]:
                self._tell(where, new, None)

    def _tell(self, where: str, found: list[LeftOut], all_in: str | None) -> None:
        self._new += [(where, item) for item in found]
        self._told |= {item.file for item in found}
        named = found[:MAX_NAMED]
        self._recorder.event(
            EventKind.DATA_FAULT,
            where=where,
            count=len(found),
            files=[item.file for item in named],
            reasons=[item.why for item in named],
            list=all_in,
        )
        what = _STANDS_IN.get(where, f"left out of {where}")
        names = some([f"{item.file} ({item.why})" for item in found])
        files = "1 file" if len(found) == 1 else f"{len(found):,} files"
        LOGGER.warning(f"data-fault: {files} {what}: {names}{f'. All: {all_in}' if all_in else ''}")
