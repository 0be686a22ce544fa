"""What is held beside weights and buffers: gains of a criterion, an eps, a running mean of a module of one's own."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final

import torch
from torch import nn

from trainmaster.trainer.batches.noting import (
    CONTAINERS,
    MAX_COPIED,
    copied,
    has_changed,
    has_leapt,
    is_finite,
    is_noted,
    noted,
    put_into,
)
from trainmaster.trainer.checkpoints.module_settings import ModuleSetting, impossible_among

MAX_DEPTH: Final = 4
"""Objects within objects: an end-to-end criterion holds two, and each an assigner."""

_GUARD: Final = __name__.partition(".")[0]
"""Whose own objects are none of the criterion's, wherever it holds them."""

_NO_LOSSES: Final = frozenset({_GUARD, "torch", "builtins", "numpy", "types", "typing", "functools", "collections"})
"""Packages whose classes keep nothing of a loss."""
NUM_WALKS: Final = 2
"""Good batches of an epoch after which everything is looked up: what differs then is what each loss changes."""

_OF_EVERY_MODULE: Final = frozenset(vars(nn.Module()))
"""Where torch keeps a module's weights, buffers and hooks."""

_NOTHING: Final = object()
"""Where there is no such place."""

_Path = tuple[Any, ...]
"""From the criterion on; or a class or a module, and the name of what it holds itself."""


class _ClassSlots:
    """What a class holds itself, whose ``__dict__`` can't be written to."""

    def __init__(self, of: type) -> None:
        self._of = of

    def __getitem__(self, name: Any) -> Any:
        return vars(self._of)[name]

    def __setitem__(self, name: Any, value: Any) -> None:
        setattr(self._of, name, value)


_Slots = dict[Any, Any] | list[Any] | _ClassSlots | None


