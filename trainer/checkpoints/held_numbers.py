"""Every number in what somebody holds beside tensors, in a file and alive: in any container of Python's own, and of
NumPy's kinds. Loads neither torch nor NumPy."""

from __future__ import annotations

import sys
from array import array
from collections import ChainMap, UserDict, UserList, deque
from collections.abc import Iterable, Iterator
from types import MappingProxyType, SimpleNamespace
from typing import Any, Final

from trainmaster.trainer.checkpoints.pickle_walk import Made
from trainmaster.trainer.checkpoints.single_numbers import numpy_parts

MAX_HELD: Final = 4_000_000
"""Parts of one value that are looked at: more than a pickle that is read may have. A module holds a few."""

_NAMESPACES: Final = ("SimpleNamespace", "UserDict", "UserList", "ChainMap")
"""What classes are called whose attributes are no more than their content; Ultralytics' arguments are in one."""
_NO_CONTAINERS: Final = frozenset({"scalar", "_reconstruct", "complex"})


def numbers_in(value: Any) -> Iterator[float]:
    """Every number in ``value`` and in the containers that it holds, NumPy's own ones as well; a complex one by its
    parts. No bool is one."""
    for item in leaves_of(value):
        yield from _parts_of(item)


def leaves_of(value: Any) -> Iterator[Any]:
    """All in ``value`` that is no container, each container looked into once; ``value`` itself where it is none."""
    visited: set[int] = set()
    waiting = [value]
    for _ in range(MAX_HELD):
        if not waiting:
            return
        item = waiting.pop()
        inside = _inside(item)
        if inside is None:
            yield item
        elif id(item) not in visited:
            visited.add(id(item))
            waiting.extend(inside)


def _inside(item: Any) -> Iterable[Any] | None:
    """What the container ``item`` holds; None where it is no container."""
    if isinstance(item, Made):
        name = str(getattr(item.maker, "name", ""))
        if name in _NO_CONTAINERS:
            return None
        own = (item.state,) if name.endswith(_NAMESPACES) else ()
        return (item.args, item.items, item.pairs, *own)
    if isinstance(item, dict | MappingProxyType | UserDict | ChainMap):
        return tuple(item.values())
    if isinstance(item, list | tuple | set | frozenset | deque | array | UserList):
        return tuple(item)
    if isinstance(item, SimpleNamespace):
        return tuple(vars(item).values())
    return None


def _parts_of(item: Any) -> Iterable[float]:
    """The numbers that ``item``, which is no container, is or consists of."""
    if isinstance(item, bool | str | bytes):
        return ()
    if isinstance(item, Made):
        is_complex = getattr(item.maker, "name", "") == "complex" and isinstance(item.args, tuple)
        return filter(_is_plain, item.args) if is_complex else numpy_parts(item)
    numpy: Any = sys.modules.get("numpy")
    if not isinstance(item, int | float | complex) and (numpy is None or not isinstance(item, numpy.number)):
        return ()
    if isinstance(item, complex) or (numpy is not None and isinstance(item, numpy.complexfloating)):
        return float(item.real), float(item.imag)
    try:
        return (float(item),)
    except OverflowError:  # a whole number beyond any that a float can say
        return (float("inf"),)


def _is_plain(part: Any) -> bool:
    return isinstance(part, int | float) and not isinstance(part, bool)
