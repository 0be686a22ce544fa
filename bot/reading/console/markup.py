"""What pages, chats and programs put around the lines of a log that they show: tags, marks of emphasis, quotes."""

from __future__ import annotations

import re
from typing import Final

from trainmaster.bot.reading.console.patterns import LazyPattern, any_in

_HINTS: Final = ("</", "<br", "&", "*", "`", "\\n'", '\\n"')
"""No frame has one of them; nearly all lines of a log are done with here."""
_TAG: Final = LazyPattern(
    r"<(/?)(a|abbr|b|big|body|br|center|code|dd|del|details|div|dl|dt|em|font|h[1-6]|head|html|i|ins|kbd|li|mark|ol|p"
    r"|pre|q|s|samp|section|small|span|strike|strong|sub|sup|table|tbody|td|th|thead|tr|tt|u|ul|var)\b(?:\s[^<>]*)?/?>",
    re.IGNORECASE,
)
"""By their names: ``<module>`` and ``<Signals.SIGKILL: 9>`` are none."""
_ENDS_A_LINE: Final = frozenset({"br", "dd", "div", "dt", "li", "p", "pre", "tr"})
_ENDS_A_CELL: Final = frozenset({"td", "th"})
_ENTITY: Final = LazyPattern(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|nbsp|lt|gt|amp|quot|apos);")
_NUMBER_MARKED: Final = LazyPattern(
    r"(?<![\w*`])(\*{1,3}|`{1,3})([-+]?(?:\d[\d.eE+-]{0,20}|nan|inf(?:inity)?))\1(?![\w*`])", re.IGNORECASE
)
_LINE_MARKED: Final = LazyPattern(r"(\s*)(\*{1,3}|`{1,3})(?=[^\s*`])([^*`]{1,300})(?<=\S)\2\s*")
_FENCE: Final = "```"
_REPRESENTED: Final = LazyPattern(r"""[(\[]?(b?)(['"])(.*)\\n\2[,)\]]*""")
"""A line as Python shows the text or the bytes that a program has read."""


def unmarked(text: str) -> str:
    """``text`` as it was before a page, a chat or a program marked it up. It may be several lines."""
    if not any_in(_HINTS, text):
        return text
    if text[-1:] in "'\",)]" and (shown := _REPRESENTED.fullmatch(text)):
        text = _evaluated(shown[1], shown[2], shown[3]) or text
    if "</" in text or "<br" in text:
        text = _TAG.sub(_without_tag, text)
    if "&" in text and _ENTITY.search(text):
        import html  # noqa: PLC0415 - most logs are no page, and a scan starts in milliseconds

        text = _ENTITY.sub(lambda entity: html.unescape(entity[0]), text)
    if "*" in text or "`" in text:
        text = _NUMBER_MARKED.sub(lambda marked: marked[2], text)
        if marked := _LINE_MARKED.fullmatch(text):
            return marked[1] + marked[3]
        if _FENCE in text:
            return text.removeprefix(_FENCE).removesuffix(_FENCE)
    return text


def _without_tag(tag: re.Match[str]) -> str:
    name = tag[2].lower()
    if name in _ENDS_A_CELL:
        return " " if tag[1] else ""
    return "\n" if name in _ENDS_A_LINE and (tag[1] or name == "br") else ""


def _evaluated(is_bytes: str, quote: str, body: str) -> str | None:
    import ast  # noqa: PLC0415 - as above

    try:
        value = ast.literal_eval(f"{is_bytes}{quote}{body}{quote}")
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
