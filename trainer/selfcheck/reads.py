"""How often a training step makes the host wait for the device."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Final

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from trainmaster.trainer.selfcheck.made import quiet

READS: Final = ("aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::is_nonzero")


class Reads(TorchDispatchMode):
    """Counts operations that would make the host wait for a device, on a machine that has none.

    On a CPU all tensors are host tensors, so those that would be on the host anyway (the guard's running mean, and what
    a loop makes of it alone: up to Ultralytics 8.4.100 it is stacked for the progress line) are told by their storage.
    The guard's own ``tolist`` of a tensor on the device, which a CPU does without an operation, is counted by hand.
    """

    def __init__(self, trainer: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # torch gives it no types
        self.trainer = trainer
        self.count = 0
        self._on_host: dict[int, torch.Tensor] = {}  # by address of the storage, which lives as long as this does

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        guard = getattr(self.trainer, "guard", None)
        if guard is None:
            self.count += func._schema.name in READS  # noqa: SLF001 - torch names its operations nowhere else
            return func(*args, **(kwargs or {}))
        self._know(guard.running.shown.values())
        given = _tensors((args, kwargs))
        on_host = bool(given) and all(_storage(one) in self._on_host for one in given)
        self.count += func._schema.name in READS and not on_host  # noqa: SLF001 - as above
        made = func(*args, **(kwargs or {}))
        if on_host:
            self._know(_tensors(made))
        return made

    def _know(self, tensors: Iterable[torch.Tensor]) -> None:
        self._on_host |= {_storage(one): one for one in tensors}


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [one for one in tree_leaves(tree) if isinstance(one, torch.Tensor)]


def _storage(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


class Waits(warnings.catch_warnings):
    """Counts the operations by which the host really waits for a CUDA device, as torch itself reports them."""

    def __init__(self) -> None:
        super().__init__(record=True)
        self._caught: list[Any] = []

    def __enter__(self) -> Any:
        self._caught = super().__enter__() or []
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        torch.cuda.set_sync_debug_mode("default")
        super().__exit__(kind, error, trace)

    @property
    def count(self) -> int:
        """How often the host waited so far."""
        return sum("synchronizing" in str(one.message) for one in self._caught)


def counted(kind: type, overrides: dict[str, Any], device: str) -> tuple[list[int], Any]:
    """Waits of each step but the first two, and the trainer after them; ``device`` is cuda, mps or cpu."""
    trainer = kind(overrides=overrides)
    reads: list[int] = []
    state: dict[str, Any] = {}
    make: Callable[[], AbstractContextManager[Any]] = Waits if device == "cuda" else lambda: Reads(trainer)

    def begin(_: Any) -> None:
        state["mode"] = make()
        state["mode"].__enter__()

    def end(_: Any) -> None:
        state["mode"].__exit__(None, None, None)
        reads.append(state["mode"].count)

    trainer.add_callback("on_train_batch_start", begin)
    trainer.add_callback("on_train_batch_end", end)
    plain: Any = torch.Tensor.tolist

    def tolist(tensor: torch.Tensor) -> Any:
        if "mode" in state and tensor.ndim:
            state["mode"].count += 1
        return plain(tensor)

    by_hand = device != "cuda" and hasattr(trainer, "guard")
    if by_hand:
        torch.Tensor.tolist = tolist  # type: ignore[method-assign,assignment] # counted by hand, see Reads
    try:
        with quiet():
            trainer.train()
    finally:
        if by_hand:
            torch.Tensor.tolist = plain  # type: ignore[method-assign] # as it was
    return reads[2:], trainer
