"""What stands before every line of a log (times, hosts, levels of a logger), learnt from the log itself.

Some lines of Ultralytics are known to begin at the very left. What stands before one of them is the stamp of whoever
passed the line on; with other times and numbers in it, it stands before the other lines as well.
"""

from __future__ import annotations

import re
from typing import Final

MAX_STAMP_CHARACTERS: Final = 200
_BLANK_TIME: Final = " " * 6
_MAX_KNOWN: Final = 4
"""Standard output and error, and each service of a log of several, may have stamps of their own."""
_LANDMARKS: Final = (
    ("Starting training for", r"Starting training for \d"),
    ("Ultralytics ", r"Ultralytics (?:YOLO)?v?\d+\.\d+\.\d+ "),
    ("Image sizes", r"Image sizes \d+ train, \d+ val\b"),
    ("dataloader workers", r"Using \d+ dataloader workers\b"),
    ("Logging results to", r"Logging results to \S"),
    ("GPU_mem", r" {6}Epoch +GPU_mem "),  # "%11s" of each name
    ("gpu_mem", r" {5}Epoch +gpu_mem "),  # "%10s"
)
_WHOLE_LINES: Final = (
    ("Starting training for", r"Starting training for \d+ epochs\.\.\."),
    ("Image sizes", r"Image sizes \d+ train, \d+ val\b"),
    ("dataloader workers", r"Using \d+ dataloader workers\b"),
)
"""Of the landmarks, those whose end is known as well."""
_MAX_BEHIND_CHARACTERS: Final = 80
_TIME_BEHIND: Final = r"\t\d{10,19}$"
"""``aws logs get-log-events`` has one before the line and one behind it."""
_PARTS: Final = (
    r"(?P<space>\s+)|(?P<id>0x[\da-fA-F]+|(?<!\w)(?=[a-f]*\d)[\da-f]{4,}(?!\w))|(?P<number>\d+)"
    r"|(?P<word>[^\W\d_]+\.?(?=\s)|[^\W\d_]+)|(?P<other>[\W_])"
)
LEVELS: Final = frozenset(
    {
        *("TRACE", "DEBUG", "INFO", "INFORMATION", "NOTICE", "SUCCESS"),
        *("WARNING", "WARN", "ERROR", "ERR", "CRITICAL", "FATAL"),
    }
)
_THREADS: Final = r"(?:Main)?Thread(?:PoolExecutor)?(?:[-_]\d+)*"
WITHIN_A_PROCESS: Final = rf"(?i:{'|'.join(sorted(LEVELS))}|std(?:out|err)|{_THREADS})"
"""What a logger names beside the source of a line, or instead of it: a level, a stream, a thread."""


def stamp_before_landmark(text: str) -> str | None:
    """What ``text`` has before a line that is known to begin at the left; None when it holds no such line."""
    for hint, pattern in _LANDMARKS:
        if hint in text and (found := re.search(pattern, text)):
            return text[: found.start()]
    return None


