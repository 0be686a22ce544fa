"""Single numbers of a checkpoint that no training can go on with: rates, scales, counts. Loads no torch."""

from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from trainmaster.trainer.checkpoints.domains import WEIGHT_PARTS
from trainmaster.trainer.checkpoints.limits import MAX_GROUPS, MAX_IN_SETTING, LimitError
from trainmaster.trainer.checkpoints.pickled import Made, Tensor
from trainmaster.trainer.checkpoints.strided import CODES
from trainmaster.trainer.checkpoints.tensors import Seen, TensorReader
from trainmaster.trainer.checkpoints.values import F16, F32, F64, FloatFormat, look_plainly, numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """What a setting of an optimizer can be, both ends included unless ``below`` shuts the upper one out."""

    least: float = 0.0
    most: float = math.inf
    below: bool = False

    def holds(self, value: float) -> bool:
        """Whether ``value`` can be; NaN never can."""
        return self.least <= value and (value < self.most if self.below else value <= self.most) and value != math.inf


SETTINGS: Final[Mapping[str, Range]] = {
    "lr": Range(most=10.0),
    "initial_lr": Range(most=10.0),
    "momentum": Range(most=1.0),
    "dampening": Range(least=-10.0, most=10.0),
    "weight_decay": Range(most=10.0),
    "betas": Range(most=1.0, below=True),
    "alpha": Range(most=1.0),
    "eps": Range(most=1.0),
    "rho": Range(most=1.0),
    "lr_decay": Range(),
    "momentum_decay": Range(),
    "lambd": Range(),
    "t0": Range(least=-math.inf),
}
"""Of an optimizer's groups, what a step multiplies by or takes the root of, and what none can be beyond.

Ultralytics takes no lr0 above 1. One step at a rate of a million leaves weights that are finite, and a model that is
lost. An ``eps`` of zero is allowed by torch, a beta of 1 is not (torch/optim/adam.py). Anything else among a group's
numbers has to be finite."""

ELSEWHERE_OTHER: Final[Mapping[str, frozenset[str]]] = {
    "alpha": frozenset({"centered", "lambd"}),
    "rho": frozenset(),
}
"""Settings that mean something else to optimizers from elsewhere (AdEMAMix has an alpha of 5, ASAM a rho of 2), with
those that stand beside them where they are torch's own (RMSprop, ASGD); Ultralytics offers no Adadelta."""

SWITCHES: Final = frozenset(
    {
        *("nesterov", "maximize", "amsgrad", "centered", "decoupled_weight_decay"),
        *("foreach", "fused", "capturable", "differentiable"),
    }
)
"""Of an optimizer's groups, what is on or off. A text is always on, "no" as well."""

MOST_EPOCHS: Final = 10_000_000
"""One of a second takes four months to get there."""
LARGEST_FITNESS: Final = 1e9
"""Of any metric of anybody's; Ultralytics' are at most 1. After one beyond all others no epoch is the best again."""
SMALLEST_SCALE: Final = 2.0**-126
"""Of the gradient scaler, which holds its scale in float32 and divides by it."""
FAINTEST_SCALE: Final = 2.0**-24
"""Of the gradient scaler: gradients of one are nothing in half precision below it. Forty batches in a row were not
finite, and the next ones train nothing."""

_ARGS: Final = {"lr0": "lr", "lrf": "lr", "momentum": "momentum", "weight_decay": "weight_decay"}
"""Arguments of the run that an optimizer gets, with the name it has for each."""
_MAY_BE_ENDLESS: Final = frozenset({"patience", "time"})

MAX_NUMBER_DEPTH: Final = 4
"""Nesting below a top-level key at which a number matters: ``optimizer.param_groups[0].betas[1]``."""
_PLAIN: Final = frozenset({int, float, str, bool, bytes, type(None)})
MAX_PARTS: Final = 10_000
"""Of a list that may hold such numbers; the parameters of a group are thousands."""

_ARRAY_PARTS: Final = 5
_LONGEST_NUMBER: Final = 40
MAX_ARRAY_BYTES: Final = 256
"""Of an array whose numbers are looked at one by one."""

_FLOATS: Final[Mapping[str, FloatFormat]] = {"f2": F16, "f4": F32, "f8": F64, "c8": F32, "c16": F64}
_NUMPY_CODES: Final = {
    "f2": "e",
    "f4": "f",
    "f8": "d",
    "i1": "b",
    "i2": "h",
    "i4": "i",
    "i8": "q",
    "u1": "B",
    "b1": "?",
    "c8": "2f",
    "c16": "2d",
}


