"""What a person typed, without what their phone, their habits or a paste put around it.

Phones add a full stop, capitals and smart quotes; a paste keeps ``*bold*`` and ``code``; some characters have no width;
people say please and thank with a sign. None of it changes what was meant. A question mark does, and a sign that asks
or objects does, and both stay.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_PAIRS: Final = (
    *(("```", "```"), ("`", "`"), ("*", "*"), ("_", "_"), ("~", "~"), ('"', '"'), ("'", "'"), ("“", "”"), ("”", "”")),
    *(("„", "“"), ("„", "”"), ("“", "“"), ("‘", "’"), ("’", "’"), ("‚", "‘"), ("«", "»"), ("»", "«"), ("(", ")")),
    *(("‹", "›"), ("›", "‹"), ("「", "」"), ("『", "』"), ("[", "]"), ("{", "}")),
)
_END: Final = re.compile(r"[\s.!…,:。！‼]+$")
_START: Final = re.compile(r"^[\s>:,;–—•◦▪‣·-]+")
_INVISIBLE: Final = frozenset({"Cf", "Cc", "Cn", "Co", "Cs"})
_ZERO_WIDTH_SPACE: Final = "\u200b"

_MARKED: Final = re.compile(r"(?<!\S)(?P<mark>[*`~])(?P<word>[^\s*`~]+)(?P=mark)(?=[\s.,;:!]|$)")
"""One word of several, set in bold or as code."""
_PLEASE_FIRST: Final = re.compile(r"(?:please|pls|plz|kindly)[\s,:]+(?=\S)", re.IGNORECASE)
_THANKS_LAST: Final = re.compile(
    r"(?<=\S)[\s,.!;–—-]+(?:please|pls|plz|(?:many )?thanks|thank you|thx)(?: (?:a lot|so much|very much|all|team))?$",
    re.IGNORECASE,
)
_NAMES_NEXT: Final = re.compile(r"(?:^|\s)(?:of|on|for|use|with|and|to|against|because)$", re.IGNORECASE)
"""After these words ``please`` would be the name of a run."""
_EMOJI_CODE: Final = r":[a-z0-9_+'-]*[a-z1][a-z0-9_+'-]*:"
_SIGN_LAST: Final = re.compile(rf"(?<!\S)(?:{_EMOJI_CODE})+$", re.IGNORECASE)
_SIGN_FIRST: Final = re.compile(rf"^(?:{_EMOJI_CODE})+(?!\S)", re.IGNORECASE)
_SAYS_MORE: Final = re.compile(r"question|think|shrug|confus|thumbsdown|-1|no_|x:|cross_mark|negative|interrobang")
"""Emoji that ask or object."""
_ASKING: Final = frozenset("❓❔⁉🤔🤷👎❌❎🚫⛔🙅✖")
_OF_A_SIGN: Final = frozenset("\ufe0e\ufe0f\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff")
"""What goes with an emoji: how it is drawn, and skin tones."""


def undressed(text: str) -> str:
    """The words of ``text`` with single blanks between them."""
    if not any(map(str.isspace, text.strip())):  # a paste may have these for its blanks
        text = text.replace(_ZERO_WIDTH_SPACE, " ")
    seen = "".join(" " if one in "\t\n\r\v\f" else one for one in text if one in "\t\n\r\v\f" or _has_width(one))
    words = " ".join(seen.split())
    while (plainer := _less(words)) != words:
        words = plainer
    return words


def _less(text: str) -> str:
    text = _END.sub("", _START.sub("", _unsigned(text)))
    text = _MARKED.sub(r"\g<word>", _impolite(text))
    for opening, closing in _PAIRS:
        inside = text[len(opening) : len(text) - len(closing)]
        fits = len(text) >= len(opening) + len(closing) and text.startswith(opening) and text.endswith(closing)
        if fits and opening not in inside and closing not in inside:
            return inside.strip()
    return text


def _impolite(text: str) -> str:
    shorter = _THANKS_LAST.sub("", text)
    return _PLEASE_FIRST.sub("", text if _NAMES_NEXT.search(shorter) else shorter, count=1)


def _unsigned(text: str) -> str:
    """Without the emoji at both ends, written out or drawn, that neither ask nor object."""
    for pattern in (_SIGN_LAST, _SIGN_FIRST):
        found = pattern.search(text)
        if found and not _SAYS_MORE.search(found[0].lower()):
            text = text[: found.start()] + text[found.end() :]
    text = text.strip()
    start, end = 0, len(text)
    while end > start and _is_sign(text[end - 1]):
        end -= 1
    while start < end and _is_sign(text[start]):
        start += 1
    around = text[:start] + text[end:]
    return text if _ASKING & set(around) else text[start:end].strip()


def _is_sign(character: str) -> bool:
    return character in _OF_A_SIGN or unicodedata.category(character) == "So"


def _has_width(character: str) -> bool:
    return unicodedata.category(character) not in _INVISIBLE
