"""Signs of poison in a checkpoint that was scrubbed on saving. Loads no torch.

Ultralytics' ``save_model`` (engine/trainer.py) runs ``nan_to_num_`` over the half-precision EMA: NaN becomes 0 and an
infinity becomes 65504, so a check for finite numbers passes. What it leaves behind is told here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from trainmaster.trainer.checkpoints.built_layers import misbuilt_layers, missing_layers
from trainmaster.trainer.checkpoints.domains import FRACTIONS, MOST_BATCHES, WEIGHT_PARTS
from trainmaster.trainer.checkpoints.limits import MAX_CELLS
from trainmaster.trainer.checkpoints.module_settings import doubtful_settings, impossible_settings, modules_in
from trainmaster.trainer.checkpoints.naming import MAX_NAME_CHARS, few, some
from trainmaster.trainer.checkpoints.optimizer_state import doubtful_state, poisoned_state
from trainmaster.trainer.checkpoints.outlying_layers import outlying_layers
from trainmaster.trainer.checkpoints.single_numbers import poisoned_numbers
from trainmaster.trainer.checkpoints.tensors import Role, Seen, TensorReader
from trainmaster.trainer.checkpoints.uniform_layers import fading_variances, uniform_layers

TRAINED_PARTS: Final = WEIGHT_PARTS | {"optimizer", "gradients", "scaler"}
"""Where a number that is not finite poisons what is trained from here on."""

ALIVE_VARIANCE: Final = 1e-2
"""A channel that varies so much has a mean of exactly zero, in half precision, once in a million times."""

ALIVE_WEIGHT: Final = 1e-2
"""A convolution's channel with a weight of this size has an output that varies by more than half precision drops
(3e-8), unless its input does not vary at all. Channels that weight decay has put to sleep lie far below."""

MAX_BOUNDS: Final = 1 << 20
"""Numbers of the masks that are looked through for NaN: one of a thousand places by a thousand."""


def signs_of_poison(seen: Sequence[Seen], reader: TensorReader, top: Mapping[Any, Any]) -> list[str]:
    """Why the file is contaminated; empty when nothing says so."""
    scrubbed = list(_scrubbed_channels(seen, reader))
    return [
        *_nonfinite(seen, _bounds(seen, reader, top)),
        *_dead_layers(seen),
        *_impossible(seen),
        *scrubbed,
        *_at_limit(seen, top, honest=False),
        *impossible_settings(top, seen, reader),
        *poisoned_numbers(top),
        *poisoned_state(top),
        *_validation(top, doubtful=False, scrubbed=bool(scrubbed)),
    ]


def signs_of_ruin(seen: Sequence[Seen], reader: TensorReader, top: Mapping[Any, Any]) -> list[str]:
    """Numbers in the file that speak against it though nothing proves poison. No attestation dispels these."""
    loose = [
        one for one in seen if _holds_nonfinite(one) and (one.role is Role.ATTRIBUTE or one.part not in TRAINED_PARTS)
    ]
    loose += _bounds(seen, reader, top)
    unread = [one for one in seen if not one.judged or (one.form is None and one.leaf in FRACTIONS)]
    exploded = [one for one in seen if one.content is not None and one.content.exploded]
    fading = fading_variances(seen, reader, top)
    constant = [one for one in seen if one.constant and id(one) not in fading]
    many = [one for one in seen if one.leaf == "num_batches_tracked" and (one.count or 0) > MOST_BATCHES]
    return [
        *_at_limit(seen, top, honest=True),
        *([f"exploded: larger than anything that trains: {_names(exploded)}"] if exploded else []),
        *([f"one and the same number throughout: {_names(constant)}"] if constant else []),
        *([f"more batches tracked than there can have been: {_names(many)}"] if many else []),
        *([f"a tensor outside the weights is not finite: {_names(loose)}"] if loose else []),
        *([f"numbers in a format that is not judged: {_names(unread)}"] if unread else []),
        *uniform_layers(seen, reader),
        *outlying_layers(seen, reader),
        *misbuilt_layers(top, seen, reader),
        *doubtful_settings(top, seen, reader),
        *doubtful_state(top),
    ]


def signs_of_doubt(seen: Sequence[Seen], reader: TensorReader, top: Mapping[Any, Any]) -> list[str]:
    """What in the history of the file leaves open whether it is clean; who was there when it was saved may know."""
    return [
        *_validation(top, doubtful=True, scrubbed=False),
        *_trained_on_after(top),
        *missing_layers(top),
        *([] if _is_validated(top) else _scrubbed_means(seen, reader)),
    ]


def _holds_nonfinite(one: Seen) -> bool:
    """Whether its numbers were read, and one of them is not finite."""
    return one.content is not None and not one.content.finite


def _own_buffers(some: Sequence[Seen], top: Mapping[Any, Any]) -> list[Seen]:
    """Of ``some`` what modules keep beside what is trained or follows it."""
    some = [one for one in some if one.role is Role.WEIGHT and one.part in WEIGHT_PARTS and one.leaf not in FRACTIONS]
    if not some:
        return []
    held = [attributes.get("_buffers") for _, _, attributes in modules_in(top)]
    buffers = {id(tensor) for slots in held if isinstance(slots, dict) for tensor in slots.values()}
    return [one for one in some if id(one.tensor) in buffers]


def _bounds(seen: Sequence[Seen], reader: TensorReader, top: Mapping[Any, Any]) -> list[Seen]:
    """Buffers of a module's own that hold infinities and no NaN: masks, the bounds of an observer not yet begun."""
    endless = _own_buffers([one for one in seen if _holds_nonfinite(one)], top)
    if sum(map(reader.count_of, endless)) > MAX_BOUNDS:
        return []
    return [one for one in endless if not any(map(math.isnan, reader.numbers_of(one)))]


