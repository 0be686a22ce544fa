"""What a generation of Ultralytics must have, and whether the installed one has it: told from its source."""

from __future__ import annotations

import functools
import inspect
import io
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

Marker = str | tuple[str, ...]
Markers = tuple[Marker, ...]
"""Texts that a method's code holds, whole lines, and once only, where they end in one; a tuple within stands for any
one of its. What is commented out is no code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeamChange:
    """What was different once. ``without``: methods that were not there. ``swapped``: for a marker what stood there
    then, None where nothing did. ``added``: markers beside those."""

    without: frozenset[tuple[type, str]] = frozenset()
    swapped: Mapping[tuple[Any, str], Mapping[Marker, str | None]] = field(default_factory=dict)
    added: Mapping[tuple[Any, str], Markers] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seams:
    """``methods``: owner -> method -> first parameters; others must not be needed. ``closed``: methods for which
    something stands in that takes those only. ``names``: looked up where they are used. ``markers``: what is repeated,
    replaced or counted on elsewhere in this package."""

    methods: Mapping[type, Mapping[str, tuple[str, ...]]]
    closed: frozenset[tuple[type, str]]
    names: tuple[tuple[Any, str], ...]
    markers: Mapping[tuple[Any, str], Markers]

    def changed(self, change: SeamChange) -> Seams:
        """As it was before ``change`` came to an end."""
        markers = dict(self.markers)
        for place, pairs in change.swapped.items():
            unknown = [new for new in pairs if new not in markers[place]]
            assert not unknown, (place, unknown)
            older = (pairs.get(marker, marker) for marker in markers[place])
            markers[place] = tuple(marker for marker in older if marker)
        for place, more in change.added.items():
            markers[place] = (*markers[place], *more)
        methods = {
            owner: {name: given for name, given in known.items() if (owner, name) not in change.without}
            for owner, known in self.methods.items()
        }
        return replace(self, methods=methods, markers=markers)

    def missing(self) -> tuple[str, ...]:
        """Every seam that is not there; empty when a guard of this generation can work."""
        faults = [
            fault
            for owner, methods in self.methods.items()
            for name, parameters in methods.items()
            for fault in _method_faults(owner, name, parameters, closed=(owner, name) in self.closed)
        ]
        faults += [f"{owner.__name__}.{name}" for owner, name in self.names if not hasattr(owner, name)]
        for (owner, name), markers in self.markers.items():
            faults += _marker_faults(owner, name, markers)
        return tuple(faults)


def _method_faults(owner: type, name: str, parameters: tuple[str, ...], *, closed: bool) -> list[str]:
    method = getattr(owner, name, None)
    if method is None:
        return [f"{owner.__name__}.{name}"]
    if not callable(method):
        return [f"{owner.__name__}.{name} is no method"]
    found = tuple(inspect.signature(method).parameters.values())
    names = tuple(parameter.name for parameter in found)
    if names[: len(parameters)] != parameters:
        return [f"{owner.__name__}.{name}{names} is not {parameters}"]
    unknown = [parameter.name for parameter in found[len(parameters) :] if closed or _is_needed(parameter)]
    return [f"{owner.__name__}.{name} takes {', '.join(unknown)} too"] if unknown else []


def _is_needed(parameter: inspect.Parameter) -> bool:
    any_number = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return parameter.default is inspect.Parameter.empty and parameter.kind not in any_number


_source = inspect.getsource
_BETWEEN = frozenset({tokenize.NL, tokenize.COMMENT})
_BEFORE_A_LINE = frozenset({tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT})


@functools.cache
def code(method: Any) -> str:
    """The source of ``method`` without its comments, its docstring and strings that stand alone: what was put into one
    is not carried out. Generations share seams, so each is read once.

    Raises:
        OSError, TypeError: it has no source.
    """
    source = _source(method)
    lines = source.split("\n")
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    except (tokenize.TokenError, SyntaxError):  # a lambda's lines are a part of something
        return source
    gone = [token for token in tokens if token.type == tokenize.COMMENT]
    rest = [token for token in tokens if token.type not in _BETWEEN]
    gone += [
        token
        for before, token, after in zip(rest, rest[1:], rest[2:], strict=False)
        if token.type == tokenize.STRING and before.type in _BEFORE_A_LINE and after.type == tokenize.NEWLINE
    ]
    for token in sorted(gone, key=lambda one: one.start, reverse=True):
        (first, left), (last, right) = token.start, token.end
        lines[first - 1 : last] = [lines[first - 1][:left] + lines[last - 1][right:]]
    return "".join(f"{kept}\n" for line in lines if (kept := line.rstrip()))


def _marker_faults(owner: Any, name: str, markers: Markers) -> list[str]:
    try:
        found = code(getattr(owner, name))
    except (OSError, TypeError, AttributeError):  # no source: cannot be told, and the methods are checked already
        return []
    place = f"{owner.__name__}.{name}"
    faults = []
    for marker in markers:
        texts = (marker,) if isinstance(marker, str) else marker
        if not any(text in found for text in texts):
            faults.append(f"{place} without {_shown(marker)}")
        elif any(text.endswith("\n") and found.count(text) > 1 for text in texts):
            faults.append(f"{place} with {_shown(marker)} more than once")
    return faults


def _shown(marker: Marker) -> str:
    whole = isinstance(marker, str) and marker.endswith("\n")
    return f"the line {marker.strip()!r}" if isinstance(marker, str) and whole else repr(marker)
