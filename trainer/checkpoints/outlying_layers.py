"""Layers where one statistic lies beyond all others, or whose weights differ by sign alone. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from trainmaster.trainer.checkpoints.domains import NUM_VARIED, WEIGHT_PARTS
from trainmaster.trainer.checkpoints.naming import few
from trainmaster.trainer.checkpoints.tensors import Role, Seen, TensorReader

LARGEST_SHARE_OF_OTHERS: Final = 2.5e4
"""Times the upper quartile of a layer's variances that one of them is. Channels of one layer that train differ by a
hundred or a thousand."""
LEAST_OUTLIER: Final = 1e3
"""Smaller variances are not looked at: what is beyond all others where nearly nothing varies, varies itself."""
LARGEST_SQUARED_MEAN: Final = 1e6
"""Times the upper quartile of a layer's variances and squared means, and of 1, that one of these is: a mean of a
thousand where its layer varies by one."""
ASLEEP: Final = 1e-3
"""Channels that vary less are left out: weight decay or pruning has put them to sleep, however many they are."""

MIN_SIGNS: Final = 64
NUM_SIGNS: Final = 1152
MAX_KERNELS: Final = 16
"""Of a convolution of at least so many numbers, so many are looked at. Wavelets of a user's own are made of signs too,
but of a few kernels over and over."""


def outlying_layers(seen: Sequence[Seen], reader: TensorReader) -> Iterator[str]:
    """What of the weights and statistics no training leaves so."""
    named = {
        (one.part, one.name): one
        for one in seen
        if one.part in WEIGHT_PARTS and one.role is Role.WEIGHT and one.content is not None and one.judged
    }
    finite = [one for one in named.values() if one.content is not None and one.content.finite and not one.content.zero]
    variances = [one for one in finite if one.leaf == "running_var" and _is_outlying(one, reader)]
    means = [one for one in finite if one.leaf == "running_mean" and _is_mean_outlying(one, named, reader)]
    if beyond := [*variances, *means]:
        yield f"a batch norm's statistic is far beyond all others of its layer: {few([one.name for one in beyond])}"
    convolutions = [one for one in finite if one.leaf == "weight" and len(one.tensor.shape) >= 4]
    if signs := [one for one in convolutions if _is_of_signs(one, reader)]:
        yield f"weights that differ by their signs alone: {few([one.name for one in signs])}"


def _is_outlying(variance: Seen, reader: TensorReader) -> bool:
    numbers = reader.numbers_of(variance)
    if len(numbers) < NUM_VARIED or max(numbers) <= LEAST_OUTLIER:
        return False
    awake = sorted(number for number in numbers if number > ASLEEP)
    return len(awake) >= NUM_VARIED and awake[-1] > LARGEST_SHARE_OF_OTHERS * _upper_quartile(awake)


def _is_mean_outlying(mean: Seen, named: Mapping[tuple[str, str], Seen], reader: TensorReader) -> bool:
    """Whether a mean is beyond what the means and the variances of its layer are."""
    variance = named.get((mean.part, f"{mean.name.removesuffix('mean')}var"))
    if variance is None or variance.form is None:
        return False
    means, spreads = [number * number for number in reader.numbers_of(mean)], reader.numbers_of(variance)
    if len(means) < NUM_VARIED or max(means) <= LARGEST_SQUARED_MEAN or len(means) != len(spreads):
        return False
    both = sorted(max(pair) for pair in zip(means, spreads, strict=True))
    return both[-1] > LARGEST_SQUARED_MEAN * max(_upper_quartile(both), 1.0)


def _upper_quartile(ordered: Sequence[float]) -> float:
    return ordered[3 * len(ordered) // 4]


def _is_of_signs(convolution: Seen, reader: TensorReader) -> bool:
    """Whether its first numbers are one size with different signs, in no pattern."""
    if reader.count_of(convolution) < MIN_SIGNS:
        return False
    size = len({abs(number) for number in reader.numbers_of(convolution, 0, 8)})
    if size != 1:  # nearly all convolutions of all models
        return False
    numbers = reader.numbers_of(convolution, 0, NUM_SIGNS)
    if len({abs(number) for number in numbers}) != 1 or len(set(numbers)) != 2:
        return False
    height, width = convolution.tensor.shape[-2:]
    kernel = height * width if height * width >= 4 else 8
    kernels = {tuple(numbers[start : start + kernel]) for start in range(0, len(numbers) - kernel + 1, kernel)}
    return len(kernels) > min(MAX_KERNELS, len(numbers) // kernel // 2)