def _nonfinite(seen: Sequence[Seen], bounds: Sequence[Seen]) -> Iterator[str]:
    left_out = {id(one) for one in bounds}
    for part in sorted({one.part for one in seen} & TRAINED_PARTS):
        judged = [one for one in seen if one.part == part and one.role is Role.WEIGHT and one.content is not None]
        bad = [one for one in judged if _holds_nonfinite(one) and id(one) not in left_out]
        if bad:
            yield f"{part}: {_count(bad, judged, 'tensor')} not finite: {_names(bad)}"


def _dead_layers(seen: Sequence[Seen]) -> Iterator[str]:
    for part in sorted({one.part for one in seen} & WEIGHT_PARTS):
        weights = [one for one in seen if one.part == part and one.role is Role.WEIGHT]
        variances = [one for one in weights if one.leaf == "running_var"]
        if dead := _all_zero(variances):
            yield f"{part}: {_count(dead, variances, 'batch-norm variance')} zero everywhere, as a scrubbed NaN is"
        convolutions = [one for one in weights if one.leaf == "weight" and len(one.tensor.shape) >= 4]
        if dead := _all_zero(convolutions):
            yield f"{part}: {_count(dead, convolutions, 'convolution')} all zero: {_names(dead)}"
        linear = [one for one in weights if one.leaf == "weight" and len(one.tensor.shape) == 2]
        inner = [one for one in linear if not one.name.endswith(".weight")]  # of an attention or a recurrent layer
        if dead := _all_zero(inner):
            yield f"{part}: {_count(dead, inner, 'projection')} all zero: {_names(dead)}"
        dead = _all_zero(linear)
        if 2 * len(dead) > len(linear):  # RT-DETR starts with a quarter of them at zero
            yield f"{part}: {_count(dead, linear, 'linear layer')} all zero: {_names(dead)}"


def _impossible(seen: Sequence[Seen]) -> Iterator[str]:
    """Numbers below zero of which a root is taken, or which count something."""
    below = [one for one in seen if one.content is not None and one.content.negative and one.role is Role.WEIGHT]
    below += [one for one in seen if one.leaf == "num_batches_tracked" and one.count is not None and one.count < 0]
    for leaf in sorted({one.leaf for one in below}):
        yield f"{leaf} below zero, which none can be: {_names([one for one in below if one.leaf == leaf])}"


def _all_zero(some: Iterable[Seen]) -> list[Seen]:
    return [one for one in some if one.content is not None and one.content.zero]


def _scrubbed_channels(seen: Sequence[Seen], reader: TensorReader) -> Iterator[str]:
    """Single channels whose variance is exactly zero though the convolution before them is alive."""
    by_name = {(one.part, one.name): one for one in seen if one.part in WEIGHT_PARTS and one.role is Role.WEIGHT}
    found: list[str] = []
    for (part, name), variance in by_name.items():
        if not name.endswith(".bn.running_var") or variance.content is None or variance.content.zero:
            continue
        values = reader.numbers_of(variance)
        weight = by_name.get((part, name.removesuffix("bn.running_var") + "conv.weight"))
        if 0.0 not in values or weight is None or weight.form is None:
            continue
        per_channel = reader.count_of(weight) // len(values)
        for channel, value in enumerate(values):
            if value != 0.0:
                continue
            own = reader.numbers_of(weight, channel * per_channel, (channel + 1) * per_channel)
            if own and max(map(abs, own)) >= ALIVE_WEIGHT:
                found.append(f"{part}.{name}[{channel}]")
    if found:
        yield f"a batch-norm variance of exactly zero behind a living convolution: {some(found, 1)}"


def _at_limit(seen: Sequence[Seen], top: Mapping[Any, Any], *, honest: bool) -> Iterator[str]:
    """The largest number of the format: in a weight never honest; in a running statistic, or in a mask of somebody's
    own, perhaps an overflow."""
    limited = [
        one
        for one in seen
        if one.part in WEIGHT_PARTS and one.role is Role.WEIGHT and one.content is not None and one.content.at_limit
    ]
    own = {id(one) for one in _own_buffers(limited, top)}
    if found := [one for one in limited if (one.leaf.startswith("running_") or id(one) in own) is honest]:
        yield f"a scrubbed infinity, or an overflow (the largest number that the format has): {_names(found)}"


