"""Bytes of a console log -> plain text: what terminals, log shippers and copying have put around it taken away."""

from __future__ import annotations

import json
import re

_CSI = re.compile(r"(?:\x1b|#033|\\x1b|\\u001b|\\033|\^\[)(?:\[[0-9;?]*[A-Za-z]|\][^\x07]*\x07|\[[0-9;?]*$)")
"""Terminal control; CloudWatch and syslog write ESC as ``#033``, JSON as ``\\u001b``, ``cat -v`` as ``^[``."""
_UNICODE = re.compile(r"\\u([0-9a-fA-F]{4})")
_ESCAPE_MARKS = ("\x1b", "#0", "\\", "^[", "^M")
_RECORD = re.compile(r"[\[,]?\s*\{\"")
_RECORD_KEYS = ("log", "data", "message", "msg", "line", "textPayload", "text", "body")
"""Docker, Kaggle, then whatever else wraps each line in JSON."""
_QUOTED = re.compile(r"\s*>(?:\s|$)")
_PREFIX = re.compile(
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
MAX_TEXT_CHARACTERS = 400
"""No text of a fact is longer."""


def unwrap(segment: bytes) -> list[str]:
    """``segment`` (no line feed or carriage return inside) as texts without terminal control; several when a log
    driver had packed line ends into one record. Quoted lines (``> ...``) are somebody else's log and vanish.
    """
    text = segment.decode("utf-8", "replace").replace("\0", "")  # a file cut under its writer has a hole of NULs
    if _RECORD.match(text):
        text = _record_text(text)
    elif "\\n" in text and "Traceback (most" in text:
        text = text.replace("\\n", "\n")
    if "\xa0" in text:  # copied from a web page
        text = text.replace("\xa0", " ")
    if _QUOTED.match(text):
        return []
    if any(mark in text for mark in _ESCAPE_MARKS):
        text = _CSI.sub("", text).replace("#015", "\r")
        if "^M" in text:
            text = text.replace("^M", "\r")
        if "\\u" in text:
            text = _UNICODE.sub(lambda match: chr(int(match[1], 16)), text)
    if "\n" in text or "\r" in text:
        return [part for line in text.split("\n") for part in line.split("\r") if part.strip()]
    return [text]


def without_prefix(text: str) -> str:
    """``text`` without the stamps that shippers put in front; its own indentation stays."""
    match = _PREFIX.match(text)
    return text[match.end() :] if match else text


def shortened(text: str) -> str:
    """``text`` fit for a fact."""
    text = text.strip()
    return text if len(text) <= MAX_TEXT_CHARACTERS else text[: MAX_TEXT_CHARACTERS - 1] + "…"


def _record_text(text: str) -> str:
    """The line that a log driver wrapped in a JSON object; ``text`` itself when it is no such record."""
    try:
        record = json.loads(text.strip(" [],"))
    except (ValueError, RecursionError):
        return text
    if not isinstance(record, dict):
        return text
    found = _string_of(record)
    inner = record.get("jsonPayload") if found is None else None
    found = _string_of(inner) if isinstance(inner, dict) else found
    return text if found is None else found


def _string_of(record: dict[str, object]) -> str | None:
    return next((value for key in _RECORD_KEYS if isinstance(value := record.get(key), str)), None)
