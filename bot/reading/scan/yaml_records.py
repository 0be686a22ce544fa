"""Logs in YAML, a document a record, as gcloud prints them; long texts are folded. Loaded only for what begins so."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Final

_DOCUMENT: Final = "---"
_KEY: Final = r"( *)(?:- )?[\"']?([\w.@-]{1,60})[\"']?:(?: (.*))?$"
_ESCAPED: Final = r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))"
_ESCAPES: Final = {"0": "\0", "a": "\a", "b": "\b", "t": "\t", "n": "\n", "v": "\v", "f": "\f", "r": "\r", "e": "\x1b"}


def yaml_records(text: str) -> list[dict[str, str]]:
    """The documents of ``text``, each as what its keys at any depth have, of two alike the first; none where a line is
    no YAML."""
    lines = text.replace("\r\n", "\n").split("\n")
    begins = [place for place, line in enumerate(lines) if line == _DOCUMENT]
    records = []
    for begin, end in zip(begins, [*begins[1:], len(lines)], strict=True):
        fields = _fields(lines[begin + 1 : end])
        if fields is None:
            return []
        records.append(fields)
    return records


def _fields(lines: Sequence[str]) -> dict[str, str] | None:
    fields: dict[str, str] = {}
    place = 0
    while place < len(lines):
        found = re.match(_KEY, lines[place])
        place += 1
        if found and found[3]:
            stop = next((at for at in range(place, len(lines)) if _ends(lines[at], len(found[1]))), len(lines))
            fields.setdefault(found[2], _scalar([found[3], *lines[place:stop]]))
            place = stop
        elif not found and lines[place - 1][:1].strip():
            return None
    return fields


def _ends(line: str, indent: int) -> bool:
    return bool(line) and len(line) - len(line.lstrip(" ")) <= indent


def _scalar(lines: Sequence[str]) -> str:
    """The text that ``lines``, of which the first stands behind a key, are written for."""
    first = lines[0]
    if first[:1] == "|":
        indent = min((len(line) - len(line.lstrip(" ")) for line in lines[1:] if line), default=0)
        return "\n".join(line[indent:] for line in lines[1:])
    folded = _folded(lines)
    if first[:1] == '"':
        return re.sub(_ESCAPED, _unescaped, folded[1:].removesuffix('"'))
    return folded[1:].removesuffix("'").replace("''", "'") if first[:1] == "'" else folded


def _folded(lines: Sequence[str]) -> str:
    """``lines`` as one: a line end is a blank, a backslash before it none, an empty line an end of one."""
    whole = lines[0]
    for line in lines[1:]:
        goes_on = line.strip(" ")
        if not goes_on or whole[-1:] == "\n":
            whole += goes_on or "\n"
        elif re.search(r"(?<!\\)(?:\\\\)*\\$", whole):
            whole = whole[:-1] + goes_on
        else:
            whole += f" {goes_on}"
    return whole


def _unescaped(found: re.Match[str]) -> str:
    code = found[1] or found[2] or found[3]
    if code:
        return chr(min(int(code, 16), sys.maxunicode))
    return _ESCAPES.get(found[4], found[4])
