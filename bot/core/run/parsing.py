"""What another process wrote, read by what its dataclass declares: an odd value is never an exception."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from enum import StrEnum
from functools import cache, partial
from typing import Any, Final, TypeVar

from trainmaster.trainer.contract import ClusterJob, Heartbeat, Phase, RunFile, RunRecordState, decode_number

_MAX_WHOLE: Final = 2**63
"""What a database takes."""
_MAX_TS: Final = 253_402_300_800.0
"""The end of the year 9999: what a calendar takes."""

Declared = RunFile | Heartbeat | ClusterJob
Member = TypeVar("Member", bound=StrEnum)

_MEASURED: Final = frozenset(
    {"phase_since_ts", "images_per_s", "epoch_elapsed_s", "memory_gib", "longest_batch_s", "grad_trend"}
)
"""Of a heartbeat, what is a time or an amount of this host: one that is no number was not measured. Losses, norms and
rates that are none are what the guard is there for."""


def text_of(value: object) -> str | None:
    """``value`` if it is text."""
    return value if isinstance(value, str) else None


def member_of(kind: type[Member], value: object) -> Member | None:
    """The member of ``kind`` that ``value`` names; None for any other text, which a newer trainer may write."""
    return _members(kind).get(value) if isinstance(value, str) else None


@cache
def _members(kind: type[Member]) -> dict[str, Member]:
    return {one.value: one for one in kind}


def whole_of(value: object) -> int | None:
    """``value`` if it is a whole number that a counter can have come to."""
    return value if type(value) is int and -_MAX_WHOLE < value < _MAX_WHOLE else None


def time_of(value: object) -> float | None:
    """``value`` if it is a time, in seconds since the epoch, that has a date."""
    number = number_of(value)
    return number if number is not None and -_MAX_TS < number < _MAX_TS else None  # which NaN is not


def texts_of(value: object) -> tuple[str, ...]:
    """Each item of a list as text; empty when it is none."""
    return tuple(str(item) for item in value) if isinstance(value, list) else ()


def number_of(value: object) -> float | None:
    """As :func:`decode_number`; nearly all of a long history is plain numbers, told apart much faster."""
    return value if type(value) is float or value is None else decode_number(value)


def numbers_of(value: object) -> dict[str, float]:
    """Those values of an object that are numbers, non-finite ones included."""
    if not isinstance(value, dict):
        return {}
    decoded = {sys.intern(str(name)): number_of(number) for name, number in value.items()}
    return {name: number for name, number in decoded.items() if number is not None}


def values_of(kind: type[Declared], record: Mapping[str, Any]) -> dict[str, Any] | None:
    """What ``record`` says for the fields of ``kind``; None when it lacks one that has no default.

    A key that is missing, or holds what the field's type does not allow, is left out.
    """
    readers, needed = _DECLARED.get(kind) or _declared(kind)
    read = {name: reader(record.get(name)) for name, reader in readers.items()}
    values = {name: value for name, value in read.items() if value is not None}
    return values if needed <= values.keys() else None


_DECLARED: Final[dict[type[Declared], tuple[dict[str, Callable[[object], Any]], frozenset[str]]]] = {}


def _declared(kind: type[Declared]) -> tuple[dict[str, Callable[[object], Any]], frozenset[str]]:
    """How each field of ``kind`` is read, and those that have no default. Found out once."""
    readers = {one.name: _reader(one.name, str(one.type)) for one in fields(kind)}
    needed = (one.name for one in fields(kind) if one.default is MISSING and one.default_factory is MISSING)
    _DECLARED[kind] = told = readers, frozenset(needed)
    return told


def _reader(name: str, kind: str) -> Callable[[object], Any]:
    return time_of if name == "ts" or name.endswith("_ts") else READERS[kind]


def heartbeat_of(record: Mapping[str, Any]) -> Heartbeat | None:
    """What ``heartbeat.json`` says; None when it carries no time."""
    values = values_of(Heartbeat, record)
    if values is None or not math.isfinite(values["ts"]):
        return None
    measured = {name: value for name, value in values.items() if name not in _MEASURED or math.isfinite(value)}
    return Heartbeat(**measured)


def _object_of(value: object) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None


def _rows_of(value: object) -> tuple[Mapping[str, Any], ...]:
    return tuple(row for row in value if isinstance(row, dict)) if isinstance(value, list) else ()


def _job_of(value: object) -> ClusterJob | None:
    values = values_of(ClusterJob, value) if isinstance(value, dict) else None
    return None if values is None else ClusterJob(**values)


READERS: Final[Mapping[str, Callable[[object], Any]]] = {
    "str": lambda value: text_of(value) or None,
    "str | None": text_of,
    "int": lambda value: whole_of(value) or None,
    "int | None": whole_of,
    "float": decode_number,
    "float | None": decode_number,
    "tuple[str, ...]": texts_of,
    "tuple[Mapping[str, Any], ...]": _rows_of,
    "Mapping[str, float]": numbers_of,
    "Mapping[str, Any] | None": _object_of,
    "Phase | None": partial(member_of, Phase),
    "RunRecordState | None": partial(member_of, RunRecordState),
    "ClusterJob | None": _job_of,
}
"""How a value is read, by the type that the contract declares for it: text or a number that must be there is no use
empty or 0, so it counts as missing."""
