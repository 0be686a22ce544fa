"""Python tracebacks line by line: the exception line counts, not the code that is echoed above it."""

from __future__ import annotations

import re
from enum import StrEnum

from trainmaster.bot.reading.console.errors import judge_exception
from trainmaster.bot.reading.console.facts import ConsoleFact, ErrorOrigin, FatalError, Notice, NoticeKind
from trainmaster.bot.reading.console.patterns import LazyPattern
from trainmaster.bot.reading.console.stamps import MAX_STAMP_CHARACTERS, stamp_of_same_words
from trainmaster.bot.reading.console.text import shortened

_HINT = "Traceback (most"
_HEAD = "Traceback (most recent call last):"
_FRAME = '  File "'
_BOX = r"[╭┌+][─━-]+ ?Traceback \(most recent call last\) ?[─━-]*[╮┐+]?$"
_NAMED_HEAD = r"(?<!\S)(\w+) +Traceback \(most recent call last\)$"
"""IPython shows the exception's name above, and has it again below the frames."""
_BOX_BEGINS = ("╭", "┌", "+-")
_BOX_SIDES = ("│", "┃", "|")
_BOX_ENDS = ("╰", "└", "+-")
"""Rich draws the frames of a traceback into a box, and the exception below it."""
_THREAD = LazyPattern(r"Exception in thread .+:$|Exception in \w*Thread\b.*:$", hints=("Exception in ",))
_IGNORED = LazyPattern(
    r"Exception ignored (?:in|on|while)\b|Error in atexit\._run_exitfuncs|^--- Logging error ---"
    r"|Exception in callback |exception was never retrieved|^Error in sys\.excepthook|Exception caught .*, ignored",
    hints=("Exception ", "Error in ", "Logging error", "exception was never"),
)
_DETAIL = LazyPattern(r"^(?:future|task|handle|message|protocol|transport|socket|context): ")
"""What asyncio puts between such an announcement and the traceback."""
_LEAVES_WELL = LazyPattern(r"^SystemExit(?:: *(?:0|None)?)?$", hints=("SystemExit",))
_CHILD = LazyPattern(r"^Process \S+:$", hints=("Process ",))
_CHAIN = ("The above exception was the direct cause", "During handling of the above exception")
_EXCEPTION = re.compile(r"^((?:\w+\.)*\w+)(?::(?:\s|$)|$)")
_KNOWN_ENDING = ("Error", "Exception", "Interrupt")
_LEVELS = frozenset({"WARNING", "ERROR", "INFO", "DEBUG", "CRITICAL", "NOTE"})
_MAX_LINES = 2_000
"""A traceback of more lines (deep recursion prints a thousand) is taken for something else."""


class _Kind(StrEnum):
    MAIN = "main"
    CHILD = "child"
    HARMLESS = "harmless"


