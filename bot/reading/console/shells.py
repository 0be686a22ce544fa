"""What a shell or an editor says of a process that ended, in the reader's language.

bash, dash and ksh print the C library's name of the signal in the language of the reader, bash with the place in the
script before it and the command behind it; zsh and fish have their own words, macOS adds the signal's number, an editor
tells the exit code. So the shape of a line is looked at first, and the words only where the shape says too little.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from trainmaster.bot.reading.console.signal_words import ALONE, IN_A_SHAPE

SIGNAL_NAMES: Final = {
    1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE",
    9: "SIGKILL", 11: "SIGSEGV", 14: "SIGALRM", 15: "SIGTERM", 24: "SIGXCPU", 25: "SIGXFSZ", 31: "SIGSYS",
}  # fmt: skip
KILLING: Final = frozenset({"SIGHUP", "SIGKILL", "SIGALRM", "SIGTERM", "SIGXCPU", "SIGUSR1", "SIGUSR2"})
"""Sent from outside, some by job systems (Slurm's ``--signal``) as a warning that nobody heeded. Others are a process's
own fault."""
UNKNOWN_SIGNAL: Final = ""
"""A shell tells of a signal in words that are not known."""

_SIGNAL_ALONE: Final = {word: name for name, words in ALONE.items() for word in words.split("|")}
_SIGNAL_IN_A_SHAPE: Final = {word: name for name, words in IN_A_SHAPE.items() for word in words.split("|")}
_DUMPED: Final = (
    r"(?:[^()（）]|\([^()]{0,20}\)){0,40}?(?:\bcore(?:dump)?\b|\bdump|Speicherabzug|núcleo|核心|記憶體|内存|コア|코어|памет"
    r"|памят|пам['’]ят|pamięci|paměti|pamäte|geheugen|minnes|hukommelse|çekirdek|muisti|memória|memòria|memorije|mémoire"
    r"|kerne|kjerne|jedra|језгр|nekropsio|cuimhne)(?:[^()（）]|\([^()]{0,20}\)){0,40}"
)
"""What a shell adds where the memory of the process was written to disk, by the words that any such sentence has."""
_BEHIND: Final = rf"(?:: [1-9]\d?)?(?:\.| ?[(（](?:(?P<dump>{_DUMPED})|(?P<name>SIG[A-Z]+))[)）]\.?)?$"
"""macOS puts the signal's number behind its words, a core dump is told in brackets, and so is the name."""
_QUIT_KEY: Final = "^\\"
"""The terminal's echo of Ctrl-\\, before what the shell says of it."""
_WRITES_NO_CORE: Final = frozenset({"SIGKILL", "SIGTERM", "SIGINT", "SIGHUP"})
_SCRIPT: Final = (
    r"^(?=.*\d)\S[^:：]{0,200}?(?:\[\d+\]:? |(?<=sh): (?=\d+: )|(?: línia|, linha) \d+:"
    r"| ?[:：] ?(?:[^\W\d]+\.? ?\d+ª?|第 ?\d+ ?[行列]|\d+[^\W\d]*|\d+\. ?[^\W\d]+|\d+ [^\W\d]{1,12}) ?[:：])"
    r"\s*\d{1,8}:?\s+"
    r"(?P<said>\S.*?)(?:\s{2,}\S.*|\s*)$"
)
"""``train.sh: line 3:  4711 Killed                  python train.py``: a script, a place in it, a process."""
_DESCRIPTION_COLUMNS: Final = 24
"""bash pads the words of a signal to so many and puts the command behind them (``LONGEST_SIGNAL_DESC``, jobs.c). A
character of several bytes may count as several."""
_FILLING: Final = tuple(
    (word, name)
    for table in (_SIGNAL_IN_A_SHAPE, _SIGNAL_ALONE)
    for word, name in table.items()
    if len(word.encode()) >= _DESCRIPTION_COLUMNS - 1
)
_BEHIND_ENDS: Final = frozenset(".)）0123456789")
_MAX_SAID_CHARACTERS: Final = 160
_MAKE: Final = r"^(?:\S*/)?\w*make(?:\[\d+\])?: \*\*\* \[[^\]]*\] (?P<said>\S.*)$"
_OF_ANYBODY: Final = (
    r"\b(?:[Tt]erminated|(?i:killed)|died|crashed|exited|ended|termination|exit successfully|Negsignal)\b.{0,60}?"
    r"(?:\b(?i:signal)[ :]+(?P<number>\d{1,2})\b(?!\.\w)|\b(?P<name>SIG[A-Z]+)\b)"
    r"|^(?:Program|Thread \d+ .{1,80}) received signal (?P<fault>SIG(?:SEGV|ABRT|BUS|FPE|ILL|TRAP|SYS))\b"
    r"|\bsending (?P<sent>SIG(?:KILL|TERM)) to process \d+"
    r"|(?:^npm (?:ERR!|error) signal|\bCommand failed with signal) \"?(?P<script>SIG[A-Z]+)\b"
    # LSF, the second line of a launcher of MPI
    r"|^Exited with signal termination: (?:(?P<lsf>\d{1,2})|(?P<words>[A-Z][a-z ]+))\.?$"
    r"|^signal (?P<second>\d{1,2}) \([A-Z][a-z ]+\)\.?$"
)
"""Launchers, debuggers, build tools and guards of the memory."""
_PM2: Final = r"\bApp \[[^\]]*\] exited with code \[0\] via signal \[(?!SIGINT\])(?P<signal>SIG[A-Z]+)\]"
"""It names SIGINT where there was no signal."""
_JOB: Final = r"^\[\d+\]\s*[+-]?\s+(?:\d+\s+)?(?P<said>\S.*?)(?:\s{2,}\S.*|\s*)$"
_ZSH: Final = (
    r"^(?:[\w./-]+|\S+:\d+): (?P<said>killed|interrupt|terminated|hangup|segmentation fault|bus error|abort|quit"
    r"|illegal hardware instruction|floating point exception|trace trap|cpu limit exceeded|file size limit exceeded"
    r")\b(?: +\(core dumped\))?(?:\s{2,}|\s*$)"
)
_FISH: Final = r"^fish: .*\b(?P<signal>SIG[A-Z]+)\b"
_MAKE_CODE: Final = r"^[^\W\d]+\.? (?P<code>\d{1,3})$"
_ENDED_WITH_CODE: Final = r"^\[\d+\]\s*[+-]?\s+(?:\d+\s+)?(?:[Ee]xit|[^\W\d]+) (?P<code>\d{1,3})(?:\s{2,}\S.*|\s*)$"


def signal_told(text: str) -> str | None:
    """The name of the signal that a shell says has ended a process, :data:`UNKNOWN_SIGNAL` when its words are unknown;
    None when ``text`` (no indentation, no stamp) is no such line."""
    text = text.removeprefix(_QUIT_KEY)
    alone = _signal_named(text, _SIGNAL_ALONE)
    if alone is not None:
        return alone
    if "] via signal [" in text:
        match = re.search(_PM2, text)
        return match["signal"] if match else None
    if text[:1] == "[" and (match := re.match(_JOB, text)):
        said = match["said"]
        for words in (said, said[:1].upper() + said[1:]):  # zsh writes them small
            if (named := _signal_in_shape(words)) is not None:
                return named
    if "make" in text and (match := re.match(_MAKE, text)):
        return _signal_in_shape(match["said"])
    if text.startswith("fish: ") and (match := re.match(_FISH, text)):
        return match["signal"]
    if ": " in text and (match := re.match(_ZSH, text)):
        return _signal_in_shape(match["said"].capitalize()) or UNKNOWN_SIGNAL
    if (":" in text or "：" in text or "]" in text) and (match := re.match(_SCRIPT, text)):
        said = match["said"]
        named = _signal_in_shape(said)
        return named if named is not None or not _is_padded(text[match.start("said") :]) else UNKNOWN_SIGNAL
    if ("ignal" in text or "SIG" in text) and (match := re.search(_OF_ANYBODY, text)):
        return _signal_of_anybody(match)
    if text[-1:] in ")）" and re.match(rf"^[^\W\d][^\d:：]{{1,60}}? ?[(（](?:{_DUMPED})[)）]$", text):
        return UNKNOWN_SIGNAL
    return None


def _signal_of_anybody(match: re.Match[str]) -> str | None:
    if match["words"]:
        return _signal_named(match["words"], _SIGNAL_ALONE) or UNKNOWN_SIGNAL
    number = match["number"] or match["lsf"] or match["second"]
    name = match["name"] or match["fault"] or match["sent"] or match["script"]
    named = SIGNAL_NAMES.get(int(number)) if number else name
    return named if named is None or named in SIGNAL_NAMES.values() else None


def job_exit_code(text: str) -> int | None:
    """The exit code in ``[1]+  Exit 137    python train.py``, or make's in ``[train] Error 137``, in any language; None
    for anything else."""
    match = re.match(_ENDED_WITH_CODE, text) if text[:1] == "[" else None
    if match is None and "make" in text and (made := re.match(_MAKE, text)):
        match = re.match(_MAKE_CODE, made["said"])
    return int(match["code"]) if match else None


def _is_padded(said: str) -> bool:
    """Whether ``said`` has the columns in which bash tells of a signal; no program's message has them by chance."""
    match = re.match(r"([^\W\d][^\d:：]*?\S?(?:\s{2,}))\S", said)
    if match is None:
        return False
    shortest = _DESCRIPTION_COLUMNS if match[1].isascii() else _DESCRIPTION_COLUMNS // 2
    return shortest <= len(match[1]) <= _DESCRIPTION_COLUMNS


def _signal_in_shape(said: str) -> str | None:
    """The signal of ``said``, where a shell's own shape is around it. Words that fill the columns of bash have the
    command right behind them."""
    for table in (_SIGNAL_ALONE, _SIGNAL_IN_A_SHAPE):
        if (named := _signal_named(said, table)) is not None:
            return named
    filling = [(word, name) for word, name in _FILLING if _is_before_command(word, said)]
    return max(filling)[1] if filling else None


def _is_before_command(word: str, said: str) -> bool:
    """Whether ``said`` is ``word`` and a command, and not words that go on from it ("exceptions")."""
    if not said.startswith(word):
        return False
    rest = said[len(word) :]
    return rest[:1] in "(（ " or (len(word.encode()) >= _DESCRIPTION_COLUMNS and re.match(r"s\b", rest) is None)


def _signal_named(said: str, table: Mapping[str, str]) -> str | None:
    """The signal of exactly these words, whatever a shell puts behind them."""
    said = said.strip()
    known = table.get(said)
    if known is not None or said[-1:] not in _BEHIND_ENDS or len(said) > _MAX_SAID_CHARACTERS:
        return known
    match = re.search(_BEHIND, said)
    named = table.get(said[: match.start()]) if match else None
    if match is None or named is None or match["name"] not in {None, named}:
        return None
    return UNKNOWN_SIGNAL if match["dump"] and named in _WRITES_NO_CORE else named