def _validation(top: Mapping[Any, Any], *, doubtful: bool, scrubbed: bool) -> Iterator[str]:
    """Validation runs on the EMA before it is scrubbed.

    A loss that is not finite beside a precision above zero may also come from validating in half precision: doubtful,
    unless a channel was scrubbed too. (A precision of zero alone is no sign of anything.)
    """
    metrics = top.get("train_metrics")
    if not isinstance(metrics, dict):
        return
    bad = [str(key) for key, value in metrics.items() if _is_nonfinite(value)]
    losses_only = bool(bad) and all(key.startswith("val/") for key in bad)
    precision = max((v for k, v in metrics.items() if str(k).startswith("metrics/") and _is_number(v)), default=0.0)
    is_doubtful = losses_only and precision > 0 and not scrubbed
    if bad and is_doubtful is doubtful:
        yield f"its validation was not finite: {', '.join(bad)}"


def _trained_on_after(top: Mapping[Any, Any]) -> Iterator[str]:
    """An epoch of the run that may have been scrubbed, by the history that the file carries.

    Zeros put in place of NaN are trained on and grow, so that later nothing else tells. An epoch whose validation was
    finite was made of finite weights, whatever its training losses were.
    """
    columns = _history(top)
    if columns is None or sum(map(len, columns.values())) > MAX_CELLS:
        yield "the history of its run is longer than is looked at"
        return
    spoiled = {row for column in columns.values() for row, value in enumerate(column) if not math.isfinite(value)}
    for row in sorted(spoiled):
        values = {name: column[row] for name, column in columns.items() if row < len(column)}
        validation = [value for name, value in values.items() if name.startswith("val/")]
        if any(validation) and all(map(math.isfinite, validation)):
            continue
        if bad := [name for name, value in values.items() if not math.isfinite(value)]:
            yield (
                f"epoch {row + 1} of its run had {', '.join(bad)} not finite: "
                "Ultralytics may have put zeros for NaN and trained on"
            )
            return


def _history(top: Mapping[Any, Any]) -> dict[str, list[float]] | None:
    """The losses and rates of the run's epochs, by name; None where they are more than is looked at."""
    held = top.get("train_results")
    columns = {
        str(name).strip()[:MAX_NAME_CHARS]: values
        for name, values in (held.items() if isinstance(held, dict) else ())
        if isinstance(values, list | tuple)
    }
    distinct = {id(values): values for values in columns.values()}
    if sum(map(len, distinct.values())) > MAX_CELLS:
        return None
    numbers = {key: [_number(one) for one in values] for key, values in distinct.items()}
    return {name: numbers[id(values)] for name, values in columns.items() if name.startswith(("val/", "train/", "lr/"))}


def _number(value: object) -> float:
    """A cell of the history: a column that holds one ``nan`` comes as texts. What is no number is 0."""
    try:
        if isinstance(value, float):
            return value
        return float(value) if isinstance(value, int | str) and len(str(value)) < 40 else 0.0
    except ValueError:
        return 0.0


def _is_validated(top: Mapping[Any, Any]) -> bool:
    """Whether the epoch was validated, and to finite losses, so that no weight of it can have been scrubbed."""
    metrics = top.get("train_metrics")
    losses = [v for k, v in metrics.items() if str(k).startswith("val/")] if isinstance(metrics, dict) else []
    return any(losses) and all(map(_is_number, losses))


def _scrubbed_means(seen: Sequence[Seen], reader: TensorReader) -> Iterator[str]:
    """Channels whose mean is exactly zero though they vary. Nothing else tells of a NaN there without validation."""
    found: list[str] = []
    by_name = {(one.part, one.name): one for one in seen if one.part in WEIGHT_PARTS and one.role is Role.WEIGHT}
    for (part, name), mean in by_name.items():
        variance = by_name.get((part, f"{name.removesuffix('mean')}var"))
        if mean.leaf != "running_mean" or mean.content is None or mean.content.zero or variance is None:
            continue
        if variance.form is None or 0.0 not in (means := reader.numbers_of(mean)):
            continue
        spreads = reader.numbers_of(variance)
        pairs = enumerate(zip(means, spreads, strict=False))
        found += [f"{part}.{name}[{channel}]" for channel, (m, v) in pairs if m == 0.0 and v >= ALIVE_VARIANCE]
    if found:
        yield f"not validated, and a batch-norm mean is exactly zero where its channel varies: {some(found, 1)}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _is_nonfinite(value: object) -> bool:
    return isinstance(value, float | str) and not math.isfinite(_number(value))


def _count(bad: Sequence[Seen], judged: Sequence[Seen], what: str) -> str:
    return f"{len(bad)} of {len(judged)} {what}{'' if len(judged) == 1 else 's'} {'is' if len(bad) == 1 else 'are'}"


def _names(some: Sequence[Seen]) -> str:
    return few([one.name for one in some])