class OwnNumbers:
    """Numbers and tensors of the criterion of ``model``, and those that its modules carry beside weights and buffers.
    One that is not finite makes every batch look bad, or every one good where nothing is compared with NaN; one that
    leapt beyond anything that trains may do so, too.

    Looking costs nothing while batches are good: what is held is noted once an epoch, and compared when a batch was
    judged bad, or a state is saved. A change that somebody may have meant is left alone. What is noted has its place by
    name, so that a criterion in another's place is known by what both have.

    What the making of a loss changes (a running mean that it is measured by, a count of batches) is noted before each,
    and a batch that was not to be leaves it as it was: :meth:`undo`, or a window of them: :meth:`rewind`. Classes may
    hold it, too, as Wise-IoU does.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._kept: dict[_Path, Any] = {}
        self._noted_of: Any = None
        self._noted_in = -1
        self._walks_left = 0
        self._versions: dict[_Path, tuple[int, int]] = {}
        self._before: dict[_Path, Any] = {}
        """What the making of a loss changes, as it was before that of the batch in work; all before any was good."""
        self._is_known = False
        """Whether it is known what that is."""
        self._window: dict[_Path, Any] = {}
        """The same, as it was when the accumulation window began."""
        self._met: dict[_Path, tuple[int, int]] = {}
        self._replaced: dict[_Path, Any] = {}
        """What the last healing took for a leap."""
        self._healed: set[_Path] = set()

    def note(self, epoch: int) -> None:
        """A batch of ``epoch`` was good with what the criterion holds now. No read.

        What is not finite, or leapt, is noted as it was before: a batch without labels is good with that, too.
        """
        criterion = self._criterion
        if self._noted_of is not criterion or self._noted_in != epoch:
            self._noted_of, self._noted_in, self._walks_left = criterion, epoch, NUM_WALKS
        if not self._walks_left:
            return
        self._walks_left -= 1
        before, versions = self._kept, self._versions
        found = dict(self._numbers_in(criterion))
        self._versions = {path: _version(value) for path, value in found.items() if isinstance(value, torch.Tensor)}
        if not self._walks_left:
            changed = {
                path: value
                for path, value in found.items()
                if path in before and self._has_changed(path, value, before[path], versions)
            }
            known = self._before if self._is_known else {}
            self._before = {path: _noted(path, value, before[path]) for path, value in changed.items()} | known
            self._is_known = True
        self._kept = {path: _noted(path, value, before.get(path)) for path, value in found.items()}

    @torch.no_grad()
    def meet(self) -> None:
        """A batch is about to meet the criterion, which is made for the first. No read."""
        self._note_all()
        held, sound = self._held(), self._before if self._is_known else self._kept
        self._before |= {path: _noted(path, now, sound.get(path)) for path, now in held.items()}
        self._met = {path: _version(now) for path, now in held.items() if isinstance(now, torch.Tensor)}

    def start_window(self) -> None:
        """An accumulation window begins at what is held now. No read."""
        self._note_all()
        self._window = self._changing()

    def rewind(self) -> None:
        """What the making of a loss changes is as it was when the window began. No read."""
        self._put_back(self._window)

    @contextmanager
    def without_trace(self) -> Iterator[None]:
        """Losses that are made within change nothing of it. No read."""
        kept = self._changing()
        try:
            yield
        finally:
            self._put_back(kept)

    def _changing(self) -> dict[_Path, Any]:
        """What the making of a loss changes, as it is now."""
        return {path: copied(value) for path, value in self._held().items()}

    def _held(self) -> dict[_Path, Any]:
        """What the making of a loss changes, itself; all until that is known."""
        if not self._is_known:
            return dict(self._numbers_in(self._criterion))
        return {path: now for path in self._before if is_noted(now := self._at(path))}

    @torch.no_grad()
    def _put_back(self, kept: Mapping[_Path, Any]) -> None:
        for path, value in kept.items():
            self._put(path, value)

    def _note_all(self) -> None:
        """The first batch may be a bad one, and nothing is known yet of what a loss changes."""
        if self._noted_in >= 0 or self._before:
            return
        make = getattr(self._model, "init_criterion", None)
        if self._criterion is None and callable(make):
            with suppress(NotImplementedError):
                self._model.criterion = make()
        found = dict(self._numbers_in(self._criterion))
        self._kept = {path: _noted(path, value, None) for path, value in found.items()}
        self._before = {path: copied(value) for path, value in found.items()}

    @torch.no_grad()
    def undo(self) -> None:
        """What the making of a loss changes is as it was before that of the batch in work. No read."""
        for path, before in self._before.items():
            now = self._at(path)
            touched = not isinstance(now, torch.Tensor) or self._met.get(path) != _version(now)
            if touched:
                self._put(path, before)

    def _has_changed(self, path: _Path, now: Any, before: Any, versions: dict[_Path, tuple[int, int]]) -> bool:
        """Since the last walk; of a tensor by torch's count of writes, which reads no device. A table of the criterion
        is taken for one that changes: a loss of a new kind may be the next."""
        if path in self._versions:
            return versions.get(path) != self._versions[path]
        return has_changed(now, before) or (isinstance(now, CONTAINERS) and not isinstance(path[0], nn.Module | type))

    @torch.no_grad()
    def leapt(self) -> bool:
        """Whether any of it leapt beyond anything that trains since it was noted. Reads the device."""
        return any(has_leapt(self._at(path), kept) for path, kept in self._kept.items())

    @torch.no_grad()
    def heal(self, *, leaps: bool = True) -> int:
        """What is not finite any more, or leapt, is as it was noted; how many are. Reads the device."""
        self._healed = set()
        self._replaced = {}
        for path, kept in self._kept.items():
            now = self._at(path)
            if now is kept or kept is None or not is_noted(now) or not _can_be(path, kept):
                continue
            if _can_be(path, now):
                if not leaps or not has_leapt(now, kept):
                    continue
                self._replaced[path] = copied(now)
            self._put(path, kept)
            self._healed.add(path)
        return len(self._healed)

    @torch.no_grad()
    def heal_copy(self, copy: nn.Module) -> int:
        """What the modules of ``copy``, the EMA of the model, carry and can't be is as the model's own; how many are.
        Reads the device."""
        num_healed, originals = 0, dict(self._model.named_modules())
        for name, module in copy.named_modules():
            if name not in originals:
                continue
            sound = dict(_carried_by(originals[name], than=module))
            for path, value in [*_carried_by(module, than=originals[name])]:
                at, other = (module, *path), sound.get(path, math.nan)
                if not _can_be(at, value) and _can_be(at, other):
                    self._put(at, other)
                    num_healed += 1
        return num_healed

    @torch.no_grad()
    def heal_again(self) -> int:
        """The batch is bad with what was noted, too: what it spoils is put right once more, and what had leapt before
        it is given back, as the next batch may tell; of how many the batch was the cause, or nobody knows. Reads the
        device."""
        replaced, healed = self._replaced, self._healed
        self.heal()
        given_back = replaced.keys() - self._replaced.keys()
        for path in given_back:
            self._put(path, replaced[path])
        self._before |= {path: replaced[path] for path in given_back & self._before.keys()}
        return len(given_back | (healed & self._healed))

    @property
    def what(self) -> str:
        """Where that lay which was put right last."""
        return "model" if all(isinstance(path[0], nn.Module) for path in self._healed) else "criterion"

    @property
    def _criterion(self) -> Any:
        return getattr(self._model, "criterion", None)

    def _numbers_in(self, criterion: Any) -> Iterator[tuple[_Path, Any]]:
        modules = [one for name, one in self._model.named_modules() if not name.startswith("criterion")]
        seen = set(map(id, modules))
        waiting: list[tuple[Any, _Path, bool]] = [(criterion, (), True)]
        classes: dict[type, None] = {}
        while waiting:
            item, path, own = waiting.pop()
            slots = _slots_of(item)
            if id(item) in seen or slots is None or isinstance(item, type) or len(path) > MAX_DEPTH:
                continue
            if type(item).__module__.startswith(_GUARD):
                continue
            seen.add(id(item))
            own = own or callable(item)  # what else it knows (a logger, the trainer) fills lists for other reasons
            for key, value in _entries_of(slots):
                is_filled = isinstance(value, CONTAINERS)
                if is_leaf := is_noted(value) and not (is_filled and (key in _OF_EVERY_MODULE or not own)):
                    yield (*path, key), value
                if is_filled or not (is_leaf or (callable(value) and not hasattr(value, "__dict__"))):
                    waiting.append((value, (*path, key), own and is_filled))
            if callable(item):
                classes |= dict.fromkeys(_classes_beside(type(item)))
        for one in classes:
            for name, value in list(vars(one).items()):
                if is_noted(value) and not name.startswith("__"):
                    yield (one, name), value
        for module in modules:
            yield from (((module, *path), value) for path, value in _carried_by(module))

    def _holder_of(self, path: _Path) -> _Slots:
        if isinstance(path[0], type):
            return _ClassSlots(path[0])
        of_module = isinstance(path[0], nn.Module)
        slots: Any = _slots_of(path[0] if of_module else self._criterion)
        for key in path[of_module:-1]:
            with suppress(LookupError, TypeError):
                slots = _slots_of(slots[key]) if slots is not None else None
                continue
            return None
        found: _Slots = slots
        return found

    def _at(self, path: _Path) -> Any:
        slots = self._holder_of(path)
        with suppress(LookupError, TypeError):
            return _NOTHING if slots is None else slots[path[-1]]
        return _NOTHING

    def _put(self, path: _Path, value: Any) -> None:
        slots, now = self._holder_of(path), self._at(path)
        if put_into(now, value) or slots is None or not is_noted(now):
            return
        if now is not value:  # a member of an enumeration can't be set
            slots[path[-1]] = copied(value)


def _carried_by(module: nn.Module, *, than: nn.Module | None = None) -> Iterator[tuple[_Path, Any]]:
    """Its own numbers and tensors, alone or in a container, but those that are the same objects in ``than``. What has a
    gradient is of one batch, and is made anew."""
    others = {} if than is None else vars(than)
    for key, value in vars(module).items():
        if key in _OF_EVERY_MODULE or value is others.get(key, _NOTHING):
            continue
        if _is_carried(value):
            yield (key,), value
        if isinstance(value, dict | list):
            yield from (((key, place), part) for place, part in _entries_of(value) if _is_carried(part))


def _is_carried(value: Any) -> bool:
    return is_noted(value) and not (isinstance(value, torch.Tensor) and value.requires_grad)


def _classes_beside(kind: type) -> Iterator[type]:
    """The classes of the modules in which ``kind`` and its parents are written, and of those in their package whose
    functions they use."""
    names = {one.__module__ for one in kind.__mro__ if _may_make_losses(one)}
    for name in names:
        package = name.partition(".")[0]
        for value in list(vars(sys.modules.get(name, sys)).values()):
            place = getattr(value, "__module__", None)
            if not isinstance(place, str) or not callable(value):
                continue
            if isinstance(value, type):
                if _may_make_losses(value):
                    yield value
            elif place != name and place.partition(".")[0] == package and place in sys.modules:
                yield from (
                    one
                    for one in list(vars(sys.modules[place]).values())
                    if isinstance(one, type) and one.__module__ == place
                )


def _may_make_losses(kind: type) -> bool:
    return str(kind.__module__).partition(".")[0] not in _NO_LOSSES


def _version(tensor: torch.Tensor) -> tuple[int, int]:
    return id(tensor), -1 if tensor.is_inference() else tensor._version  # noqa: SLF001 - torch's own count of writes


def _slots_of(item: Any) -> dict[Any, Any] | list[Any] | None:
    slots = item if isinstance(item, dict | list) else getattr(item, "__dict__", None)
    return slots if isinstance(slots, dict | list) else None


def _entries_of(slots: dict[Any, Any] | list[Any]) -> Iterable[tuple[Any, Any]]:
    """Each with its place; a history of any length is looked at as a whole."""
    if len(slots) > MAX_COPIED:
        return ()
    return slots.items() if isinstance(slots, dict) else enumerate(slots)


def _can_be(path: _Path, value: Any) -> bool:
    """Whether it is finite, and something trains with it. Reads the device."""
    return is_finite(value) and _is_possible(path, value)


def _is_possible(path: _Path, value: Any) -> bool:
    """Whether something trains with it, of a module's eps and the like; anything else may be what it is. No read."""
    if not isinstance(path[0], nn.Module) or not isinstance(value, int | float):
        return True
    normalizes = "running_var" in path[0]._buffers  # noqa: SLF001 - as attribute access reads them
    return not any(impossible_among([ModuleSetting("", str(path[-1]), value, normalizes)]))


def _noted(path: _Path, value: Any, before: Any) -> Any:
    """``value`` for later, or what was noted ``before`` where it can't be meant. No read."""
    if value is before or not _is_possible(path, value):
        return value if before is None else before
    return noted(value, before)
