"""What a person typed, without what their phone, their habits or a paste put around it.

Phones add a full stop, capitals and smart quotes; a paste keeps ``*bold*`` and ``code``; some characters have no width.
None of it changes what was meant. A question mark does, and stays.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_PAIRS: Final = (
    *(("```", "```"), ("`", "`"), ("*", "*"), ("_", "_"), ("~", "~"), ('"', '"'), ("'", "'"), ("“", "”"), ("”", "”")),
    *(("„", "“"), ("„", "”"), ("“", "“"), ("‘", "’"), ("’", "’"), ("‚", "‘"), ("«", "»"), ("»", "«"), ("(", ")")),
)
_END: Final = re.compile(r"[\s.!…,:。！]+$")
_START: Final = re.compile(r"^[\s>:,;–—-]+")
_INVISIBLE: Final = frozenset({"Cf", "Cc", "Cn", "Co", "Cs"})


def undressed(text: str) -> str:
    """The words of ``text`` with single blanks between them."""
    seen = "".join(" " if one in "\t\n\r\v\f" else one for one in text if one in "\t\n\r\v\f" or _has_width(one))
    words = " ".join(seen.split())
    while (plainer := _less(words)) != words:
        words = plainer
    return words


def _less(text: str) -> str:
    text = _END.sub("", _START.sub("", text))
    for opening, closing in _PAIRS:
        inside = text[len(opening) : len(text) - len(closing)]
        fits = len(text) >= len(opening) + len(closing) and text.startswith(opening) and text.endswith(closing)
        if fits and opening not in inside and closing not in inside:
            return inside.strip()
    return text


def _has_width(character: str) -> bool:
    return unicodedata.category(character) not in _INVISIBLE