def setting_holds(name: str, value: float) -> bool:
    """Whether an optimizer's setting ``name`` can be ``value``."""
    return SETTINGS.get(name, Range(least=-math.inf)).holds(value)


def plain_numbers(top: Mapping[Any, Any], seen: Sequence[Seen], reader: TensorReader) -> dict[Any, Any]:
    """``top`` with a float for every NumPy number and every tensor of one number that stands beside the weights."""
    tensors = {id(one.tensor): one for one in seen}
    known: dict[tuple[int, int], Any] = {}
    """What a container became, at its depth: one that hangs in ten thousand places is written out once."""

    def plain(value: Any, depth: int) -> Any:
        if type(value) in _PLAIN:
            return value
        if (depth and isinstance(value, dict)) or (isinstance(value, list | tuple) and len(value) <= MAX_PARTS):
            if (id(value), depth) not in known:
                known[id(value), depth] = inside(value, depth)
            return known[id(value), depth]
        if isinstance(value, Made):
            number = numpy_number(value) if depth < MAX_NUMBER_DEPTH else _number_alone(value)
            return value if number is None else number
        one = tensors.get(id(value)) if isinstance(value, Tensor) else None
        return value if one is None or one.form is None or reader.count_of(one) != 1 else reader.numbers_of(one)[0]

    def inside(value: Any, depth: int) -> Any:
        if not depth:
            return value
        if isinstance(value, dict):
            return {key: one if key == "state" else plain(one, depth - 1) for key, one in value.items()}
        return [plain(part, depth - 1) for part in value]

    return {key: value if key in WEIGHT_PARTS else plain(value, MAX_NUMBER_DEPTH) for key, value in top.items()}


_ODD_OF_SCALER: Final[Mapping[str, Callable[[float], bool]]] = {
    "growth_factor": lambda number: number <= 1.0,
    "backoff_factor": lambda number: number >= 1.0,
    "growth_interval": lambda number: number < 1.0,
}
"""With such ones an overflow never ends, or the scale falls for ever."""


def poisoned_numbers(top: Mapping[Any, Any]) -> Iterator[str]:
    """Numbers beside the weights with which no step can be taken, or none that trains."""
    yield from _poisoned_settings(top)
    held = top.get("scaler")
    scaler = held if isinstance(held, dict) else {}
    for key in ("scale", "growth_factor", "backoff_factor"):
        for number in _floats(scaler.get(key)):
            if not SMALLEST_SCALE <= number < math.inf:
                yield f"the gradient scaler's {key} is {number}: no step can be taken with it"
    for key in ("growth_interval", "_growth_tracker"):
        for number in _floats(scaler.get(key)):
            if not math.isfinite(number):
                yield f"the gradient scaler's {key} is {number}"
    for number in _floats(top.get("best_fitness")):
        if not math.isfinite(number):
            yield f"the best fitness is {number}"
    for key in ("updates", "ema_updates"):
        for number in _floats(top.get(key)):
            if not 0 <= number < math.inf:
                yield f"{key} is {number}: no running average has had so many"


def _poisoned_settings(top: Mapping[Any, Any]) -> Iterator[str]:
    for index, group in enumerate(_groups(top)):
        found = _numbers_of(group)
        nonfinite = [
            key
            for key, held in found.items()
            if any(math.isnan(one) or (math.isinf(one) and key in SETTINGS) for one in held)
        ]
        if nonfinite:
            yield f"optimizer: param_groups[{index}] has no finite {', '.join(nonfinite)}"
        for key, held in found.items():
            if (bad := _out_of_range(key, held)) and not _may_be_other(key, group):
                yield f"optimizer: param_groups[{index}] has {key} {bad[0]:g}, which none can be"


def unfamiliar_numbers(top: Mapping[Any, Any]) -> Iterator[str]:
    """Settings as an optimizer from elsewhere may have them (Prodigy's ``growth_rate`` is infinite); who was there when
    the file was saved may know."""
    for index, group in enumerate(_groups(top)):
        for key, held in _numbers_of(group).items():
            odd = [one for one in held if math.isinf(one)] if key not in SETTINGS else []
            odd += _out_of_range(key, held) if _may_be_other(key, group) else []
            if odd:
                yield f"optimizer: param_groups[{index}] has {key} {odd[0]:g}, unless it is not one of torch's own"


