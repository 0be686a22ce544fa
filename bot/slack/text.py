"""Plain text to Slack's mrkdwn, so that it reads exactly as written.

Only ``& < >`` are escaped (docs.slack.dev, formatting message text). What mrkdwn would still take for formatting
(``_MG_0001_.jpg``, ``:warning:``) is shown as inline code. Times and people come as tokens, see
:mod:`trainmaster.bot.core.conversation.tokens`.

Text is handled as *pieces*, each of which stays whole: a character, an entity, a date. Cutting between pieces can
neither split an entity nor open a mention.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import accumulate
from typing import Final
from unicodedata import combining, east_asian_width

from trainmaster.bot.core.conversation import tokens
from trainmaster.visible import visible

ELLIPSIS: Final = "…"
MAX_CHARS: Final = 20_000
"""More than a message can hold, so that a huge text costs no time."""

HEADLINE_WORD_CELLS: Final = 56
"""Of a title's longest word, most often a run's name: two lines of a phone. Letters of double width count twice."""
_CUT_TO_CELLS: Final = 26
"""A longer one is cut to fit a line there."""
_LONG: Final = re.compile(rf"\S{{{HEADLINE_WORD_CELLS // 2},}}")

_ENTITIES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_WORD: Final = re.compile(r"\S+")
_PUNCTUATED: Final = re.compile(r"([(\[{\"“]*)(.+?)([)\]}\"”,.;!?]*)")
_EMOJI_CODE: Final = re.compile(r":(?:[a-z0-9_+'-]*[a-z][a-z0-9_+'-]*|100|1234):")
_MARKERS: Final = tuple(
    (re.compile(rf"(?<![A-Za-z0-9]){re.escape(sign)}(?=\S)"), re.compile(rf"(?<=\S){re.escape(sign)}(?![A-Za-z0-9])"))
    for sign in "*_~"
)
_MAX_CODE_CHARS: Final = 200
"""A longer word is not wrapped: it could not be cut any more."""

Cost = Callable[[str], int]


def utf8_len(piece: str) -> int:
    """Bytes on the wire."""
    return len(piece.encode())


def clean(text: str) -> str:
    """``text`` with what would be obeyed or hidden shown: controls (line ends and tabs stay), marks of direction,
    characters without width, and lone surrogates, which JSON cannot carry. Only the first :data:`MAX_CHARS` are looked
    at."""
    return visible(text[:MAX_CHARS].replace("\r\n", "\n").replace("\r", "\n"))


def one_line(text: str) -> str:
    """``text`` with every run of white space as one blank."""
    return " ".join(clean(text).split())


def headline(text: str) -> str:
    """``text`` in one line whose longest words are cut in their middle: the fact after a run's long name, and the
    buttons below it, are seen on a phone too. Pieces stay whole."""
    line = one_line(text)
    if len(line) <= HEADLINE_WORD_CELLS // 2:
        return line
    parts, at = [], 0
    for piece in tokens.TOKEN.finditer(line):
        parts += [_LONG.sub(_middle, line[at : piece.start()]), piece[0]]
        at = piece.end()
    return "".join([*parts, _LONG.sub(_middle, line[at:])])


def _middle(word: re.Match[str]) -> str:
    text = word[0]
    if sum(map(_cells, text)) <= HEADLINE_WORD_CELLS:
        return text
    half = _CUT_TO_CELLS // 2
    return f"{text[: _fitting(text, half)]}…{text[len(text) - _fitting(text[::-1], half - 1) :]}"


def _fitting(text: str, cells: int) -> int:
    """How many characters of ``text`` fit."""
    widths = accumulate(map(_cells, text))
    return sum(1 for width in widths if width <= cells)


def _cells(char: str) -> int:
    return 2 if east_asian_width(char) in {"W", "F"} else 0 if combining(char) else 1


def unescape(text: str) -> str:
    """What a person typed, from what Slack sends of it."""
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def literal(text: str) -> Iterator[str]:
    """Pieces of ``text`` for a place where mrkdwn formats nothing: plain text objects, code."""
    return (_ENTITIES.get(char, char) for char in text)


def mrkdwn(text: str, *, bold: bool = False) -> Iterator[str]:
    """Pieces of core text for a mrkdwn object: tokens become dates and mentions, the rest reads as written.

    ``bold``: it will stand between asterisks, so that none of its own may close them.
    """
    for index, line in enumerate(clean(text).replace("`", "'").split("\n")):
        if index:
            yield "\n"
        suspects = _formatted_words(line, bold=bold)
        at = 0
        for match in tokens.TOKEN.finditer(line):
            yield from _words(line, at, match.start(), suspects)
            yield _token(match)
            at = match.end()
        yield from _words(line, at, len(line), suspects)


def plain(text: str, names: Mapping[str, str] = tokens.NOBODY_KNOWN) -> Iterator[str]:
    """Pieces of core text for the notification and for titles: tokens in words, the rest escaped. ``names`` is what
    people are called, by id."""
    return literal(tokens.plain(clean(text), names))


def date(ts: float) -> str:
    """A moment in the reader's own time zone; UTC where the client cannot tell."""
    fallback = datetime.fromtimestamp(ts, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"<!date^{int(ts)}^{{date_short_pretty}} {{time_secs}}|{fallback}>"


def fit(pieces: Iterable[str], limit: int, cost: Cost = len) -> tuple[str, bool]:
    """The longest beginning of ``pieces`` that costs at most ``limit``, an ellipsis included if something is missing.

    Returns the text and whether it is complete.
    """
    kept: list[str] = []
    room = limit
    spare = cost(ELLIPSIS)
    for piece in pieces:
        room -= cost(piece)
        if room < 0:
            return _with_ellipsis(kept, limit, spare, cost), False
        kept.append(piece)
    return "".join(kept), True


def clip(text: str, limit: int) -> str:
    """``text`` as a plain text object of at most ``limit`` characters, entities included."""
    return fit(literal(text), limit)[0]


def code_block(text: str, limit: int, max_lines: int) -> tuple[str, bool]:
    """The *end* of ``text`` as a block that its content cannot leave; returns it and whether it is complete.

    Three backticks would close the block, so they become three apostrophes.
    """
    fence, note = "```", f"{ELLIPSIS} earlier lines left out"
    tail = clean(text[-4 * limit :]).replace(fence, "'''").strip("\n")
    lines = tail.split("\n")
    complete = len(lines) <= max_lines and len(text) <= 4 * limit
    pieces = list(literal("\n".join(lines[-max_lines:])))
    room = limit - 2 * len(fence) - 2
    if not complete or sum(map(len, pieces)) > room:
        complete = False
        room -= len(note) + 1
    kept: list[str] = []
    for piece in reversed(pieces):
        room -= len(piece)
        if room < 0:
            break
        kept.append(piece)
    head = "" if complete else f"{note}\n"
    return f"{fence}\n{head}{''.join(reversed(kept))}\n{fence}", complete


def _with_ellipsis(kept: Sequence[str], limit: int, spare: int, cost: Cost) -> str:
    if spare > limit:
        return ""
    used = sum(map(cost, kept))
    end = len(kept)
    while end and used + spare > limit:
        end -= 1
        used -= cost(kept[end])
    return "".join(kept[:end]).rstrip() + ELLIPSIS


def _token(match: re.Match[str]) -> str:
    if match["ts"]:
        return date(float(match["ts"]))
    if match["url"]:
        return f"<{''.join(literal(match['url']))}|{''.join(literal(match['label']))}>"
    return f"<@{match['user']}>"


def _words(line: str, start: int, end: int, suspects: frozenset[int]) -> Iterator[str]:
    at = start
    for match in _WORD.finditer(line, start, end):
        yield from literal(line[at : match.start()])
        if match.start() in suspects and match.end() - match.start() <= _MAX_CODE_CHARS:
            yield from _as_code(match.group())
        else:
            yield from literal(match.group())
        at = match.end()
    yield from literal(line[at:end])


def _as_code(word: str) -> Iterator[str]:
    """``word`` as inline code, without the punctuation around it."""
    bare = _PUNCTUATED.fullmatch(word)
    before, inside, after = bare.groups() if bare else ("", word, "")
    yield from literal(before)
    yield f"`{''.join(literal(inside))}`"
    yield from literal(after)


def _formatted_words(line: str, *, bold: bool) -> frozenset[int]:
    """Where the words begin that mrkdwn would format, or turn into an emoji or a quotation."""
    found = {match.start() for match in _EMOJI_CODE.finditer(line)}
    found |= {0} if line.startswith(">") else set()
    found |= {match.start() for match in re.finditer(r"\*", line)} if bold else set()
    for opener, closer in _MARKERS:
        opening = [match.start() for match in opener.finditer(line)]
        closing = [match.start() for match in closer.finditer(line)]
        if opening and closing and closing[-1] > opening[0]:
            found.update(opening, closing)
    starts = [match.start() for match in _WORD.finditer(line)] if found else []
    return frozenset(starts[bisect_right(starts, at) - 1] for at in found)
