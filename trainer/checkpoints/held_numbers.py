"""Every number in what somebody holds beside tensors, in a file and alive: in any container of Python's own, and of
NumPy's kinds. Loads neither torch nor NumPy, and runs no code of what it looks at."""

from __future__ import annotations

import dataclasses
import functools
import gc
import math
import sys
from array import array
from collections import ChainMap, UserDict, UserList, deque
from collections.abc import Collection, Iterable, Iterator
from types import MappingProxyType, MemberDescriptorType, SimpleNamespace
from typing import Any, Final

from trainmaster.trainer.checkpoints.limits import LimitError
from trainmaster.trainer.checkpoints.pickled import Made
from trainmaster.trainer.checkpoints.single_numbers import array_size, numpy_parts

MAX_HELD: Final = 1_000_000
"""Parts of one value that are looked at; a row of plain numbers is one. A module holds a few."""
BYTES_A_PART: Final = 64
"""Of an array, which count as one of these: no pickle holds more, but its arrays may share what they hold."""
MANY: Final = 64
"""Plain numbers in a row, of which only those at either end, and what is no number, are looked at one by one."""

_NAMESPACES: Final = ("SimpleNamespace", "UserDict", "UserList", "ChainMap")
"""What classes are called whose attributes are no more than their content; Ultralytics' arguments are in one."""
_NO_CONTAINERS: Final = frozenset({"scalar", "_reconstruct", "complex"})
_PLAIN: Final = frozenset({int, float})
_SCALARS: Final = frozenset({int, float, str, bytes, bool, type(None)})


@dataclasses.dataclass(slots=True)
class LookedInto:
    """What was looked at of one file, so that what many of its modules share is looked into once."""

    large: set[int] = dataclasses.field(default_factory=set)
    """Containers and arrays, by ``id``."""
    num_left: int = MAX_HELD


def numbers_in(value: Any, *, looked: LookedInto | None = None) -> Iterator[float]:
    """Every number in ``value`` and in the containers that it holds, NumPy's own ones as well; a complex one by its
    parts. No bool is one. Of many in a row there are NaN, the smallest and the largest."""
    for item in others_in(value, looked=looked):
        yield from _parts_of(item)


def others_in(value: Any, *, looked: LookedInto | None = None) -> Iterator[Any]:
    """What is no container in ``value``: of many plain numbers in a row, few."""
    return leaves_of(value, row=_ends_of, looked=looked)


def leaves_of(value: Any, *, row: Any = None, looked: LookedInto | None = None) -> Iterator[Any]:
    """All in ``value`` that is no container, each container looked into once; ``value`` itself where it is none.

    ``row`` makes fewer of many plain numbers that stand in a row. Without ``looked``, only so many are looked at.

    Raises:
        LimitError: there is more than is looked at of one file.
    """
    alone, looked = looked is None, LookedInto() if looked is None else looked
    visited: set[int] = set()
    waiting = [value]
    while waiting:
        looked.num_left -= 1
        if looked.num_left < 0 and alone:
            return
        if looked.num_left < 0:
            raise LimitError(f"its modules hold more than {MAX_HELD} things beside their tensors")
        item = waiting.pop()
        if id(item) in visited or id(item) in looked.large:
            continue
        inside = _inside(item)
        if inside is None:
            if type(item) is Made:
                looked.large.add(id(item))
                looked.num_left -= array_size(item) // BYTES_A_PART
            yield item
        else:
            (looked.large if len(inside) > MANY else visited).add(id(item))
            waiting.extend(row(inside) if row is not None and len(inside) > MANY else inside)


def _ends_of(row: Collection[Any]) -> Iterable[Any]:
    if not set(map(type, row)) <= _PLAIN:
        return row
    try:
        nan = [math.nan] if any(map(math.isnan, row)) else []
    except OverflowError:  # a whole number beyond any that a float can say
        return row
    numbers = [number for number in row if number == number] if nan else row  # noqa: PLR0124 - none is NaN
    return [*nan, min(numbers), max(numbers)] if numbers else nan