def _numbers_of(group: Mapping[Any, Any]) -> dict[str, list[float]]:
    return {str(key): _floats(value) for key, value in group.items() if key != "params"}


def _out_of_range(key: str, numbers: Sequence[float]) -> list[float]:
    return [one for one in numbers if math.isfinite(one) and not setting_holds(key, one)]


def _may_be_other(key: str, group: Mapping[Any, Any]) -> bool:
    return key in ELSEWHERE_OTHER and not ELSEWHERE_OTHER[key] & group.keys()


def doubtful_numbers(top: Mapping[Any, Any]) -> Iterator[str]:
    """Numbers of an optimizer that can't be read here, and arguments with which a resume would train nothing."""
    updates = top.get("updates", 0)
    if top.get("ema") and (isinstance(updates, bool) or not isinstance(updates, int | float)):
        yield "updates is no number that can be read"
    yield from _doubtful_scaler(top)
    epoch = top.get("epoch")
    if isinstance(epoch, int) and epoch > MOST_EPOCHS:
        yield "epoch is beyond what any run has"
    if any(LARGEST_FITNESS < abs(number) < math.inf for number in _floats(top.get("best_fitness"))):
        yield "the best fitness is beyond what any epoch has"
    yield from _doubtful_args(top)
    yield from _doubtful_stopper(top)
    for index, group in enumerate(_groups(top)):
        for key in SETTINGS.keys() & group.keys():
            parts = _parts(group[key])
            lacks = (key in {"lr", "weight_decay"} and group[key] is None) or (key == "betas" and len(parts) < 2)
            if lacks or not all(map(_is_read, parts)):
                yield f"optimizer: {key} of param_groups[{index}] is no number that can be read"
        for key, value in group.items():
            if why := _doubt_of_setting(key, value):
                yield f"optimizer: {key} of param_groups[{index}] {why}"


def _doubt_of_setting(key: Any, value: Any) -> str:
    if key != "params" and isinstance(value, list | tuple) and len(value) > MAX_IN_SETTING:
        return f"is of {len(value)} parts"
    if key in SWITCHES and not _is_switch(value):
        return "is neither on nor off"
    if key == "maximize" and value:
        return "is on: its steps make the loss larger"
    if key not in SETTINGS and any(map(is_nonfinite_text, _parts(value))):
        return "is a text that spells no finite number"
    return ""


def _doubtful_stopper(top: Mapping[Any, Any]) -> Iterator[str]:
    """Nothing is better than NaN, so a run that goes on with it ends at its patience."""
    given = top.get("stopper")
    held: dict[Any, Any] = given if isinstance(given, dict) else {}
    for key in ("best_fitness", "best_epoch"):
        for number in _floats(held.get(key)):
            if not math.isfinite(number) or (key == "best_fitness" and abs(number) > LARGEST_FITNESS):
                yield f"early stopping's {key} is {number:g}"


def _doubtful_scaler(top: Mapping[Any, Any]) -> Iterator[str]:
    held = top.get("scaler")
    scaler = held if isinstance(held, dict) else {}
    for key, value in scaler.items():
        if not all(map(_is_read, _parts(value))):
            yield f"the gradient scaler's {key} is no number that can be read"
    if any(SMALLEST_SCALE <= number < FAINTEST_SCALE for number in _floats(scaler.get("scale"))):
        yield "the gradient scaler's scale is so small that no gradient outlives it"
    for key, is_odd in _ODD_OF_SCALER.items():
        if odd := [number for number in _floats(scaler.get(key)) if is_odd(number)]:
            yield f"the gradient scaler's {key} is {odd[0]:g}, with which torch makes none"


def _doubtful_args(top: Mapping[Any, Any]) -> Iterator[str]:
    held = top.get("train_args")
    for key, value in held.items() if isinstance(held, dict) else ():
        for number in _floats(value):
            endless = math.isinf(number) and key in _MAY_BE_ENDLESS
            impossible = key in _ARGS and not setting_holds(_ARGS[key], number)
            if impossible or not (math.isfinite(number) or endless):
                yield f"the run's argument {key} is {number:g}"


def _is_read(setting: Any) -> bool:
    """Whether it is a number. None stands for an own choice of some optimizers; a bool is what no rate can be."""
    return setting is None or (isinstance(setting, int | float) and not isinstance(setting, bool))


