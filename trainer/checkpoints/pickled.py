"""What a pickle would have given, as inert records: calls, names, storages, tensors. Loads no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any, Final

MAX_DIMENSIONS: Final = 64
"""Of a tensor, as in torch (c10/core/TensorImpl.h knows no more in its iterator)."""

DICTS: Final = frozenset(
    {
        ("collections", "OrderedDict"),
        ("collections", "defaultdict"),
        ("builtins", "dict"),
        ("__builtin__", "dict"),
    }
)
"""What is a dict once it is loaded, whatever it is called with."""

_PLAIN: Final = (str, int, float, type(None))


class WalkError(Exception):
    """Not a whole pickle."""


class Use(IntEnum):
    """What loading would do with a name; the strongest use counts."""

    NAMED = 1
    MADE = 2
    """An instance without calling the constructor, as pickled objects are normally rebuilt."""
    CALLED_BARE = 3
    """Called without arguments, as a namespace is rebuilt."""
    CALLED = 4


@dataclass(frozen=True, slots=True)
class Name:
    """A global that the pickle refers to; never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(slots=True, eq=False)
class Made:
    """What a call or an instantiation would have given."""

    maker: Any
    args: Any = ()
    state: Any = None
    items: list[Any] = field(default_factory=list)
    pairs: dict[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Storage:
    """Raw numbers elsewhere in the file, by ``key``; ``type_name`` such as "HalfStorage"."""

    type_name: str
    key: str
    num_items: int


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A view of a storage; offset, shape and stride count items. ``dtype`` only where the storage is untyped."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: str | None = None
    is_altered: bool = False
    """Loading shows other numbers than those of the storage: negated, conjugated, or put in their place."""


def pairs_of(flat: Sequence[Any]) -> dict[Any, Any]:
    """A dict of keys and values in turn."""
    if len(flat) % 2:
        raise WalkError("its pickle has a key without a value")
    return {key_of(key): value for key, value in zip(flat[::2], flat[1::2], strict=True)}


def key_of(key: Any) -> Any:
    """``key``, or for anything nested its identity: hashing a tuple of great depth overflows the C stack."""
    return key if isinstance(key, str | int | float | bytes | None) else ("object", id(key))


def storage_of(reference: Any) -> Storage:
    """The storage that a persistent id of torch refers to."""
    tag, kind, key, _device, num_items = reference
    is_written_so = isinstance(kind, Name) and isinstance(key, str) and isinstance(num_items, int)
    if tag != "storage" or not is_written_so or num_items < 0:
        raise WalkError("its pickle refers to its storages in a way torch does not write")
    return Storage(type_name=kind.name, key=key, num_items=num_items)


def dict_of(args: Sequence[Any]) -> dict[Any, Any] | None:
    """What a dict called with ``args`` holds; None where they are no pairs."""
    given = args[-1] if args else ()
    if given is None or isinstance(given, Name):  # what a defaultdict makes of a key that it lacks
        return {}
    if isinstance(given, dict):
        return dict(given)
    if not isinstance(given, list | tuple) or not all(
        isinstance(pair, list | tuple) and len(pair) == 2 for pair in given
    ):
        return None
    return pairs_of([part for pair in given for part in pair])


def with_state(tensor: Any, state: Any) -> Any:
    """``tensor`` with attributes of its own. Torch sets them by ``setattr`` (``_set_obj_state`` in torch/_utils.py),
    so that one called ``data`` puts other numbers in the place of those that it was made with."""
    own = state if isinstance(state, tuple) else (state,)
    is_plain = all(_is_plain(attributes) for attributes in own)
    return tensor if is_plain or not isinstance(tensor, Tensor) else replace(tensor, is_altered=True)


def _is_plain(attributes: Any) -> bool:
    if isinstance(attributes, dict):
        return all(isinstance(value, _PLAIN) for value in attributes.values())
    return not attributes


def tensor_of(args: tuple[Any, ...], *, is_typed: bool) -> Tensor:
    """The tensor that torch rebuilds from ``args``, among which is its dtype where ``is_typed``."""
    storage, offset, shape, stride = args[:4]
    dtype = args[6].name if is_typed else None
    is_altered = any(args[7 if is_typed else 6 :])  # metadata, such as the bit that negates
    if max(len(shape), len(stride)) > MAX_DIMENSIONS:
        raise WalkError(f"its pickle describes a tensor of {len(shape)} dimensions")
    numbers = (offset, *shape, *stride)
    if not isinstance(storage, Storage) or not all(isinstance(number, int) and number >= 0 for number in numbers):
        raise WalkError("its pickle describes a tensor in a way torch does not write")
    if len(shape) != len(stride):
        raise WalkError("its pickle describes a tensor with as many sizes as strides missing")
    return Tensor(storage, offset, tuple(shape), tuple(stride), dtype, is_altered)
