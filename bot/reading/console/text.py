"""Bytes of a console log -> plain text: what terminals, log shippers and copying have put around it taken away.

What a log shows of its own wrapping is learnt (``stamps``, ``records``); the prefixes listed here are for logs that
show too little of it.
"""

from __future__ import annotations

import re

from trainmaster.bot.reading.console.markup import unmarked
from trainmaster.bot.reading.console.parts import RecordParts
from trainmaster.bot.reading.console.patterns import LazyPattern
from trainmaster.bot.reading.console.records import LogRecords
from trainmaster.bot.reading.console.shells import signal_told
from trainmaster.bot.reading.console.stamps import Stamps

_ESC = r"(?:\x1b|#033|\\x1b|\\u001b|\\033|\^\[)"
_END_OF_STRING = rf"(?:\x07|#007|\\x07|\\u0007|\\007|\^G|{_ESC}\\\\?)"
_STRING = rf"(?:(?!{_ESC}).){{0,1000}}?{_END_OF_STRING}"
"""No other control begins in it: so many that nothing ends would each be looked through up to the next."""
_CONTROL = re.compile(
    rf"{_ESC}(?:\[[0-?]*[ -/]*(?:[@-~]|$)|\]{_STRING}|[()][0AB])|\x1b(?:[PX^_k]{_STRING}|[=>78cDEHMNO])|\x07"
)
"""Terminal control: colours, titles, links, character sets. CloudWatch and syslog write ESC as ``#033``, JSON as
``\\u001b``, ``cat -v`` as ``^[``."""
_UNICODE = re.compile(r"\\u([0-9a-fA-F]{4})")
_BYTES = LazyPattern(r"(?:\\x[89a-fA-F][0-9a-fA-F])+")
"""What is not ASCII, as Python shows bytes."""
_ESCAPE_MARKS = ("\x1b", "#0", "\\", "^[", "^M", "\x07")
_QUOTED = re.compile(r"\s*>(?:\s|$)")
_PREFIX = LazyPattern(
    r"""(?:
      \[?\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[ ]?[+-]\d\d:?\d\d)?\]?[ ]
        (?:std(?:out|err)[ ]F[ ]|\S+[ ][\w./-]+\[\d+\]:[ ])?
    | \[?\d\d:\d\d:\d\d(?:[.,]\d+)?\]?[ ]
    | \[(?:rank[ ]?\d+\]:?|\d+\]:)[ ]?                      # torch.distributed
    | \[\d+,[\w:,-]+\](?:<\w+>)?:[ ]?                       # mpirun --tag-output
    | [A-Z][a-z]{2}[ ][ \d]\d[ ]\d\d:\d\d:\d\d[ ]\S+[ ][\w./-]+(?:\[\d+\])?:[ ] # syslog
    | \[pod/\S+\][ ]                                        # kubectl logs --prefix
    | [\w.-]+\s*\|[ ](?=\S|[ ]{2})                          # docker compose
    | \(\w+[ ]pid=\d+[^)]*\)[ ]?                            # ray
    | \d+\.\d+s\s+\d+\s                                     # Kaggle
    | \d{1,4}:[ ](?!(?!\w*Error)\w+\s*$)(?=\S|[ ]{2})       # srun --label; a list of names is no such
    )+""",
    re.VERBOSE,
)
_CHUNK_HEAD = LazyPattern(r"\d{13} [\w.-]+:[\w.,:-]+ [A-Z]{4,8} ")
"""ClearML puts it before the first of the lines that it reports at once."""
_LEGACY = (
    *("gb18030", "big5", "shift_jis", "euc_jp", "cp949", "latin-1", "cp1250", "iso8859-2", "cp1251", "koi8-r", "cp866"),
    *("cp850", "cp1254", "cp1253"),
)
"""Of consoles that are not in UTF-8: the words of a shell are looked for in each."""
_MAX_LEGACY_BYTES = 200
_NO_WORDS = re.compile(rb"[%\0-\x08\x0e-\x1a\x7f]")
"""A frame, or bytes that are no text: not worth the trouble."""
MAX_TEXT_CHARACTERS = 400
"""No text of a fact is longer."""


