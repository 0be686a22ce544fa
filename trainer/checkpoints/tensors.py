"""Every tensor of a checkpoint by name, and what its numbers are; from an inert walk, without torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from math import prod
from typing import Any, Final

from trainmaster.trainer.checkpoints.container import DamageError
from trainmaster.trainer.checkpoints.domains import FRACTIONS, WEIGHT_PARTS, Domain, domain_of, leaf_of
from trainmaster.trainer.checkpoints.limits import MAX_TENSORS, LimitError
from trainmaster.trainer.checkpoints.naming import MAX_NAME_CHARS
from trainmaster.trainer.checkpoints.pickled import Made, Storage, Tensor
from trainmaster.trainer.checkpoints.strided import CODES, dimensions_of, gathered, is_dense, num_slices, overlaps
from trainmaster.trainer.checkpoints.values import (
    BF16,
    EMPTY,
    F16,
    F32,
    F64,
    Content,
    FloatFormat,
    Look,
    is_same,
    numbers,
)

MAX_DEPTH: Final = 200
"""Nesting of modules in a checkpoint; yolo11x reaches 22."""

MAX_LOOKS: Final = 8
"""How often the bytes of the file may be looked through, all tensors together. Tensors may share numbers, but a file of
thousands that overlap by half would keep us busy for hours."""

MAX_SLICES: Final = 300_000
"""Pieces that the numbers of strided tensors may be joined from, all together: some 0.3 s. Torch writes none."""

SUSPECT_SHARE: Final = 0.9
"""Of some numbers of a tensor that are one and the same: then all are counted, in pieces of so many."""
PIECE: Final = 65_536
MOST_COUNTED: Final = 1_000_000
"""Of more numbers, every second, third, ... is counted."""

NUMPY_FROM_BYTES: Final = 48 * 1024 * 1024
"""Importing numpy takes as long as looking through so much without it."""

MAX_SINGLE_NUMBERS: Final = 4_000_000
"""How many may be taken one by one, which is slow; the batch-norm variances of yolo11x are 26,000."""
LOOK_COSTS: Final = 32
"""In such numbers, what taking one or some of them does."""

_FLOATS: Final = {
    **dict.fromkeys(("HalfStorage", "float16"), F16),
    **dict.fromkeys(("BFloat16Storage", "bfloat16"), BF16),
    **dict.fromkeys(("FloatStorage", "float32"), F32),
    **dict.fromkeys(("DoubleStorage", "float64"), F64),
}
_WHOLE: Final = {
    **dict.fromkeys(("LongStorage", "int64", "uint64"), 8),
    **dict.fromkeys(("IntStorage", "int32", "uint32"), 4),
    **dict.fromkeys(("ShortStorage", "int16", "uint16"), 2),
    **dict.fromkeys(("CharStorage", "ByteStorage", "BoolStorage", "int8", "uint8", "bool"), 1),
}
"""By storage class or dtype, with the size of a number in bytes."""


class Role(Enum):
    """Where a tensor hangs, which says how much it matters."""

    WEIGHT = auto()
    """A parameter or buffer of a module, or an entry of a plain dict such as a state dict or an optimizer's state."""
    ATTRIBUTE = auto()
    """Anything else that a module carries, such as anchors made for the last image size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One tensor: ``part`` is the top-level key, ``name`` as in a state dict. ``form`` and ``content`` are of floating
    tensors in a known format; ``judged`` says whether there is anything left to know."""

    part: str
    name: str
    role: Role
    tensor: Tensor
    judged: bool
    form: FloatFormat | None
    content: Content | None
    constant: bool = False
    """Holds one and the same number throughout, where numbers differ in anything that was trained."""
    count: int | None = None
    """The number itself, of a single whole one."""

    @property
    def leaf(self) -> str:
        """The last word of the name."""
        return leaf_of(self.name)


