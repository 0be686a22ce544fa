"""Layers whose numbers are all alike where training makes them differ: a sign of ruin, no proof. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from trainmaster.trainer.checkpoints.domains import NUM_VARIED, WEIGHT_PARTS
from trainmaster.trainer.checkpoints.module_settings import modules_in
from trainmaster.trainer.checkpoints.naming import few
from trainmaster.trainer.checkpoints.tensors import Role, Seen, TensorReader

NORM_STARTS: Final = frozenset({0.0, 1.0})
"""A norm's weight and bias begin there, some weights at zero (the last of a residual block)."""

NEAR_START: Final = 0.1
"""The first steps of an Adam are all of one size, and half precision rounds small steps from 1 to one number: those of
a variance in an EMA that hardly moves, too."""

BIAS_STARTS: Final = frozenset({0.0, 1.0, 2.0})
"""Of the box branches of Ultralytics' heads (nn/modules/head.py, ``bias_init``); the classes' differ by level."""

FAINT: Final = 1e-4
"""The largest number of a layer without a voice. Convolutions begin above a hundredth, norms at 1 or at zero."""

LARGEST_ALIKE_SHARE: Final = 0.99
MIN_ALIKE_NUMBERS: Final = 64
NUM_SAMPLED: Final = 64
"""Of a convolution: how much of it may be one number, from what size on, and how many are tried first."""

MOMENTA: Final = (0.03, 0.1)
"""Of Ultralytics' batch norms and of torch's own, where a file holds no modules that say theirs."""

MOST_FADING: Final = 256
LEAST_FADING: Final = 1e-3
"""So many batches after its start a variance may still be what is left of that; of less nothing could be told."""

ROUNDED: Final = 2**-10
EMA_LAG: Final = 0.005
"""By so much, at most, half precision has a variance below what is left, and Ultralytics' EMA above it."""

BATCHES: Final = "num_batches_tracked"

Named = Mapping[tuple[str, str], Seen]


def uniform_layers(seen: Sequence[Seen], reader: TensorReader) -> Iterator[str]:
    """What of the weights is alike throughout. A fresh model is, at the values that each kind begins with."""
    named = {(one.part, one.name): one for one in seen if _is_weight(one)}
    biased = [
        (weight, one) for one in named.values() if one.leaf.endswith("bias") and (weight := _weight_of(one, named))
    ]
    scales = [(weight, bias) for weight, bias in biased if len(weight.tensor.shape) == 1]
    if alike := [vector for pair in scales for vector in pair if _is_set(vector, reader)]:
        yield f"a norm's weight or bias is one number throughout: {_shown(alike)}"
    if blank := [name for weight, bias in biased for name in _blank_channels(weight, bias, named, reader)]:
        yield f"channels whose weights and bias, and mean, are all exactly zero, as scrubbed NaN are: {few(blank)}"
    yield from _silent_norms([weight for weight, _ in scales], reader)
    yield from _faint_layers([weight for weight, _ in scales], reader, "norms")
    yield from _faint_layers([one for one in named.values() if _is_convolution(one)], reader, "convolutions")
    yield from _means_of_zero([one for one in named.values() if one.leaf == "running_var"], named, reader)
    yield from _biases(named, reader)
    yield from _nearly_alike(named, reader)


def fading_variances(seen: Sequence[Seen], reader: TensorReader, top: Mapping[Any, Any]) -> set[int]:
    """By ``id``, the variances of batch norms whose input has hardly varied since they began at 1.

    Behind frozen layers of a fresh model, half precision holds of all channels what is left of that, and hardly more.
    No variance of the model can have less.
    """
    found: set[int] = set()
    for part in sorted({one.part for one in seen if one.constant and one.leaf == "running_var"} & WEIGHT_PARTS):
        norms = [one for one in seen if one.part == part and one.leaf == "running_var" and one.form is not None]
        least = min(number for one in norms for number in reader.numbers_of(one))
        momenta = {name: attributes.get("momentum") for key, name, attributes in modules_in(top) if key == part}
        batches = {one.name: one.count or 0 for one in seen if one.part == part and one.leaf == BATCHES}
        for one in norms:
            name = one.name.removesuffix(f".{one.leaf}")
            value = reader.uniform_value(one) if one.constant else None
            if value is None:
                continue
            hardly_more = value <= least * (1.0 + EMA_LAG)
            is_left = hardly_more and _is_fading(least, batches.get(f"{name}.{BATCHES}", 0), momenta.get(name))
            if is_left or abs(value - 1.0) <= NEAR_START:
                found.add(id(one))
    return found


def _is_fading(value: float, batches: int, momentum: object) -> bool:
    """Whether ``value`` is left of 1 after so many ``batches``, which an EMA does not count."""
    momenta = (momentum,) if isinstance(momentum, float) else MOMENTA
    counts = (batches,) if batches else range(1, MOST_FADING + 1)
    left = [(1.0 - one) ** count for one in momenta for count in counts if 0.0 < one < 1.0 and count <= MOST_FADING]
    return value >= LEAST_FADING and any(one * (1.0 - ROUNDED) <= value <= one * (1.0 + EMA_LAG) for one in left)


def _is_weight(one: Seen) -> bool:
    return one.part in WEIGHT_PARTS and one.role is Role.WEIGHT and one.content is not None and one.judged


def _beside(one: Seen, leaf: str, named: Named) -> Seen | None:
    return named.get((one.part, one.name.removesuffix(one.leaf) + leaf))