class Wrapping:
    """What is known of how the lines of one log are wrapped."""

    def __init__(self) -> None:
        self._records = LogRecords()
        self._stamps = Stamps()

    def texts(self, segment: bytes, parts: RecordParts) -> list[str]:
        """``segment`` (no line feed or carriage return inside) as texts without terminal control; several when a log
        driver had packed line ends into one record. Quoted lines (``> ...``) are somebody else's log and vanish. What
        goes on in the next record is left in ``parts``.
        """
        text = segment.decode("utf-8", "replace").replace("\0", "")  # a file cut under its writer has a hole of NULs
        if "\ufffd" in text and len(segment) <= _MAX_LEGACY_BYTES and not _NO_WORDS.search(segment):
            text = self._of_another_console(segment, text)
        text = _without_chunk_head(text)
        record = self._records.text_of(text, parts)
        if record is not None:
            text = record
        elif "\\n" in text and "Traceback (most" in text:
            text = text.replace("\\n", "\n")
        text = unmarked(text)
        if "\xa0" in text:  # copied from a web page
            text = text.replace("\xa0", " ")
        if _QUOTED.match(text):
            return []
        if any(mark in text for mark in _ESCAPE_MARKS):
            text = _CONTROL.sub("", text).replace("#015", "\r")
            if "^M" in text:
                text = text.replace("^M", "\r")
            if "\\x" in text:
                text = _BYTES.sub(_decoded, text)
            if "\\u" in text:
                text = _UNICODE.sub(lambda match: chr(int(match[1], 16)), text)
        if "\n" in text or "\r" in text:
            texts = [part for line in text.split("\n") for part in line.split("\r") if part.strip()]
        else:
            texts = [text]
        texts = [self._stamps.timed(one) for one in texts]
        for one in texts:
            self._stamps.learn(one)
        return texts

    def _of_another_console(self, segment: bytes, text: str) -> str:
        """``text`` of ``segment``, behind its stamp as the first encoding reads it in which a shell tells of a signal.
        The stamp was learnt from lines that were no UTF-8 either, and stays as it is."""
        said = self.bare(text)[0]
        starts = range(len(segment) + 1)
        behind = next((segment[at:] for at in starts if segment[at:].decode("utf-8", "replace") == said), b"")
        for encoding in _LEGACY:
            try:
                read = behind.decode(encoding)
            except UnicodeDecodeError:
                continue
            if signal_told(read.strip()):
                return text.removesuffix(said) + read
        return text

    def bare(self, text: str) -> tuple[str, bool]:
        """``text`` without what shippers and loggers put in front; its own indentation stays. Whether a logger did."""
        text, leveled = self._stamps.bare(text)
        match = _PREFIX.match(text) if _may_begin_with_prefix(text) else None
        return (text[match.end() :] if match else text), leveled


def _without_chunk_head(text: str) -> str:
    head = _CHUNK_HEAD.match(text) if text[:13].isdecimal() else None
    return text[head.end() :] if head else text


def _decoded(escaped: re.Match[str]) -> str:
    return bytes.fromhex(escaped[0].replace("\\x", "")).decode("utf-8", "replace")


def _may_begin_with_prefix(text: str) -> bool:
    """Whether any of :data:`_PREFIX` can match: by a bracket or digit in front, a bar, or the blanks of a date."""
    first = text[:1]
    return first in "[(" or first.isdecimal() or "| " in text or text[3:7:3] == "  "


def shortened(text: str) -> str:
    """``text`` fit for a fact."""
    text = text.strip()
    return text if len(text) <= MAX_TEXT_CHARACTERS else text[: MAX_TEXT_CHARACTERS - 1] + "…"