class TracebackReader:
    """Feed it every line that is no frame. ``reading`` is true between a traceback's head and its exception line."""

    def __init__(self) -> None:
        self.reading = False
        self._indent = 0
        self._lines = 0
        self._in_box = self._below_box = False
        self._name = ""
        self._kind = _Kind.MAIN
        self._announced: _Kind | None = None
        self._chained = False
        self._stamp: re.Pattern[str] | None = None
        """What some logger had put before the head of the last traceback, and puts before each of its lines."""
        self._is_glued = False
        """Whether that head stands behind a bar, whose stamp it shares, and the lines below it have their own."""

    @property
    def idle(self) -> bool:
        """Whether the next line would be read the same had nothing been read before."""
        return not (self.reading or self._chained or self._announced)

    def goes_on_with(self, bare: str) -> bool:
        """Whether a line of a logger that says ``bare`` is one of the traceback, whose head had no stamp of its own."""
        if self.reading and self._lines == 0 and self._stamp is None:
            self._is_glued = bare.startswith(_FRAME)
        return self.reading and self._is_glued

    def read(self, text: str, line: int) -> tuple[bool, ConsoleFact | None]:
        """Whether ``text`` (with its indentation) belongs to a traceback, and the fact that it completes."""
        if _HINT in text and self._is_begun_by(text.rstrip()):
            return True, None
        stripped = text.strip()
        bare = self._without_stamp(text)
        if self.reading:
            return self._continue(bare, bare.strip(), line)
        if bare is not text and (not bare.strip() or bare.startswith(_CHAIN)):
            text, stripped = bare, bare.strip()
        if not stripped:
            return True, None
        if stripped.startswith(_CHAIN):
            self._chained = True
            return True, None
        self._chained = False
        if _THREAD.search(stripped) or _IGNORED.search(stripped):
            self._announced = _Kind.HARMLESS
            return True, Notice(line=line, kind=NoticeKind.THREAD_EXCEPTION, text=shortened(stripped))
        if _CHILD.match(stripped):
            self._announced = _Kind.CHILD
            return True, None
        if self._announced is _Kind.HARMLESS and _DETAIL.match(stripped):
            return True, None
        self._announced = None
        if text[:1].isspace():
            return False, None
        match = _EXCEPTION.match(stripped)
        if match is None or not _is_told_alone(match[1], stripped):
            return False, None
        self._kind = _Kind.MAIN
        return True, self._error(stripped, line)

    def _is_begun_by(self, text: str) -> bool:
        if text.endswith(_HEAD):
            self._begin(text, before=text[: text.rfind(_HEAD)])
        elif box := re.search(_BOX, text):
            self._begin(text, before=text[: box.start()])
            self._in_box = True
        elif named := re.search(_NAMED_HEAD, text):
            self._begin(text, before=text[: named.start()])
            self._name = named[1]
        else:
            return False
        return True

    def _begin(self, text: str, *, before: str) -> None:
        original = before.endswith("Original ")
        self._stamp = _stamp_of(before.removesuffix("Original "))
        text = self._without_stamp(text)
        if self._announced is not None:
            self._kind = self._announced
        elif not (self._chained or original):
            self._kind = _Kind.MAIN
        stripped = text.lstrip()
        begins = not before.strip() or stripped.startswith((_HEAD, "Original ", *_BOX_BEGINS))
        self._indent = len(text) - len(stripped) if begins else 0
        self.reading, self._lines, self._is_glued = True, 0, False
        self._in_box = self._below_box = False
        self._name = ""
        self._announced, self._chained = None, False

    def _continue(self, text: str, stripped: str, line: int) -> tuple[bool, ConsoleFact | None]:
        self._lines += 1
        if self._in_box and stripped.startswith((*_BOX_SIDES, *_BOX_ENDS)) and self._lines <= _MAX_LINES:
            self._below_box = stripped.startswith(_BOX_ENDS)
            self._in_box = not self._below_box
            return True, None
        if self._in_box or (self._below_box and not _EXCEPTION.match(stripped)):
            self.reading = False
            return False, None
        indent = len(text) - len(text.lstrip())
        if not stripped or (indent > self._indent and self._lines <= _MAX_LINES):
            return True, None
        match = _EXCEPTION.match(stripped)
        if match is None or match[1] in _LEVELS or not self._is_exception(match[1]):
            self.reading = self._lines <= _MAX_LINES
            return False, None
        self.reading = False
        return True, self._error(stripped, line)

    def _is_exception(self, name: str) -> bool:
        if self._name:  # between it and the exception stand places in files, which begin at the left
            return name.rpartition(".")[2] == self._name or name.endswith(_KNOWN_ENDING)
        return _names_exception(name)

    def _without_stamp(self, text: str) -> str:
        match = self._stamp.match(text) if self._stamp else None
        return text[match.end() :] if match else text

    def _error(self, stripped: str, line: int) -> ConsoleFact | None:
        if self._kind is _Kind.HARMLESS:
            return None  # announced already, with the thread's name
        if _LEAVES_WELL.match(stripped):
            return None
        verdict = judge_exception(stripped)
        origin = (
            ErrorOrigin.CHILD if self._kind is _Kind.CHILD and verdict.origin is ErrorOrigin.MAIN else verdict.origin
        )
        return FatalError(line=line, kind=verdict.kind, origin=origin, detail=verdict.detail, text=shortened(stripped))


def _stamp_of(before: str) -> re.Pattern[str] | None:
    """Matches ``before`` with any other time, number or level in it; None when it is mere indentation or no
    logger's."""
    if not before.strip() or len(before) > MAX_STAMP_CHARACTERS:
        return None
    return stamp_of_same_words(before)


def _is_told_alone(name: str, text: str) -> bool:
    """Whether an exception is told without frames above it, as a syntax error is. IPython does so with an exit."""
    if name == "SystemExit":
        return ":" in text
    return name.endswith(_KNOWN_ENDING) and name not in _KNOWN_ENDING


def _names_exception(name: str) -> bool:
    last = name.rpartition(".")[2]
    return last[:1].isupper() or last.endswith((*_KNOWN_ENDING, "error", "timeout"))