def _weight_of(bias: Seen, named: Named) -> Seen | None:
    """What stands beside it: ``conv.weight``, ``attn.in_proj_weight``."""
    return named.get((bias.part, f"{bias.name.removesuffix('bias')}weight"))


def _blank_channels(weight: Seen, bias: Seen, named: Named, reader: TensorReader) -> Iterator[str]:
    """Channels of a layer that has living ones. Pruning leaves the bias, and so does weight decay: it leaves zero as
    soon as it is trained."""
    others = [one for one in (weight, _beside(bias, "running_mean", named)) if one is not None]
    if any(one.content is None or one.content.zero for one in (bias, *others)):
        return
    numbers, shape, stride = reader.numbers_of(bias), weight.tensor.shape, weight.tensor.stride
    if not shape or shape[0] != len(numbers) or stride[0] != max(stride):
        return
    for place, number in enumerate(numbers):
        if number == 0.0 and all(_is_blank(one, place, len(numbers), reader) for one in others):
            yield f"{bias.name.removesuffix(bias.leaf)[:-1]}[{place}]"


def _is_blank(vector: Seen, place: int, num_places: int, reader: TensorReader) -> bool:
    """Whether all numbers of its channel ``place`` are zero; nearly always the first few tell."""
    width = reader.count_of(vector) // num_places
    start, end = place * width, (place + 1) * width
    first = reader.numbers_of(vector, start, min(start + 8, end))
    return not any(first) and not any(reader.numbers_of(vector, start, end))


def _is_set(vector: Seen, reader: TensorReader) -> bool:
    value = reader.uniform_value(vector)
    if value is None or reader.count_of(vector) < NUM_VARIED:
        return False
    return all(abs(value - start) > NEAR_START for start in NORM_STARTS)


def _is_trained(vectors: Sequence[Seen], reader: TensorReader) -> bool:
    """Whether most of them have left the one number that they began with."""
    return 2 * sum(_differs(one, reader) for one in vectors) > len(vectors)


def _silent_norms(weights: Sequence[Seen], reader: TensorReader) -> Iterator[str]:
    """Weights of zero. The last of a residual block may begin there, and leaves it when the others leave 1."""
    silent = [one for one in weights if one.content is not None and one.content.zero]
    if len(weights) > 1 and silent and (2 * len(silent) > len(weights) or _is_trained(weights, reader)):
        yield f"{len(silent)} of {len(weights)} norms' weights are all zero: {_shown(silent)}"


def _faint_layers(weights: Sequence[Seen], reader: TensorReader, what: str) -> Iterator[str]:
    """Most of them next to zero, as too large a weight decay leaves them; where a few are, they were put to sleep."""
    faint = [one for one in weights if one.content is not None and not one.content.zero and _is_faint(one, reader)]
    if 2 * len(faint) > len(weights) > 1:
        yield f"{len(faint)} of {len(weights)} {what}' weights are next to zero: {_shown(faint)}"


def _is_faint(weight: Seen, reader: TensorReader) -> bool:
    """Nearly always the first few tell."""
    first = reader.numbers_of(weight, 0, NUM_VARIED)
    return max(map(abs, first), default=1.0) < FAINT and not reader.exceeds(weight, FAINT)


def _means_of_zero(norms: Sequence[Seen], named: Named, reader: TensorReader) -> Iterator[str]:
    """Every mean zero though variances differ. A few layers' may be: behind a linear map of a batch norm whose bias has
    hardly left zero, the data have no mean (the attention of yolo11 on one pixel)."""
    means = [one for norm in norms if (one := _beside(norm, "running_mean", named)) is not None]
    zero = [one for one in means if one.content is not None and one.content.zero]
    if len(means) > 1 and len(zero) == len(means) and any(_differs(norm, reader) for norm in norms):
        yield f"the means of all {len(means)} batch norms are zero though their variances differ"


def _differs(norm: Seen, reader: TensorReader) -> bool:
    return reader.count_of(norm) >= NUM_VARIED and reader.uniform_value(norm) is None


def _biases(named: Named, reader: TensorReader) -> Iterator[str]:
    biases = [
        one
        for one in named.values()
        if one.leaf == "bias" and (weight := _beside(one, "weight", named)) and len(weight.tensor.shape) >= 4
    ]
    values = {reader.uniform_value(one) for one in biases}
    if len(biases) > 1 and len(values) == 1 and not values & {None, *BIAS_STARTS}:
        yield f"all {len(biases)} biases of convolutions are one number: {_shown(biases)}"


def _nearly_alike(named: Named, reader: TensorReader) -> Iterator[str]:
    convolutions = [one for one in named.values() if _is_convolution(one) and reader.count_of(one) > MIN_ALIKE_NUMBERS]
    alike = [one for one in convolutions if reader.share_alike(one, NUM_SAMPLED) > LARGEST_ALIKE_SHARE]
    # One that is zero but for a few was pruned; nothing else makes a layer so.
    if 2 * len(alike) > len(convolutions) or (alike := [one for one in alike if not _is_pruned(one, reader)]):
        yield f"{len(alike)} of {len(convolutions)} convolutions are one number but for a few: {_shown(alike)}"


def _is_convolution(weight: Seen) -> bool:
    return weight.leaf == "weight" and len(weight.tensor.shape) >= 4


def _is_pruned(convolution: Seen, reader: TensorReader) -> bool:
    """Whether the number that nearly all of it is, is zero."""
    return reader.numbers_of(convolution, 0, 9).count(0.0) > 4


def _shown(some: Sequence[Seen]) -> str:
    return few([one.name for one in some])
