"""Layers that are not as they were built: other sizes than they say, gone, or all filters the same. Loads no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any, Final

from trainmaster.trainer.checkpoints.domains import NUM_VARIED
from trainmaster.trainer.checkpoints.module_settings import modules_in
from trainmaster.trainer.checkpoints.naming import below, few, first_few
from trainmaster.trainer.checkpoints.pickled import Made, Tensor
from trainmaster.trainer.checkpoints.tensors import Role, Seen, TensorReader

BINS: Final = "dfl.conv.weight"
"""Of Ultralytics' heads: 0, 1, 2, ... and never trained (nn/modules/block.py, ``DFL``)."""
CRITERION: Final = "criterion"
"""Of a model: Ultralytics saves none, and puts None in its place where it was a module (RT-DETR's is)."""
LARGEST_BIN_SHIFT: Final = 0.05

Named = Mapping[tuple[str, str], Seen]


def misbuilt_layers(top: Mapping[Any, Any], seen: Sequence[Seen], reader: TensorReader) -> Iterator[str]:
    """What a model that runs and was trained can't be."""
    named = {(one.part, one.name): one for one in seen if one.role is Role.WEIGHT}
    if wrong := [name for part, path, held in modules_in(top) for name in _other_sizes(part, path, held, named)]:
        yield f"numbers of another shape than their layer has: {few(wrong)}"
    if alike := [one.name for one in named.values() if _filters_are_alike(one, reader)]:
        yield f"all filters of a convolution are the same: {few(alike)}"
    if moved := [one.name for one in named.values() if one.name.endswith(BINS) and _is_moved(one, reader)]:
        yield f"the bins of the head's distances are not 0, 1, 2, ...: {few(moved)}"


def missing_layers(top: Mapping[Any, Any]) -> Iterator[str]:
    """Modules that are gone, as far as the file tells."""
    if gone := first_few(
        below(path, key)
        for _, path, held in modules_in(top)
        for key, inner in held["_modules"].items()
        if inner is None and isinstance(key, str) and (path or key != CRITERION)
    ):
        yield f"a module is gone: {gone}"
    optimizer, weights = top.get("optimizer"), top.get("ema")
    groups = optimizer.get("param_groups") if isinstance(optimizer, dict) else None
    if not isinstance(optimizer, dict) or not isinstance(groups, list) or not isinstance(weights, Made):
        return
    lists = [group.get("params") for group in groups if isinstance(group, dict)]
    num_optimized = sum(len(params) for params in lists if isinstance(params, list))
    parameters = {id(one): one for _, _, held in modules_in({"ema": weights}) for one in _held_parameters(held)}
    if num_optimized > len(parameters):
        yield f"the optimizer has {num_optimized} parameters, its model {len(parameters)}"
        return
    shapes = Counter(tuple(one.shape) for one in parameters.values() if isinstance(one, Tensor))
    kept = Counter(tuple(one.shape) for one in _momenta(optimizer))
    if kept and len(parameters) == shapes.total() and (other := kept - shapes):
        yield f"the optimizer keeps a momentum of another shape than any parameter: {next(iter(other))}"


def _momenta(optimizer: Mapping[Any, Any]) -> Iterator[Tensor]:
    """One for each parameter, of its shape: SGD's or Adam's."""
    state = optimizer.get("state")
    for kept in state.values() if isinstance(state, dict) else ():
        momentum = (kept.get("momentum_buffer") or kept.get("exp_avg")) if isinstance(kept, dict) else None
        if isinstance(momentum, Tensor):
            yield momentum


def _held_parameters(attributes: Mapping[Any, Any]) -> list[Any]:
    parameters = attributes.get("_parameters")
    return [one for one in parameters.values() if one is not None] if isinstance(parameters, dict) else []


def _other_sizes(part: str, path: str, attributes: Mapping[Any, Any], named: Named) -> Iterator[str]:
    for leaf, shape in _sizes(attributes).items():
        name = below(path, leaf)
        one = named.get((part, name))
        if one is not None and tuple(one.tensor.shape) != shape:
            yield name


def _sizes(attributes: Mapping[Any, Any]) -> dict[str, tuple[int, ...]]:
    """What a convolution, a batch norm or a linear layer of torch has, by its own settings."""

    def whole(*names: str) -> list[int]:
        values = [attributes.get(name) for name in names]
        return [value for value in values if isinstance(value, int) and not isinstance(value, bool) and value > 0]

    kernel = attributes.get("kernel_size")
    if len(sizes := whole("in_channels", "out_channels", "groups")) == 3 and isinstance(kernel, tuple):
        taken, given, groups = sizes
        first, second = (taken, given) if attributes.get("transposed") is True else (given, taken)
        return {"weight": (first, second // groups, *kernel), "bias": (given,)}
    if sizes := whole("num_features"):
        return dict.fromkeys(("running_mean", "running_var", "weight", "bias"), (sizes[0],))
    if len(sizes := whole("in_features", "out_features")) == 2:
        return {"weight": (sizes[1], sizes[0]), "bias": (sizes[1],)}
    return {}


def _filters_are_alike(one: Seen, reader: TensorReader) -> bool:
    """Nothing that begins at random comes there. Filters of one input (a blur) may be made so."""
    shape, stride = one.tensor.shape, one.tensor.stride
    if one.leaf != "weight" or one.form is None or not one.judged or len(shape) < 4:
        return False
    if shape[0] < NUM_VARIED or shape[1] < 2 or stride[0] != max(stride) or prod(shape) == 0:
        return False
    width = prod(shape[1:])
    first, second = reader.numbers_of(one, 0, min(64, width)), reader.numbers_of(one, width, width + 64)
    if first[:width] != second[: min(width, 64)] or not any(first):
        return False
    return reader.repeats_after(one, width)


def _is_moved(one: Seen, reader: TensorReader) -> bool:
    if one.form is None or not one.judged or prod(one.tensor.shape) > 1024:
        return False
    return any(
        abs(value - place) > LARGEST_BIN_SHIFT * (1 + place / 16) for place, value in enumerate(reader.numbers_of(one))
    )