@dataclass(slots=True)
class TensorReader:
    """Looks tensors up in the storages of one file."""

    entries: Mapping[str, memoryview]
    look: Look
    faster: Callable[[], Look] | None = None
    """Where the file is small and its tensors lie over one another: what looks, once ``look`` has looked at as much as
    pays."""
    _looked: dict[tuple[str, int, int, str, Domain], Content] = field(default_factory=dict)
    _looked_bytes: int = 0
    _single_numbers: int = 0
    _most_bytes: int = 0
    _num_slices: int = 0
    _gathered: tuple[Tensor, memoryview] | None = None
    _is_gatherable: dict[Tensor, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._most_bytes = MAX_LOOKS * sum(entry.nbytes for entry in self.entries.values())

    def seen_in(self, parts: Mapping[Any, Any]) -> list[Seen]:
        """All tensors under the top-level keys ``parts``, by each of their names.

        Raises:
            DamageError: a storage is missing or too short for what is said of it, or the nesting has no end.
            LimitError: more than any checkpoint has.
        """
        seen: list[Seen] = []
        for place in _tensors(parts):
            if len(seen) == MAX_TENSORS:
                raise LimitError(f"it has more than {MAX_TENSORS} tensors")
            seen.append(self._see(*place))
        return seen

    def numbers_of(self, seen: Seen, start: int = 0, end: int | None = None) -> list[float]:
        """The values of a floating tensor in the order they lie in the file, from ``start`` to ``end``; for few.

        Raises:
            LimitError: they were too many in all.
        """
        assert seen.form is not None
        width = seen.form.num_bytes
        view = self._bytes_of(seen.tensor, width)[start * width : None if end is None else end * width]
        self._single_numbers += LOOK_COSTS + view.nbytes // width
        if self._single_numbers > MAX_SINGLE_NUMBERS:
            raise LimitError(f"its statistics and biases are more than {MAX_SINGLE_NUMBERS} numbers")
        return list(numbers(view, seen.form))

    def count_of(self, seen: Seen) -> int:
        """How many values :meth:`numbers_of` would give."""
        assert seen.form is not None
        return self._bytes_of(seen.tensor, seen.form.num_bytes).nbytes // seen.form.num_bytes

    def uniform_value(self, seen: Seen) -> float | None:
        """The one number that a floating tensor holds throughout; None when it holds several, or none."""
        assert seen.form is not None
        width = seen.form.num_bytes
        view = self._bytes_of(seen.tensor, width)
        self._count_looked(view.nbytes)
        if not view.nbytes or not is_same(view[:-width], view[width:]):
            return None
        (first,) = numbers(view[:width], seen.form)
        return first

    def exceeds(self, seen: Seen, magnitude: float) -> bool:
        """Whether a floating tensor holds a number so large or larger, of either sign."""
        assert seen.form is not None
        view = self._bytes_of(seen.tensor, seen.form.num_bytes)
        self._count_looked(view.nbytes)
        return self.look(view, seen.form, Domain(largest=magnitude)).exploded

    def repeats_after(self, seen: Seen, num_values: int) -> bool:
        """Whether a floating tensor holds its first ``num_values`` numbers over and over."""
        assert seen.form is not None
        view = self._bytes_of(seen.tensor, seen.form.num_bytes)
        self._count_looked(view.nbytes)
        step = num_values * seen.form.num_bytes
        return is_same(view[:-step], view[step:])

    def share_alike(self, seen: Seen, num_sampled: int) -> float:
        """The share of the most frequent number in a floating tensor. Of ``num_sampled`` or fewer, taken from all over
        it, when these differ so much that no number has nearly all."""
        assert seen.form is not None
        items = self._bytes_of(seen.tensor, seen.form.num_bytes).cast(CODES[seen.form.num_bytes])
        sample = items[:: max(1, len(items) // num_sampled)].tolist()
        common = max(set(sample), key=sample.count, default=0)
        share = sample.count(common) / max(1, len(sample))
        if share < SUSPECT_SHARE:
            return share
        self._count_looked(items.nbytes)
        counted = items[:: 1 + len(items) // MOST_COUNTED]
        pieces = (counted[start : start + PIECE].tolist() for start in range(0, len(counted), PIECE))
        return sum(piece.count(common) for piece in pieces) / len(counted)

    def _see(self, part: str, name: str, role: Role, tensor: Tensor) -> Seen:
        kind = "altered" if tensor.is_altered else tensor.dtype or tensor.storage.type_name
        form, content, constant, count = _FLOATS.get(kind), None, False, None
        if form is not None:
            domain = domain_of(part, name, len(tensor.shape))
            view = self._bytes_of(tensor, form.num_bytes)
            content = self._content(tensor, view, form, domain)
            constant = role is Role.WEIGHT and _is_constant(tensor, view, form, domain)
        elif kind in _WHOLE:
            whole = self._bytes_of(tensor, _WHOLE[kind])
            count = int.from_bytes(whole, "little", signed=True) if whole.nbytes == _WHOLE[kind] else None
        elif f"data/{tensor.storage.key}" not in self.entries:
            raise DamageError(f"the numbers of {part}.{name} are missing")
        judged = (form is not None or kind in _WHOLE) and self._is_gatherable.get(tensor, True)
        judged = judged and not _is_laid_over_itself(part, name, role, tensor)
        return Seen(
            part=part,
            name=name,
            role=role,
            tensor=tensor,
            judged=judged,
            form=form,
            content=content,
            constant=constant,
            count=count,
        )

    def _content(self, tensor: Tensor, view: memoryview, form: FloatFormat, domain: Domain) -> Content:
        if not view.nbytes:
            return EMPTY
        if self._gathered is not None and self._gathered[0] is tensor:
            return self.look(view, form, domain)
        place = (tensor.storage.key, tensor.offset, view.nbytes, form.name, domain)
        if place not in self._looked:
            self._count_looked(view.nbytes)
            if self.faster is not None and self._looked_bytes > NUMPY_FROM_BYTES:
                self.look, self.faster = self.faster(), None
            self._looked[place] = self.look(view, form, domain)
        return self._looked[place]

    def _bytes_of(self, tensor: Tensor, item_bytes: int) -> memoryview:
        """The numbers of ``tensor`` in the order they lie in the file. Of one that lies over itself, or in too many
        pieces, all that lies between as well; then it is not judged."""
        storage = self._storage(tensor.storage, item_bytes, typed=tensor.dtype is None)
        if 0 in tensor.shape:
            return storage[:0]
        extent = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride, strict=True))
        end_bytes = (tensor.offset + extent) * item_bytes
        if end_bytes > storage.nbytes:
            raise DamageError(
                f"a tensor of shape {tensor.shape} reaches behind the end of storage {tensor.storage.key}"
            )
        stretch = storage[tensor.offset * item_bytes : end_bytes]
        dimensions = dimensions_of(tensor)
        if is_dense(dimensions):
            return stretch
        if self._gathered is not None and self._gathered[0] is tensor:
            return self._gathered[1]
        if tensor not in self._is_gatherable:
            self._num_slices += num_slices(dimensions)
            self._is_gatherable[tensor] = not overlaps(dimensions) and self._num_slices <= MAX_SLICES
        if not self._is_gatherable[tensor]:
            return stretch
        self._count_looked(2 * item_bytes * prod(size for size, _ in dimensions))  # gathered, then looked through
        self._gathered = (tensor, gathered(stretch, dimensions, item_bytes))
        return self._gathered[1]

    def _count_looked(self, num_bytes: int) -> None:
        self._looked_bytes += num_bytes
        if self._looked_bytes > self._most_bytes:
            raise DamageError("its tensors lie over one another: torch writes numbers once")

    def _storage(self, storage: Storage, item_bytes: int, *, typed: bool) -> memoryview:
        view = self.entries.get(f"data/{storage.key}")
        needed = storage.num_items * (item_bytes if typed else 1)
        if view is None or view.nbytes < needed:
            have = "none" if view is None else str(view.nbytes)
            raise DamageError(f"storage {storage.key} should hold {needed} bytes and has {have}")
        return view[:needed]


def _is_constant(tensor: Tensor, view: memoryview, form: FloatFormat, domain: Domain) -> bool:
    """Zeros are told by :class:`Content`; a stride of zero repeats one number without storing it again."""
    if domain.starts_at is None or prod(tensor.shape) < domain.num_varied or not view.nbytes:
        return False
    width = form.num_bytes
    if not is_same(view[:-width], view[width:]):
        return False
    (first,) = numbers(view[:width], form)
    return first not in {0.0, domain.starts_at}


def _is_laid_over_itself(part: str, name: str, role: Role, tensor: Tensor) -> bool:
    """Whether one number stands for several, which no step can be taken with."""
    if part not in WEIGHT_PARTS or role is not Role.WEIGHT or leaf_of(name) not in FRACTIONS:
        return False
    return 0 in tensor.stride and any(
        size > 1 and not stride for size, stride in zip(tensor.shape, tensor.stride, strict=True)
    )


def _tensors(parts: Mapping[Any, Any]) -> Iterator[tuple[str, str, Role, Tensor]]:
    """Weights before all else: what is a weight and hangs elsewhere too is judged as a weight. A tensor is told by each
    of its names, what holds some is looked into once."""
    visited: set[int] = set()
    later: list[_Place] = []
    for part in sorted(parts, key=lambda key: key not in WEIGHT_PARTS):
        yield from _walked([(part, (), Role.WEIGHT, parts[part])], visited, later)
    yield from _walked(later[::-1], visited, None)


_Place = tuple[Any, tuple[str, ...], Role, Any]


def _walked(
    waiting: list[_Place], visited: set[int], later: list[_Place] | None
) -> Iterator[tuple[str, str, Role, Tensor]]:
    """What hangs below the places ``waiting``; what a module carries beside its slots goes to ``later``."""
    while waiting:
        part, path, role, item = waiting.pop()
        if isinstance(item, Tensor):
            yield _word(part), _word(".".join(path)), role, item
            continue
        if not isinstance(item, _HOLDERS) or id(item) in visited:
            continue
        if isinstance(item, Made) and not (item.state or item.args or item.items or item.pairs):
            continue
        visited.add(id(item))
        if len(path) > MAX_DEPTH:
            raise DamageError(f"its content is nested more than {MAX_DEPTH} deep")
        inner = [(part, *place) for place in _children(path, role, item, later is not None)]
        waiting.extend(reversed(inner))
        if later is not None and isinstance(item, Made):
            later.extend((part, *place) for place in _children(path, role, item, False))


def _word(key: Any) -> str:
    word = str(key)
    if len(word) > MAX_NAME_CHARS:
        raise DamageError(f"a tensor in it has a name of {len(word)} characters")
    return word


_HOLDERS: Final = (Tensor, Made, dict, list, tuple)
"""What is a tensor or may hold one. Most of a checkpoint's values are neither, so they are passed over early."""
_MODULE_SLOTS: Final = {"_modules": Role.ATTRIBUTE, "_parameters": Role.WEIGHT, "_buffers": Role.WEIGHT}


def _children(
    path: tuple[str, ...], role: Role, item: Any, slots_only: bool
) -> Iterator[tuple[tuple[str, ...], Role, Any]]:
    if isinstance(item, Made):
        yield from _of_made(path, item, slots_only)
        return
    pairs = item.items() if isinstance(item, dict) else enumerate(item)
    for key, value in pairs:
        if isinstance(value, _HOLDERS) and value:
            yield (*path, _word(key)), role, value


def _of_made(path: tuple[str, ...], item: Made, slots_only: bool) -> Iterator[tuple[tuple[str, ...], Role, Any]]:
    for attributes in item.state if isinstance(item.state, tuple) else (item.state,):
        if isinstance(attributes, dict):
            for key, value in attributes.items():
                inner = _MODULE_SLOTS.get(key)
                if not value or not isinstance(value, _HOLDERS) or (slots_only and inner is None):
                    continue
                yield (path, inner, value) if inner is not None else ((*path, _word(key)), Role.ATTRIBUTE, value)
        elif not slots_only:
            yield path, Role.ATTRIBUTE, attributes
    if not slots_only:
        yield from ((path, Role.ATTRIBUTE, more) for more in (item.items, item.pairs, item.args) if more)
