"""The plain numbers that a pickled module carries beside its tensors: an eps, a momentum, a slope. Loads no torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from trainmaster.trainer.checkpoints.domains import WEIGHT_PARTS
from trainmaster.trainer.checkpoints.held_numbers import LookedInto, leaves_of, numbers_in
from trainmaster.trainer.checkpoints.limits import MAX_MODULES, MAX_SETTINGS, LimitError
from trainmaster.trainer.checkpoints.naming import MAX_NAME_CHARS, below, few
from trainmaster.trainer.checkpoints.pickled import Made, Name, Tensor
from trainmaster.trainer.checkpoints.single_numbers import array_numbers
from trainmaster.trainer.checkpoints.tensors import Role, Seen, TensorReader

LARGEST_EPS: Final = 1.0
"""Torch takes 1e-5, Ultralytics 1e-3. Beyond 1 it outweighs what it is added to."""

LARGEST_STRIDE: Final = 4096.0
"""Pixels of the image to one of the coarsest map; Ultralytics reaches 64."""

_MAY_BE_INFINITE: Final = frozenset({"min_val", "max_val", "args"})
"""Bounds of ``nn.Hardtanh``, where an infinity means none, and the run's arguments, with a patience without end."""

_SLOTS: Final = frozenset({"_modules", "_parameters", "_buffers"})
_GEOMETRY: Final = frozenset({"stride", "dilation", "kernel_size"})
_STATISTICS: Final = ("running_mean", "running_var")
_NO_NUMBERS: Final = frozenset({str, bool, type(None), Name})


@dataclass(frozen=True, slots=True)
class ModuleSetting:
    """One number that a module carries; ``name`` leads to it from the model."""

    name: str
    leaf: str
    value: float
    normalizes: bool
    """It belongs to a module with running statistics."""


def impossible_settings(top: Mapping[Any, Any], seen: Sequence[Seen], reader: TensorReader) -> Iterator[str]:
    """Settings of modules with which nothing trains; NaN is none in any place."""
    yield from impossible_among([*_settings(top), *_strides(seen, reader)])


def impossible_among(settings: Sequence[ModuleSetting]) -> Iterator[str]:
    """Why nothing trains with ``settings``."""
    if nan := [one.name for one in settings if math.isnan(one.value)]:
        yield f"a setting of its modules is not a number: {_shown(nan)}"
    if bad := [f"{one.name} is {one.value:g}" for one in settings if _is_impossible(one)]:
        yield f"a setting of its modules that none can be: {_shown(bad)}"


def doubtful_settings(top: Mapping[Any, Any], seen: Sequence[Seen], reader: TensorReader) -> Iterator[str]:
    """Settings of modules that speak against the file and may have a reason."""
    settings = [*_settings(top), *_strides(seen, reader)]
    if endless := [one.name for one in settings if math.isinf(one.value) and one.leaf not in _MAY_BE_INFINITE]:
        yield f"a setting of its modules is infinite: {_shown(endless)}"
    if odd := [f"{one.name} is {one.value:g}" for one in settings if _is_odd(one)]:
        yield f"a setting of its modules is odd: {_shown(odd)}"
    if arrays := [name for name, held in _arrays(top) if not all(map(math.isfinite, array_numbers(held)))]:
        yield f"an array of its modules is not finite: {_shown(arrays)}"
    if bare := [name for _, name, attributes in modules_in(top) if _lacks_numbers(attributes)]:
        yield f"a module without the numbers that it works with: {_shown(bare)}"
    if odd := list(_misshapen(top)):
        yield f"a module that is not built as torch's are: {_shown(odd)}"


def _is_impossible(one: ModuleSetting) -> bool:
    match one.leaf:
        case "eps":
            return one.value < 0 or one.value > LARGEST_EPS
        case "momentum" if one.normalizes:
            return not math.isnan(one.value) and not 0 <= one.value <= 1
        case "stride":
            return one.value < 0
    return False


def _is_odd(one: ModuleSetting) -> bool:
    """An eps of zero, which torch allows; a stride of zero, as that of a head which was never built; a convolution
    whose sizes none has."""
    return (
        (one.leaf == "eps" and one.normalizes and one.value == 0)
        or (one.leaf in _GEOMETRY and (one.value == 0 or LARGEST_STRIDE < one.value < math.inf))
        or (one.leaf == "padding" and LARGEST_STRIDE < one.value < math.inf)
    )


def _lacks_numbers(attributes: Mapping[Any, Any]) -> bool:
    parameters, buffers = attributes.get("_parameters"), attributes.get("_buffers")
    if isinstance(parameters, dict) and "kernel_size" in attributes and parameters.get("weight", 0) is None:
        return True
    if isinstance(parameters, dict) and any(_is_no_tensor(one) for one in parameters.values()):
        return True
    tracks = attributes.get("track_running_stats") is True
    normalizes = tracks or (isinstance(buffers, dict) and "running_var" in buffers)
    if normalizes and not isinstance(attributes.get("eps", 1.0), int | float):
        return True
    return tracks and not (isinstance(buffers, dict) and all(buffers.get(name) is not None for name in _STATISTICS))


