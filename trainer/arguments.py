"""``key=value`` words of the command line, as Ultralytics users write them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

_MAX_DIGITS: Final = 9


class ArgumentsError(Exception):
    """A command line that cannot be carried out; ends the process with exit code 2. ``hint`` says what to write."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class NoRunError(ArgumentsError):
    """``place`` is named as a run's, and is none."""

    def __init__(self, place: object, why: str = "is no run directory: it has no guard/run.json") -> None:
        super().__init__(f"{place} {why}", "name the folder that the training made of project= and name=: runs/night")


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """A command line, split: ``words`` in order, ``settings`` by key, ``flags`` without their dashes."""

    words: tuple[str, ...]
    settings: dict[str, str]
    flags: frozenset[str]


def split_arguments(argv: Sequence[str]) -> Arguments:
    """Split ``argv``; a key given twice is refused, since which one was meant cannot be known.

    Raises:
        ArgumentsError: a key twice, or a ``=`` with nothing before it.
    """
    words: list[str] = []
    settings: dict[str, str] = {}
    flags: set[str] = set()
    for argument in argv:
        if argument.startswith("--") and "=" not in argument:
            flags.add(argument[2:])
            continue
        key, equals, value = argument.removeprefix("--").partition("=")
        if not equals or "/" in key:  # runs/lr0=0.01 is a run of a sweep
            words.append(argument)
        elif not key:
            raise ArgumentsError(f"{argument!r} has no key before '='", "write key=value, without spaces around '='")
        elif key in settings:
            raise ArgumentsError(f"{key!r} is given twice: {settings[key]!r} and {value!r}", "leave one of them out")
        else:
            settings[key] = value
    return Arguments(words=tuple(words), settings=settings, flags=frozenset(flags))


def joined(argv: Sequence[str], options: Sequence[str]) -> list[str]:
    """``argv`` with ``--out FILE`` as ``--out=FILE``, for each of the ``options``; one at the end stays alone."""
    words: list[str] = []
    for word in argv:
        if words and words[-1].removeprefix("--") in options and words[-1].startswith("--"):
            words[-1] += f"={word}"
        else:
            words.append(word)
    return words


def reject_unknown(given: Iterable[str], known: Iterable[str], what: str) -> None:
    """Every name in ``given`` is one of ``known``.

    Raises:
        ArgumentsError: names them all, each with its nearest known name.
    """
    names = sorted(known)
    unknown = [name for name in given if name not in set(names)]
    if not unknown:
        return
    texts = [f"{name!r}{did_you_mean(name, names)}" for name in unknown]
    hint = f"known: {', '.join(names) or 'none'}" if len(names) < 40 else ""
    raise ArgumentsError(f"unknown {what}: {', '.join(texts)}", hint)


def whole_number(text: str | None, name: str) -> int | None:
    """``text``, the value of ``name``, as a number from 1; None when it was not given.

    Raises:
        ArgumentsError: it is no such number.
    """
    if text is None:
        return None
    if not is_number(text) or not int(text):
        raise ArgumentsError(f"{name}={text[:40]} is no whole number from 1 to 999999999")
    return int(text)


def is_number(text: str) -> bool:
    """Whether ``text`` is a number as people type one. ``isdigit`` alone also holds for ``²``, of which Python makes
    none, and for thousands of digits."""
    return text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The nearest of ``known`` as the end of a message; empty when none is near."""
    names = sorted(known)
    swapped = [one for one in names if sorted(one) == sorted(name)]  # modle is model, though mode is nearer by count
    near = swapped or get_close_matches(name, names, n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""
