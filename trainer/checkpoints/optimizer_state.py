"""What an optimizer's state holds beside tensors, and whether training can go on from it. Loads no torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeGuard

from trainmaster.trainer.checkpoints.limits import MAX_IN_SETTING
from trainmaster.trainer.checkpoints.naming import NUM_NAMES_SHOWN, below, few
from trainmaster.trainer.checkpoints.pickled import Made
from trainmaster.trainer.checkpoints.single_numbers import bytes_of, is_nonfinite_text, numpy_number
from trainmaster.trainer.checkpoints.values import F16, F32, F64, FloatFormat, look_plainly

_ARRAYS: Final[Mapping[str, FloatFormat]] = {"f2": F16, "f4": F32, "f8": F64}
_WHOLE: Final = frozenset("iub")
_MAPPINGS: Final = frozenset({"OrderedDict", "defaultdict", "dict"})


def is_optimizer(value: Any) -> TypeGuard[dict[Any, Any]]:
    """Whether ``value`` is an optimizer's state as torch writes it, of at least one parameter."""
    if not isinstance(value, dict) or not isinstance(value.get("state"), dict | Made):
        return False
    groups = value.get("param_groups")
    return isinstance(groups, list | tuple) and any(isinstance(group, dict) and group.get("params") for group in groups)


def poisoned_state(top: Mapping[Any, Any]) -> Iterator[str]:
    """Numbers that are not finite in an optimizer, whatever holds them there: a list, a NumPy array, a plain float."""
    odd = _Odd(top.get("optimizer"))
    if odd.nonfinite:
        yield f"optimizer: numbers beside its tensors are not finite: {few(odd.nonfinite)}"


def doubtful_state(top: Mapping[Any, Any]) -> Iterator[str]:
    """What in an optimizer's state no step has left there, or can't be read."""
    optimizer = top.get("optimizer")
    odd = _Odd(optimizer)
    if odd.unread:
        yield f"optimizer: something in it is no number that can be read: {few(odd.unread)}"
    if optimizer and not is_optimizer(optimizer):
        yield "optimizer: not the state of one, which has groups of parameters"
    groups = optimizer["param_groups"] if is_optimizer(optimizer) else ()
    if bare := [index for index, group in enumerate(groups) if isinstance(group, dict) and "lr" not in group]:
        yield f"optimizer: param_groups[{bare[0]}] has no lr"


def emptied_state(top: Mapping[Any, Any], *, epochs_done: int | None) -> Iterator[str]:
    """An optimizer that keeps a momentum and has none after two epochs. In the first, no step may have been taken."""
    optimizer = top.get("optimizer")
    if not is_optimizer(optimizer) or optimizer["state"] or (epochs_done or 0) < 2:
        return
    if any(isinstance(group, dict) and _keeps_something(group) for group in optimizer["param_groups"]):
        yield f"optimizer: keeps nothing of its parameters after {epochs_done} epochs"


def _keeps_something(group: Mapping[Any, Any]) -> bool:
    return "betas" in group or "alpha" in group or bool(group.get("momentum"))


class _Odd:
    """All in an optimizer that is neither a tensor nor fine, by name; a group's own settings are told elsewhere."""

    def __init__(self, optimizer: Any) -> None:
        self.nonfinite: list[str] = []
        self.unread: list[str] = []
        visited: set[int] = set()
        waiting: list[tuple[str, Any]] = [("", optimizer)] if _is_looked_at(optimizer) else []
        while waiting:
            name, item = waiting.pop()
            if isinstance(item, float):
                _note(self.nonfinite, name)
            elif isinstance(item, str):
                if name.startswith("state.") or is_nonfinite_text(item):
                    _note(self.unread, name)
            elif id(item) not in visited:
                visited.add(id(item))
                held = [(key, one) for key, one in self._in(name, item) if _is_looked_at(one)]
                inner = [(below(name, key), one) for key, one in held if id(one) not in visited]
                waiting += reversed(inner)

    def _in(self, name: str, item: Any) -> Iterator[tuple[Any, Any]]:
        if isinstance(item, dict):
            for key, value in item.items():
                if not (_is_group(name) and _is_plain(value)):
                    yield key, value
        elif isinstance(item, list | tuple):
            yield from enumerate(item)
        elif (number := numpy_number(item)) is not None:
            yield "value", number
        elif _called(item) == "complex":
            yield from enumerate(item.args)
        elif _called(item) == "_reconstruct":
            self._array(name, item)
        elif _called(item) in _MAPPINGS:
            yield from item.pairs.items()
        else:
            _note(self.unread, name)

    def _array(self, name: str, array: Made) -> None:
        state = array.state if isinstance(array.state, tuple) and len(array.state) == 5 else (None,) * 5
        dtype, raw = state[2], bytes_of(state[4])
        kind = dtype.args[0] if isinstance(dtype, Made) and isinstance(dtype.args, tuple) and dtype.args else None
        order = dtype.state[1] if isinstance(dtype, Made) and isinstance(dtype.state, tuple) else None
        form = _ARRAYS.get(kind) if isinstance(kind, str) else None
        if isinstance(kind, str) and kind[:1] in _WHOLE:
            return
        if form is None or raw is None or order != "<" or len(raw) % form.num_bytes:
            _note(self.unread, name)
        elif not look_plainly(memoryview(raw), form).finite:
            _note(self.nonfinite, name)


def _note(names: list[str], name: str) -> None:
    if len(names) <= NUM_NAMES_SHOWN:  # no more of them are shown
        names.append(name)


def _is_looked_at(item: Any) -> bool:
    """Tells nearly all apart at once: whole numbers, and those that are finite."""
    if isinstance(item, float):
        return not math.isfinite(item)
    return isinstance(item, str | Made) or (isinstance(item, dict | list | tuple) and bool(item))


def _is_group(name: str) -> bool:
    return name.startswith("param_groups.") and name.count(".") == 1


def _is_plain(value: Any) -> bool:
    """A group's setting that is judged by name: a number, some numbers in a row, or one of NumPy's."""
    parts = value if isinstance(value, list | tuple) else (value,)
    if len(parts) > MAX_IN_SETTING:
        return False
    return not any(
        isinstance(part, dict | list | tuple) or (isinstance(part, Made) and _called(part) == "_reconstruct")
        for part in parts
    )


def _called(made: Made) -> str:
    return str(getattr(made.maker, "name", ""))