def _is_no_tensor(parameter: Any) -> bool:
    """Whether a number, a text or an array of NumPy stands where a module has a parameter."""
    array = isinstance(parameter, Made) and getattr(parameter.maker, "name", "") == "_reconstruct"
    return array or isinstance(parameter, int | float | str | list | tuple | dict)


def _misshapen(top: Mapping[Any, Any]) -> Iterator[str]:
    """Modules whose parts lie elsewhere than torch has them, where nothing here looks and loading may find them."""
    roots = {part: top.get(part) for part in sorted(WEIGHT_PARTS) if isinstance(top.get(part), Made)}
    yield from (part for part, root in roots.items() if not _is_module(root))
    for part, path, attributes in modules_in(top):
        for slot, holds in _SLOTS_HOLD.items():
            held = attributes.get(slot)
            if not isinstance(held, dict) or not all(one is None or holds(one) for one in held.values()):
                yield below(path, slot)
        if isinstance(attributes.get("forward"), Name):
            yield below(path or part, "forward")


def _is_module(item: Any) -> bool:
    """Whether it is made by its attributes alone, as torch's modules are."""
    if not isinstance(item, Made) or not isinstance(item.state, dict) or not isinstance(item.args, tuple):
        return False
    has_more = item.items or item.pairs or any(one is not None for one in item.args)
    return isinstance(item.state.get("_modules"), dict) and not has_more


_SLOTS_HOLD: Final[Mapping[str, Callable[[Any], bool]]] = {
    "_modules": _is_module,
    "_parameters": lambda one: isinstance(one, Tensor),
    "_buffers": lambda one: isinstance(one, Tensor),
}


def _settings(top: Mapping[Any, Any]) -> Iterator[ModuleSetting]:
    looked = LookedInto()
    num_settings = 0
    for _, path, attributes in modules_in(top):
        for setting in settings_of(path, attributes, looked=looked):
            num_settings += 1
            if num_settings > MAX_SETTINGS:
                raise LimitError(f"its modules carry more than {MAX_SETTINGS} numbers")
            yield setting


def settings_of(
    path: str, attributes: Mapping[Any, Any], *, looked: LookedInto | None = None
) -> Iterator[ModuleSetting]:
    """The numbers among the ``attributes`` of the module at ``path``, which is in a file or alive. ``looked`` is
    what all modules of one file have of that."""
    buffers = attributes.get("_buffers")
    normalizes = isinstance(buffers, dict) and "running_var" in buffers
    for key, value in attributes.items():
        if may_hold_numbers(key, value):
            name = f"{path}.{str(key)[:MAX_NAME_CHARS]}" if path else str(key)[:MAX_NAME_CHARS]
            for number in numbers_in(value, looked=looked):
                yield ModuleSetting(name, str(key), number, normalizes)


def may_hold_numbers(key: Any, value: Any) -> bool:
    """Tells nearly all of a module's attributes apart at once: its dicts of hooks are empty."""
    return key not in _SLOTS and type(value) not in _NO_NUMBERS and not (type(value) is dict and not value)


def _arrays(top: Mapping[Any, Any]) -> Iterator[tuple[str, Made]]:
    """What a module carries directly, or in a container."""
    looked = LookedInto()
    for _, path, attributes in modules_in(top):
        for key, value in attributes.items():
            if may_hold_numbers(key, value):
                name = below(path, key)
                yield from ((name, item) for item in leaves_of(value, looked=looked) if isinstance(item, Made))


def _strides(seen: Iterable[Seen], reader: TensorReader) -> Iterator[ModuleSetting]:
    """The stride of a model and of its head, which Ultralytics keeps as a tensor that is no buffer."""
    for one in seen:
        wanted = one.part in WEIGHT_PARTS and one.role is Role.ATTRIBUTE and one.leaf == "stride"
        if wanted and one.form is not None and len(one.tensor.shape) <= 1:
            for number in reader.numbers_of(one, 0, 16):
                yield ModuleSetting(one.name, "stride", number, normalizes=False)


def modules_in(top: Mapping[Any, Any]) -> Iterator[tuple[str, str, Mapping[Any, Any]]]:
    """Every module below the weights' keys with that key, its name and its attributes, each once."""
    visited: set[int] = set()
    for part in sorted(WEIGHT_PARTS):
        waiting: list[tuple[str, Any]] = [("", top.get(part))]
        while waiting:
            path, item = waiting.pop()
            attributes = item.state if isinstance(item, Made) else None
            inner = attributes.get("_modules") if isinstance(attributes, dict) else None
            if not isinstance(attributes, dict) or not isinstance(inner, dict) or id(item) in visited:
                continue
            visited.add(id(item))
            if len(visited) + len(inner) > MAX_MODULES:
                raise LimitError(f"it has more than {MAX_MODULES} modules")
            yield part, path, attributes
            waiting += [(below(path, key), one) for key, one in reversed(inner.items())]


def _shown(found: Sequence[str]) -> str:
    return few(list(dict.fromkeys(found)))
