"""What a generation of Ultralytics must have, and whether the installed one has it: told from its source."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

Markers = tuple[str | tuple[str, ...], ...]
"""Texts that a method's source holds; a tuple within stands for any one of its texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seams:
    """``methods``: owner -> method -> first parameters. ``names``: looked up where they are used. ``markers``: what is
    repeated, replaced or counted on elsewhere in this package."""

    methods: Mapping[type, Mapping[str, tuple[str, ...]]]
    names: tuple[tuple[Any, str], ...]
    markers: Mapping[tuple[Any, str], Markers]
    without: frozenset[tuple[type, str]] = field(default_factory=frozenset)
    """Methods of a newer generation that this one does not have."""

    def changed(
        self,
        *,
        without: frozenset[tuple[type, str]] = frozenset(),
        swapped: Mapping[tuple[Any, str], Mapping[str, str | None]],
    ) -> Seams:
        """An older generation: ``swapped`` gives for a marker what stood there then, or None where nothing did."""
        markers = dict(self.markers)
        for place, pairs in swapped.items():
            unknown = [new for new in pairs if new not in markers[place]]
            assert not unknown, (place, unknown)
            older = (pairs.get(marker, marker) if isinstance(marker, str) else marker for marker in markers[place])
            markers[place] = tuple(marker for marker in older if marker)
        methods = {
            owner: {name: given for name, given in known.items() if (owner, name) not in without}
            for owner, known in self.methods.items()
        }
        return replace(self, methods=methods, markers=markers, without=self.without | without)

    def missing(self) -> tuple[str, ...]:
        """Every seam that is not there; empty when a guard of this generation can work."""
        faults = [
            fault
            for owner, methods in self.methods.items()
            for name, parameters in methods.items()
            for fault in _method_faults(owner, name, parameters)
        ]
        faults += [f"{owner.__name__}.{name}" for owner, name in self.names if not hasattr(owner, name)]
        for (owner, name), markers in self.markers.items():
            faults += _marker_faults(owner, name, markers)
        return tuple(faults)


def _method_faults(owner: type, name: str, parameters: tuple[str, ...]) -> list[str]:
    method = getattr(owner, name, None)
    if method is None:
        return [f"{owner.__name__}.{name}"]
    found = tuple(inspect.signature(method).parameters)
    if found[: len(parameters)] != parameters:
        return [f"{owner.__name__}.{name}{found} is not {parameters}"]
    return []


_source = functools.cache(inspect.getsource)
"""Generations share seams, and each training of a process asks for all of them."""


def _marker_faults(owner: Any, name: str, markers: Markers) -> list[str]:
    try:
        source = _source(getattr(owner, name))
    except (OSError, TypeError, AttributeError):  # no source: cannot be told, and the methods are checked already
        return []
    return [
        f"{owner.__name__}.{name} without {marker!r}"
        for marker in markers
        if not any(text in source for text in ((marker,) if isinstance(marker, str) else marker))
    ]
