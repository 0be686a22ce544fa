"""Lines of a log that somebody wrapped into records: JSON of any shape, logfmt.

Known keys are looked for first, at any depth and in any case. Where a record lacks them, the place of the text is
learnt from a record whose text is a line of Ultralytics.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

from trainmaster.bot.reading.console.parts import MAX_HELD_CHARACTERS, RecordParts, keeps_line_ends
from trainmaster.bot.reading.console.patterns import any_in
from trainmaster.bot.reading.console.stamps import stamp_before_landmark

_KEYS: Final = (
    *("log", "data", "message", "msg", "line", "textpayload", "text", "body", "stringvalue", "fullmessage"),
    *(
        "shortmessage",
        "renderedmessage",
        "logmessage",
        "logentry",
        "raw",
        "content",
        "output",
        "event",
        "m",
        "original",
    ),
)
"""Docker, Kaggle, journald and most others, OTLP, GELF, Serilog, Azure, Splunk, structlog; letters and digits only."""
_RANK: Final = {key: place for place, key in enumerate(_KEYS)}
_BEGINS: Final = r"[\[,]?\s*[\[{]\s*(?:[\"\[{]|-?\d[\d.]*\s*,\s*\")"
_BEHIND_STAMP: Final = r"(?<=[\s\]|:>])(?:\{\s*\"[^\"]{1,64}\"\s*:|\[\s*\")"
_PRETTY: Final = r'^\s*"([^"]{1,40})"\s*:\s*("(?:[^"\\]|\\.)*")\s*,?\s*$'
_LOGFMT: Final = r'(?:^|\s)(?:msg|message|log|MESSAGE)=(?:"((?:[^"\\]|\\.)*)"(?=\s|$)|(\S*)\s*$)'
_LOGFMT_QUOTED: Final = r'(?:^|\s)([\w.@-]{1,40})="((?:[^"\\]|\\.)*)"(?=\s|$)'
_LIST_BEGINS: Final = r'\s*"(?:text|text/plain|traceback)": \[\s*$'
_LIST_ENDS: Final = r"\s*\],?\s*$"
_LISTED: Final = r'\s*("(?:[^"\\]|\\.)*"),?\s*$'
"""A notebook keeps what its cells have printed as lists of lines; others keep a whole log so."""
_SEPARATOR: Final = "\x1e"
"""Before each record of a sequence (RFC 7464): ``journalctl -o json-seq``."""
_BYTES_BEGIN: Final = r'\s*"([^"]{1,40})"\s*:\s*\[\s*$'
_BYTE: Final = r"\s*(\d{1,3})\s*,?\s*$"
"""``journalctl -o json-pretty`` writes a text that has control characters so, a byte a line."""
_FIELD: Final = r'\s*"(?:field|name|key)"\s*:\s*"([^"]{1,40})",?\s*$'
_VALUE: Final = "value"
"""CloudWatch's queries name each column in a field beside its value."""
_TRACEBACK: Final = "Traceback (most recent call last):\n"
_RAISED: Final = ('"exc_type"', '"error', '"exception', "error.type")
_RAISED_TYPE: Final = ("exctype", "exceptiontype", "errortype", "errorkind")
_RAISED_TEXT: Final = ("excvalue", "exceptionvalue", "exceptionmessage", "errormessage")
_RAISED_FRAMES: Final = ("frames", "stacktrace", "errorstack", "traceback")
"""How loggers name the parts of an exception that they take apart (structlog, ECS, Datadog, Sentry)."""
_MAX_DEPTH: Final = 8
_MOST_COLUMNS: Final = 8
"""A longer list of texts is one of lines, a shorter one may be a record without keys."""
MAX_LEAVES: Final = 500
_MAX_NESTED: Final = 3
"""LogRecords within the text of a record: a container's JSON within a shipper's."""

Path = tuple[str, ...]