def _inside(item: Any) -> Collection[Any] | None:
    """What the container ``item`` holds; None where it is no container.

    Told by its type alone, and read by the methods of Python's own: those of a subclass may do what they like, and so
    may the class that a stand-in says it is of.
    """
    kind = type(item)
    if kind in _SCALARS:
        return None
    if kind is Made:
        return _inside_made(item)
    for of, content in _CONTENTS:
        if issubclass(kind, of):
            return tuple(content(item))
    if dataclasses.is_dataclass(kind) and kind.__module__ != Made.__module__:  # a tensor in a file is no container
        return _fields_of(item)
    return None


def _inside_made(item: Made) -> Collection[Any] | None:
    name = str(getattr(item.maker, "name", ""))
    if name == "_reconstruct" and isinstance(item.state, tuple) and item.state and isinstance(item.state[-1], list):
        return item.state[-1]  # an array of NumPy's of objects
    if name in _NO_CONTAINERS:
        return None
    own = (item.state,) if name.endswith(_NAMESPACES) or _is_of_no_module(item.state) else ()
    return (item.args, item.items, item.pairs, *own)


def _is_of_no_module(state: Any) -> bool:
    """Whether an object's attributes are those of a plain one; a module's are looked at by themselves."""
    return isinstance(state, dict) and "_modules" not in state


def _fields_of(item: Any) -> Collection[Any]:
    """What stands in the fields of a dataclass, by its slots where it has them."""
    names = type(item).__dataclass_fields__
    slots = [getattr(type(item), name, None) for name in names]
    held = [slot.__get__(item) for slot in slots if isinstance(slot, MemberDescriptorType) and _is_set(slot, item)]
    return (*held, *_attributes_of(item))


def _is_set(slot: MemberDescriptorType, item: Any) -> bool:
    try:
        slot.__get__(item)
    except AttributeError:
        return False
    return True


def _attributes_of(item: Any) -> Collection[Any]:
    try:
        held = object.__getattribute__(item, "__dict__")
    except AttributeError:
        return ()
    return tuple(held.values()) if type(held) is dict else ()


def _of_partial(item: Any) -> Collection[Any]:
    whole: Any = functools.partial
    return (*whole.args.__get__(item), *whole.keywords.__get__(item).values())


_CONTENTS: Final[tuple[tuple[Any, Any], ...]] = (
    (dict, dict.values),
    *((kind, kind.__iter__) for kind in (list, tuple, set, frozenset, deque, array)),
    (MappingProxyType, gc.get_referents),
    ((UserDict, UserList, ChainMap, SimpleNamespace), _attributes_of),
    (functools.partial, _of_partial),
)


def _parts_of(item: Any) -> Iterable[float]:
    """The numbers that ``item``, which is no container, is or consists of."""
    kind = type(item)
    if kind is Made:
        is_complex = getattr(item.maker, "name", "") == "complex" and isinstance(item.args, tuple)
        return filter(_is_plain, item.args) if is_complex else numpy_parts(item)
    if issubclass(kind, bool):
        return ()
    if issubclass(kind, float):
        return (float.__float__(item),)
    if issubclass(kind, int):
        return (_float_of(item),)
    if issubclass(kind, complex):
        real: Any = complex.real
        imaginary: Any = complex.imag
        return real.__get__(item), imaginary.__get__(item)
    numpy: Any = sys.modules.get("numpy")
    if numpy is None or not issubclass(kind, numpy.number) or issubclass(kind, numpy.timedelta64):
        return ()
    if issubclass(kind, numpy.complexfloating):
        return float(item.real), float(item.imag)
    return (float(item),)


def _float_of(number: int) -> float:
    try:
        return int.__float__(number)
    except OverflowError:  # beyond any that a float can say
        return math.inf


def _is_plain(part: Any) -> bool:
    return isinstance(part, int | float) and not isinstance(part, bool)
