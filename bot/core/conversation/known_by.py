"""What machines know a thing by (process ids, digests, whole paths): it stands in a message's details alone. Pure."""

from __future__ import annotations

import re
from typing import Final

_PATH: Final = re.compile(r"(?<![\w./:~-])/(?:[^\s/'\"|,;:()]+/)+(?P<name>[^\s/'\"|,;:()]*[^\s/'\"|,;:().])")
"""Two levels at least, so that ``/train`` is none."""
_ASIDE: Final = re.compile(r" \([Pp]rocess \d+(?:, \d+)*; to [^()]*\)")
"""Which it is, and the command for it."""
_PROCESS: Final = re.compile(r"\b(?P<word>[Pp]rocess|[Pp]id) (?:\d+(?:, (?=\d))?)+")
_COMMAND: Final = re.compile(r"\b(?P<word>kill(?: -\w+)?|ps [^;]* -p)[ ,\d]* \d[\d,]*")
_DIGEST: Final = re.compile(r"\b(?:(?:sha256|digest|plan) [0-9a-f]{8,64}|(?=[0-9]*[a-f])(?=[a-f]*\d)[0-9a-f]{32,64})\b")
"""A shorter one that stands alone may be the name of a run, which nobody may change."""


def without_ids(text: str) -> str:
    """``text`` for a channel: files by their last name, processes without a number, digests as dots."""
    text = _PATH.sub(lambda found: found["name"], _ASIDE.sub("", text))
    text = _PROCESS.sub(lambda found: "The process" if found["word"][0].isupper() else "the process", text)
    return _DIGEST.sub("…", _COMMAND.sub(lambda found: f"{found['word']} …", text))


def has_ids(text: str) -> bool:
    """Whether anything of the kind stands in it."""
    return without_ids(text) != text