def is_notebook(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is a notebook, written over many lines."""
    return head.lstrip()[:1] == b"{" and re.match(rb'\s*\{\s*"(?:cells|metadata|nbformat)"', head) is not None


def are_over_lines(head: bytes) -> bool:
    """Whether a file that begins with ``head`` has records that are each written over many lines."""
    return head.lstrip()[:1] in {b"{", b"["} and re.match(rb"\s*(?:\[\s*)?\{\s*\n", head) is not None


def key_rank(key: str) -> int | None:
    """How early a key (or the last part of one with dots) is looked for; None when it names no text."""
    ranks = [_RANK[bare] for one in (key, key.rpartition(".")[2]) if (bare := _bare_key(one)) in _RANK]
    return min(ranks, default=None)


class LogRecords:
    """The records of one log."""

    def __init__(self) -> None:
        self._learnt: Path | None = None
        self._learnt_key: str | None = None
        """Under which logfmt has the text, where it is none of the known keys."""
        self._in_notebook_list = False
        self._is_list = False
        """Whether each line is a text in a list."""
        self._bytes: bytearray | None = None
        """Of a text that is written as a list of bytes over many lines, those so far."""
        self._field = ""
        """The name of the field whose value the next line has."""

    def text_of(self, text: str, parts: RecordParts) -> str | None:
        """What was wrapped into the record that ``text`` is; None when it is none, or holds nothing of the kind.

        What goes on in the next record is left in ``parts``.
        """
        found = self._listed(text.removeprefix(_SEPARATOR))
        for _ in range(_MAX_NESTED):
            inner = self._once(text.removeprefix(_SEPARATOR) if found is None else found, parts)
            if inner is None:
                break
            found = inner
        return found

    def _listed(self, text: str) -> str | None:
        """The line that ``text`` is, of a list of lines, or ends, of a list of bytes."""
        if self._bytes is not None and (self._bytes or re.match(_BYTE, text)):
            return self._of_bytes(self._bytes, text)
        self._bytes = None
        if self._in_notebook_list and re.match(_LIST_ENDS, text):
            self._in_notebook_list = False
        found = re.match(_LISTED, text) if '"' in text[-3:] else None
        value = _loaded(found[1]) if found else None
        if self._in_notebook_list:
            return value if isinstance(value, str) else None
        if text.endswith("["):
            self._in_notebook_list = re.match(_LIST_BEGINS, text) is not None
            begun = re.match(_BYTES_BEGIN, text)
            self._bytes = bytearray() if begun and _bare_key(begun[1]) in _RANK else None
        if not isinstance(value, str):
            return None
        self._is_list = self._is_list or _holds_landmark(value)
        return value if self._is_list else None

    def _of_bytes(self, read: bytearray, text: str) -> str | None:
        if (one := re.match(_BYTE, text)) and int(one[1]) < 256 and len(read) < MAX_HELD_CHARACTERS:
            read.append(int(one[1]))
            return ""
        self._bytes = None
        return read.decode("utf-8", "replace") if read and re.match(_LIST_ENDS, text) else None

    def _once(self, text: str, parts: RecordParts) -> str | None:
        if '"' not in text and "msg=" not in text:
            return None
        if re.match(_BEGINS, text):
            return self._json(text, parts)
        if text.rstrip().endswith(("}", "]")) and (begun := re.search(_BEHIND_STAMP, text)):
            return self._json(text[begun.start() :], parts)
        if match := re.match(_PRETTY, text):
            key, before = match[1], self._field
            self._field = named[1] if (named := re.match(_FIELD, text)) else ""
            value = _loaded(match[2]) if _bare_key(before if before and key == _VALUE else key) in _RANK else None
            return value if isinstance(value, str) else None
        if "=" in text and text.count("=") > 1:
            return self._logfmt(text)
        return None

    def _logfmt(self, text: str) -> str | None:
        if match := re.search(_LOGFMT, text):
            return match[2] if match[1] is None else _unquoted(match[1])
        if '="' not in text:
            return None
        values = {match[1]: _unquoted(match[2]) for match in re.finditer(_LOGFMT_QUOTED, text)}
        for key, value in values.items():
            if _holds_landmark(value):
                self._learnt_key = key
        return values.get(self._learnt_key) if self._learnt_key else None

    def _json(self, text: str, parts: RecordParts) -> str | None:
        record = _loaded(text.strip(" [],\t"))
        if not isinstance(record, dict | list):
            record = _loaded(text.strip(" ,\t"))
        if not isinstance(record, dict | list):
            return None
        found = self.text_in(record, raised=any_in(_RAISED, text))
        return found if found is None else parts.joined(text, record, found)

    def text_in(
        self, record: dict[Any, Any] | list[Any], *, most: int = MAX_LEAVES, raised: bool = False
    ) -> str | None:
        """The text of ``record``, or of the many that are in it, of each collection ``most``. ``raised``: it may hold
        an exception that a logger has taken apart."""
        leaves = list(_leaves(record, (), 0, most))
        self._learnt = next((path for path, value in leaves if _holds_landmark(value)), self._learnt)
        if not isinstance(record, list) or not all(isinstance(one, dict) for one in record):
            return self._text_of(leaves, raised=raised)
        # Each may have its text elsewhere: what a service says of a process stands in another field than its output.
        found = [self._text_of(list(_leaves(one, ("#",), 1, most)), raised=raised) for one in record[:most]]
        texts = [text for text in found if text is not None]
        whole = keeps_line_ends(record[0] if record else None) and any("\n" in text for text in texts)
        return ("" if whole else "\n").join(texts) if texts else None

    def _text_of(self, leaves: list[tuple[Path, str]], *, raised: bool) -> str | None:
        chosen = self._chosen(leaves)
        # Loggers put the traceback of what they tell into a field of its own.
        traceback = [value for path, value in leaves if path != chosen and _TRACEBACK in value][:1]
        texts = [value for path, value in leaves if path == chosen]
        if any(_TRACEBACK in text for text in texts):
            traceback = []
        elif raised and not traceback:
            traceback = _raised(leaves)
        return "\n".join([*texts, *traceback]) if texts or traceback else None

    def _chosen(self, leaves: list[tuple[Path, str]]) -> Path | None:
        if self._learnt is not None and any(path == self._learnt for path, _ in leaves):
            return self._learnt
        known = [(_RANK[name], len(path), path) for path, _ in leaves if (name := _name(path)) in _RANK]
        return min(known)[2] if known else None


def _holds_landmark(text: str) -> bool:
    """Whether a line of ``text`` is known to be one of Ultralytics."""
    before = stamp_before_landmark(text)
    return before is not None and not before.rpartition("\n")[2].strip()


def _raised(leaves: list[tuple[Path, str]]) -> list[str]:
    """The exception of a record that has its type, its words and its frames in fields of their own, as Python shows it.

    The first of several is the one that was not caught."""
    names = [("".join(name for name in path if not name.startswith("#")), value) for path, value in leaves]
    kinds = [value for name, value in names if name.endswith(_RAISED_TYPE)][:1]
    texts = [value for name, value in names if name.endswith(_RAISED_TEXT)][:1]
    if not kinds or not any(part in name for name, _ in names for part in _RAISED_FRAMES):
        return []
    return [f"{_TRACEBACK}{kinds[0]}: {texts[0] if texts else ''}"]


def _unquoted(text: str) -> str:
    return text.replace('\\"', '"').replace("\\\\", "\\")


def leaves_of(record: Any) -> Iterator[tuple[Path, str]]:
    """Every text in ``record`` with its place."""
    return _leaves(record, (), 0, MAX_LEAVES)


def _leaves(value: Any, path: Path, depth: int, most: int) -> Iterator[tuple[Path, str]]:
    """Every text in ``value`` with its place. journald writes a text that has control characters as a list of bytes."""
    if isinstance(value, str):
        yield path, value
    elif depth < _MAX_DEPTH and isinstance(value, dict):
        named = value.get("field")
        for count, (key, inner) in enumerate(value.items()):
            if count >= most:
                return
            name = named if key == _VALUE and isinstance(named, str) else str(key)
            yield from _leaves(inner, (*path, _bare_key(name)), depth + 1, most)
    elif depth < _MAX_DEPTH and isinstance(value, list) and value:
        if all(isinstance(one, int) and 0 <= one < 256 for one in value):
            yield path, bytes(value).decode("utf-8", "replace")
            return
        lines = [one for one in value if isinstance(one, str)]
        if len(lines) == len(value) and (len(lines) > _MOST_COLUMNS or _name(path) in _RANK):
            yield path, "\n".join(line.removesuffix("\n") for line in lines)
            return
        scalars = not any(isinstance(one, dict | list) for one in value)
        for place, inner in enumerate(value[:most]):
            yield from _leaves(inner, (*path, f"#{place}" if scalars else "#"), depth + 1, most)


def _name(path: Path) -> str:
    """The key at the end of ``path``, whatever lists stand below it."""
    return next((name for name in reversed(path) if not name.startswith("#")), "")


@lru_cache(maxsize=256)
def _bare_key(key: str) -> str:
    return "".join(character for character in key.casefold() if character.isalnum())


def _loaded(text: str) -> Any:
    import json  # noqa: PLC0415 - most logs hold no records, and a scan must start in milliseconds

    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
