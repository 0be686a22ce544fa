"""Foreign text, made harmless for a screen: what would be obeyed or hidden is shown instead.

A file's name or a log line may hold escape sequences, characters that turn the direction of writing round, and ones
without any width. Terminals, Slack and editors obey them all. Standard library only; both bot and trainer use it.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final

_OBEYED: Final = (
    r"\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls, line ends and tabs left out
    r"\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"  # invisible letters, joiners and separators
    r"\u200b-\u200f\u2028-\u202e\u2060-\u206f"  # no width, direction, line and paragraph separators
    r"\u3164\ufeff\uffa0\ufff0-\uffff\ufdd0-\ufdef"  # fillers, byte order mark, annotations, no characters at all
    r"\ud800-\udfff"  # halves of pairs: bytes of a name that is no UTF-8
    r"\ufe00-\ufe0e"  # which of two shapes a letter has; the last one, of emoji, is ours too
    r"\U00013430-\U0001343f\U00016fe4\U0001bca0-\U0001bca3\U0001d159\U0001d173-\U0001d17a"  # of hieroglyphs, notes
    r"\U000e0000-\U000e0fff"  # tags
)


def visible(text: str) -> str:
    """``text`` with every character that has no shape of its own as ``⟨U+202E⟩``; line ends and tabs stay."""
    return text if _is_plain(text) else _hidden().sub(_named, text)


def visible_line(text: str) -> str:
    """As :func:`visible`, with line ends and tabs shown too: for a name within a line."""
    return text if text.isascii() and text.isprintable() else _hidden(r"\t\n").sub(_named, text)


def visible_json(text: str) -> str:
    """JSON that says the same and shows itself: such characters stand as escapes. Half a pair becomes U+FFFD, which a
    strict reader takes."""
    return text if _is_plain(text) else _hidden().sub(_escaped, text)


def _is_plain(text: str) -> bool:
    """Whether ``text`` is printable ASCII and line ends: most is, and a command starts faster without the pattern."""
    return text.isascii() and text.replace("\n", "").isprintable()


@cache
def _hidden(more: str = "") -> re.Pattern[str]:
    return re.compile(f"[{more}{_OBEYED}]")


def _named(match: re.Match[str]) -> str:
    return f"⟨U+{ord(match[0]):04X}⟩"


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xD800 <= code <= 0xDFFF:
        return "\\ufffd"
    if code > 0xFFFF:
        code -= 0x10000
        return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
    return f"\\u{code:04x}"