def is_nonfinite_text(value: Any) -> bool:
    """Whether it is a text that spells a number which is not finite."""
    try:
        return isinstance(value, str) and len(value) < _LONGEST_NUMBER and not math.isfinite(float(value))
    except ValueError:
        return False


def _is_switch(value: Any) -> bool:
    return value is None or (isinstance(value, bool | int | float) and value in {0, 1})


def _groups(top: Mapping[Any, Any]) -> list[dict[Any, Any]]:
    optimizer = top.get("optimizer")
    groups = optimizer.get("param_groups") if isinstance(optimizer, dict) else None
    if not isinstance(groups, list):
        return []
    if len(groups) > MAX_GROUPS:
        raise LimitError(f"its optimizer has {len(groups)} groups of parameters")
    return list({id(group): group for group in groups if isinstance(group, dict)}.values())


def _parts(value: Any) -> Sequence[Any]:
    return (value,) if not isinstance(value, list | tuple) else value if len(value) <= MAX_IN_SETTING else ()


def _floats(value: Any) -> list[float]:
    return [float(part) for part in _parts(value) if isinstance(part, int | float) and not isinstance(part, bool)]


def numpy_number(value: Made) -> float | None:
    """The number that NumPy pickled; None where it is none, or a complex one."""
    parts = numpy_parts(value)
    return parts[0] if len(parts) == 1 else None


def _number_alone(value: Made) -> float | None:
    """As :func:`numpy_number`, also of an array of one, as YOLOv5's ``best_fitness`` is."""
    held = numpy_parts(value) or tuple(islice(array_numbers(value), 2))
    return held[0] if len(held) == 1 else None


def numpy_parts(value: Made) -> tuple[float, ...]:
    """The number that ``numpy.core.multiarray.scalar(dtype, bytes)`` makes, as NumPy pickles one of its own: a complex
    one has two parts, what is no number none."""
    if getattr(value.maker, "name", "") != "scalar" or not isinstance(value.args, tuple) or len(value.args) != 2:
        return ()
    dtype, content = value.args
    kind = dtype.args[0] if isinstance(dtype, Made) and isinstance(dtype.args, tuple) and dtype.args else None
    code = _NUMPY_CODES.get(kind) if isinstance(kind, str) else None
    raw = bytes_of(content)
    if code is None or raw is None or len(raw) != struct.calcsize(f"<{code}"):
        return ()
    return tuple(map(float, struct.unpack(f"<{code}", raw)))


def array_numbers(value: Made) -> Iterator[float]:
    """The floating-point numbers of a NumPy array, as it pickles itself, a complex one by its parts; of many, NaN if
    there is one that is not finite."""
    state = value.state
    if getattr(value.maker, "name", "") != "_reconstruct" or not isinstance(state, tuple) or len(state) != _ARRAY_PARTS:
        return
    dtype, raw = state[2], bytes_of(state[4])
    kind = dtype.args[0] if isinstance(dtype, Made) and isinstance(dtype.args, tuple) and dtype.args else None
    form = _FLOATS.get(kind) if isinstance(kind, str) else None
    if raw is None or form is None:
        return
    items = array(CODES[form.num_bytes], raw[: len(raw) - len(raw) % form.num_bytes])
    if isinstance(dtype.state, tuple) and dtype.state[1:2] == (">",):
        items.byteswap()
    if len(raw) <= MAX_ARRAY_BYTES:
        yield from numbers(memoryview(items).cast("B"), form)
    elif not look_plainly(memoryview(items).cast("B"), form).finite:
        yield math.nan


def array_size(value: Made) -> int:
    """Bytes of the numbers of a NumPy array, as it pickles itself, or somewhat less; 0 of anything else."""
    content = value.state[-1] if isinstance(value.state, tuple) and len(value.state) == _ARRAY_PARTS else None
    if isinstance(content, Made) and isinstance(content.args, tuple) and content.args:
        content = content.args[0]
    return len(content) if isinstance(content, str | bytes) else 0


def bytes_of(content: Any) -> bytes | None:
    """Bytes; protocol 2 writes them as Latin-1 text for ``_codecs.encode``."""
    if isinstance(content, Made) and getattr(content.maker, "name", "") == "encode" and content.args:
        content = content.args[0]
    if isinstance(content, str):
        try:
            return content.encode("latin-1")
        except UnicodeEncodeError:
            return None
    return content if isinstance(content, bytes) else None
