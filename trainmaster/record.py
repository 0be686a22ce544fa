"""Data that does not change, where a command must start in milliseconds.

``@dataclass(frozen=True, slots=True, kw_only=True)`` compiles the methods of each class when it is made, and imports
``inspect`` for it: a third of the time in which a scan reads a log of 400 MB. :class:`Fixed` has the same methods once
for all classes. Standard library only; the reader of console logs and the table of verbs use it.
"""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn, TypeVar, dataclass_transform

_RecordT = TypeVar("_RecordT", bound="Fixed")
_set = object.__setattr__


@dataclass_transform(kw_only_default=True, frozen_default=True)
class _Making(type):
    """Makes the annotated names of a class its slots, but for those that begin with an underscore."""

    def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> _Making:
        own = tuple(field for field in namespace.get("__annotations__", ()) if not field.startswith("_"))
        defaults = {field: namespace.pop(field) for field in own if field in namespace}
        for base in bases[:1]:
            namespace["_fields"] = (*base.__dict__.get("_fields", ()), *own)
            namespace["_defaults"] = {**base.__dict__.get("_defaults", {}), **defaults}
        return super().__new__(cls, name, bases, {**namespace, "__slots__": own})


class Fixed(metaclass=_Making):
    """Fields are given by name, equal records are of one class and have equal fields."""

    _fields: ClassVar[tuple[str, ...]] = ()
    _defaults: ClassVar[dict[str, Any]] = {}

    def __init__(self, **values: Any) -> None:
        if values.keys() != set(self._fields):
            values = {**self._defaults, **values}
            lacking, unknown = set(self._fields) - values.keys(), values.keys() - set(self._fields)
            if lacking or unknown:
                fault = f"lacks {sorted(lacking)}" if lacking else f"has no {sorted(unknown)}"
                raise TypeError(f"{type(self).__name__} {fault}")
        for name, value in values.items():
            _set(self, name, value)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} does not change: {name}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} does not change: {name}")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._fields)
        return f"{type(self).__name__}({shown})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, (type(self), {name: getattr(self, name) for name in self._fields})

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self._fields)


def _made(kind: type[_RecordT], values: dict[str, Any]) -> _RecordT:
    return kind(**values)


def replaced(record: _RecordT, **changes: Any) -> _RecordT:
    """``record`` with other values of the fields in ``changes``."""
    return _made(type(record), {name: getattr(record, name) for name in record._fields} | changes)