class Stamps:
    """The stamps of one log. Lines may be fed cut, glued or out of order: what is no stamp is left alone."""

    def __init__(self) -> None:
        self._known: list[tuple[str, re.Pattern[str], bool]] = []
        self._seen_once = ""
        self._time_behind = False
        self._behind: tuple[str, re.Pattern[str]] | None = None
        """What stands behind every line (``cat -A`` ends each with ``$``)."""
        self._behind_once = ("", "")
        """What stood behind one landmark, and which."""

    def learn(self, text: str) -> None:
        """Take in ``text``, a line without terminal control, if it shows a stamp."""
        before = stamp_before_landmark(text)
        if before is None:
            return
        self._learn_behind(text)
        if not before.strip() or len(before) > MAX_STAMP_CHARACTERS:
            return
        if any(one.fullmatch(before) for _, one, _ in self._known):
            return
        if not _is_stamp(before) and before != self._seen_once:
            self._seen_once = before
            return
        pattern = re.compile(stamp_pattern(before))
        self._known = [(before, pattern, _names_level(before)), *self._known[: _MAX_KNOWN - 1]]

    def _learn_behind(self, text: str) -> None:
        """Two different landmarks have it behind them: a single one may go on with words of its own."""
        for hint, pattern in _WHOLE_LINES:
            found = re.search(pattern, text) if hint in text else None
            if found is None:
                continue
            behind = text[found.end() :].strip()
            if len(behind) > _MAX_BEHIND_CHARACTERS or not re.search(r"[^\s\d.]", behind):
                return
            again = rf"(?<!\s)\s*{stamp_pattern(behind)}\s*\Z"
            other, known = self._behind_once
            if other not in {"", hint} and re.fullmatch(again, known):
                self._behind = behind[-1], re.compile(again)
            self._behind_once = hint, behind
            return

    def timed(self, text: str) -> str:
        """``text`` with its time, where a logger left it blank because it is that of the line before; without one that
        stands behind each line."""
        if self._behind is not None:
            text = self._without_what_is_behind(text, *self._behind)
        if text[-1:].isdecimal() and "\t" in text:
            self._time_behind = self._time_behind or re.search(rf"\.\.\.{_TIME_BEHIND}", text) is not None
            return re.sub(_TIME_BEHIND, "", text) if self._time_behind else text
        if not text.startswith(_BLANK_TIME):
            return text
        for before, pattern, leveled in self._known:
            place = _level_place(before) if leveled else 0
            if place >= len(_BLANK_TIME) and not text[:place].strip() and not text[place : place + 1].isspace():
                whole = before[:place] + text[place:]
                return whole if pattern.match(whole) else text
        return text

    @staticmethod
    def _without_what_is_behind(text: str, last: str, pattern: re.Pattern[str]) -> str:
        ends = text.rstrip()[-1:]
        if ends != last and not (ends.isdecimal() and last.isdecimal()):
            return text
        found = pattern.search(text)
        return text[: found.start()] if found else text

    def bare(self, text: str) -> tuple[str, bool]:
        """``text`` without its stamp, its own indentation kept, and whether the stamp is that of a logger, which names
        a level: such a line is what a program said, never what a shell or the interpreter said of it."""
        for _, pattern, leveled in self._known:
            if match := pattern.match(text):
                return text[match.end() :], leveled
        return text, False


def _level_place(stamp: str) -> int:
    return next((word.start() for word in re.finditer(r"[A-Za-z]+", stamp) if word[0].upper() in LEVELS), 0)


def stamp_pattern(stamp: str) -> str:
    """Matches ``stamp`` with any other time, number, id in hexadecimal and level in it, and, where it tells a time, any
    other word: months and weekdays change, in every language."""
    tells_time = re.search(r"\d[:.]\d\d|\d{6}", stamp) is not None
    kept = stamp.rstrip()
    parts = [_part(token, any_word=tells_time) for token in re.finditer(_PARTS, kept)]
    ending = stamp[len(kept) :]
    # A shipper may strip the blanks behind the stamp of an empty line; GitLab marks a line's continuation with "+".
    return "".join(parts) + (rf"(?:[ +]{re.escape(ending[1:])}|$)" if ending[:1] == " " else rf"(?:{ending}|$)")


def stamp_of_same_words(stamp: str) -> re.Pattern[str]:
    """Matches ``stamp`` with any other number and level in it, and at most one blank behind it."""
    return re.compile("".join(_part(one, any_word=False) for one in re.finditer(_PARTS, stamp.rstrip())) + " ?")


def _part(token: re.Match[str], *, any_word: bool) -> str:
    if token["space"]:
        return r"\s+"
    if token["id"]:
        return r"(?:(?:0x)?[\da-fA-F]+(?!\w)|\d+)"  # no letters that a word goes on from ("AssertionError")
    if token["number"]:
        return r"\d+"
    if token["word"] and token["word"].upper().strip(".") in LEVELS:
        return r"[A-Za-z]+"
    if token["word"] and any_word:
        return r"[^\W\d_]+\.?"  # a short month may have a dot, the next one none
    return re.escape(token[0])


def _is_stamp(before: str) -> bool:
    """A number, a level or a bracket: else it is a sentence that quotes Ultralytics."""
    return (
        any(character.isdigit() for character in before) or _names_level(before) or before.rstrip()[-1] in "]|:>)-–—»"
    )


def _names_level(stamp: str) -> bool:
    return any(word.upper() in LEVELS for word in re.findall(r"[A-Za-z]+", stamp))
