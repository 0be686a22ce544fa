"""Which batches an epoch has, in which order, and going on in the middle of one."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch.utils.data import RandomSampler, SequentialSampler
from ultralytics.data.build import InfiniteDataLoader

from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.data.tracing import seed, trace
from trainmaster.trainer.stop import StopSwitch

GHOST_KEY: Final = "trainmaster_ghost"
"""Marks a placeholder for a batch that was trained before the run was interrupted."""


def ghost_batch() -> dict[str, Any]:
    """A batch that holds nothing: the loop counts it, nobody trains on it."""
    return {
        "img": torch.zeros((1, 3, 32, 32), dtype=torch.uint8),
        "cls": torch.zeros((0, 1)),
        "bboxes": torch.zeros((0, 4)),
        "batch_idx": torch.zeros(0),
        "im_file": (),
        GHOST_KEY: True,
    }


def is_ghost(batch: dict[str, Any]) -> bool:
    """Whether ``batch`` is a placeholder."""
    return GHOST_KEY in batch


class _Order:
    """Index batches, epoch after epoch, each epoch's generator state remembered before its permutation is drawn.

    Stands where Ultralytics' ``_RepeatSampler`` stood and draws exactly what it drew. Workers run ahead, so the next
    epoch's permutation may be drawn before this one is used up: states are kept by epoch of this iterator.
    """

    def __init__(self, batch_sampler: Any) -> None:
        self.sampler = batch_sampler  # the loader's __len__ asks for it under this name
        self.states: list[torch.Tensor | None] = []
        self.resume_state: torch.Tensor | None = None
        self.skip = 0
        self.epoch_size = 0
        """Samples an epoch when indices are to carry their epoch too, else 0."""
        self.first_epoch = 0

    @property
    def generator(self) -> torch.Generator | None:
        """What a shuffled single-process epoch is drawn from; None where the order needs none."""
        sampler = getattr(self.sampler, "sampler", None)
        return sampler.generator if isinstance(sampler, RandomSampler) else None

    def __iter__(self) -> Iterator[list[int]]:
        self.states = []
        skip, self.skip = self.skip, 0
        if self.resume_state is not None and self.generator is not None:
            self.generator.set_state(self.resume_state)
            self.resume_state = None
        while True:
            generator = self.generator
            self.states.append(None if generator is None else generator.get_state())
            offset = (self.first_epoch + len(self.states) - 1) * self.epoch_size
            for number, batch in enumerate(self.sampler):
                if number >= skip:
                    yield [index + offset for index in batch] if offset else batch
            skip = 0


class GuardedLoader(InfiniteDataLoader):
    """An :class:`InfiniteDataLoader` that can go on in the middle of an epoch and tells when it waits."""

    switch: StopSwitch | None
    order: _Order
    epoch: int
    epochs_begun: int
    epoch_state: torch.Tensor | None
    """The generator's state from which the order of the epoch in work is drawn."""
    boundary: Boundary | None
    """Random state at the last batch boundary while the next batch is being made, else None."""
    ghosts: int
    draws: tuple[int, int] | None
    """Seed and rank, where what the rank draws for its batches has to follow from them: no state holds it."""

    @classmethod
    def adopt(
        cls,
        loader: InfiniteDataLoader,
        switch: StopSwitch | None,
        *,
        exact_seed: int | None = None,
        rank: int = -1,
    ) -> GuardedLoader:
        """``loader`` itself, guarded; it must not have been iterated yet.

        ``switch`` ends waiting for data at once. None in a rank of many: the others would wait for it in vain. Of the
        ranks the first saves what all go on from, its random state with it; in an exact run, any other ``rank`` draws
        anew for each batch.

        Raises:
            ArgumentsError: with ``exact_seed``, samples of such a data set can't be made alike by workers.
        """
        loader.__class__ = cls  # a copy would need every argument that build_dataloader chose
        assert isinstance(loader, cls)
        assert loader.iterator is None
        batches: Any = loader.batch_sampler
        order = _Order(batches.sampler)
        object.__setattr__(loader, "batch_sampler", order)  # DataLoader.__setattr__ forbids it after construction
        loader.order = order
        loader.switch = switch
        loader.epoch = 0
        loader.epochs_begun = 0
        loader.epoch_state = None
        loader.boundary = None
        loader.ghosts = 0
        loader.draws = (exact_seed, rank) if exact_seed is not None and rank > 0 else None
        traced = trace(loader.dataset, exact_seed=exact_seed)
        if exact_seed is not None and not traced and loader.num_workers:
            raise ArgumentsError(
                f"exact=true can't be kept with workers={loader.num_workers} and a {type(loader.dataset).__name__}: "
                "what a sample draws depends on what its worker has drawn before",
                "workers=0, or exact=false",
            )
        if exact_seed is not None and traced:
            order.epoch_size = num_samples(loader)
        return loader

    def __len__(self) -> int:
        return len(self.order.sampler)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override] # torch names its private class of iterators
        ghosts, self.ghosts = self.ghosts, 0
        for _ in range(ghosts):
            yield ghost_batch()
        if ghosts >= len(self):
            self.order.skip = 0
            self.epoch_state = self.order.resume_state
            return
        with self._waiting():
            self._begin_epoch()
        for place in range(ghosts, len(self)):
            self.boundary = Boundary.now(self)
            with self._waiting():
                batch = next(self._drawn_from)
            self.boundary = None
            if self.draws is not None:
                seed(*self.draws, self.epoch, place)
            yield batch

    @property
    def _drawn_from(self) -> Any:
        """Ultralytics' ``iterator``, which it declares as None."""
        return self.iterator

    @_drawn_from.setter
    def _drawn_from(self, iterator: Any) -> None:
        vars(self)["iterator"] = iterator

    @property
    def draws_alike(self) -> bool:
        """Whether an epoch's order can be drawn once more: it has a generator of its own, goes by the number of the
        epoch, or needs none. A sampler of somebody's own, by weights say, draws from whatever it likes."""
        sampler = getattr(self.order.sampler, "sampler", None)
        return (
            self.order.generator is not None or isinstance(sampler, SequentialSampler) or hasattr(sampler, "set_epoch")
        )

    def _waiting(self) -> AbstractContextManager[None]:
        return nullcontext() if self.switch is None else self.switch.interruptible()

    def reset(self) -> None:
        """As in the base class; the next epoch is the first of a new iterator."""
        with iterators_held():
            super().reset()  # type: ignore[no-untyped-call] # Ultralytics gives it no types
        self.iterator = None
        self.epochs_begun = 0

    def next_epoch_state(self, *, new_iterator: bool) -> torch.Tensor | None:
        """The generator's state from which the epoch after the one in work will be drawn.

        A new iterator draws a seed for its workers first.
        """
        generator = self.order.generator
        if generator is None:
            return None
        if self.order.resume_state is not None:  # resumed behind the last batch of an epoch, nothing drawn since
            return self.order.resume_state
        if new_iterator:
            future = torch.Generator()
            future.set_state(generator.get_state())
            torch.empty((), dtype=torch.int64).random_(generator=future)
            return future.get_state()
        if self.epochs_begun < len(self.order.states):  # a worker has run ahead
            return self.order.states[self.epochs_begun]
        return self._after(self.epoch_state) if self.epochs_begun else self.epoch_state

    def epoch_started(self, epoch: int) -> None:
        """``epoch`` (from 0) is the one that is iterated next."""
        self.epoch = epoch

    def go_on(self, *, state: torch.Tensor | None, batches_done: int) -> None:
        """The next epoch is drawn from ``state``, and its first ``batches_done`` batches are placeholders."""
        self.order.resume_state = state
        self.order.skip = batches_done
        self.ghosts = batches_done

    def _begin_epoch(self) -> None:
        resumed = self.order.resume_state
        fresh = self.iterator is None
        if not fresh:
            self.epoch_state = self.next_epoch_state(new_iterator=False)
        else:
            self.order.first_epoch = self.epoch
            self.order.states = []  # without workers the new iterator writes its own when the first batch is drawn
            self._drawn_from = self._get_iterator()
            self.epochs_begun = 0
            generator = self.order.generator
            if resumed is not None or generator is None:
                self.epoch_state = resumed
            else:
                self.epoch_state = self.order.states[0] if self.order.states else generator.get_state()
        self.epochs_begun += 1

    def _after(self, state: torch.Tensor | None) -> torch.Tensor | None:
        """The generator's state after the epoch drawn from ``state``: RandomSampler draws twice and uses the first."""
        if state is None:
            return None
        future = torch.Generator()
        future.set_state(state)
        for _ in range(2):
            torch.randperm(num_samples(self), generator=future)
        return future.get_state()


def num_samples(loader: Any) -> int:
    """How many samples the data set of ``loader`` has."""
    return len(loader.dataset)


class HeldIterators:
    """Loaders whose iterator was asked for and not made."""

    def __init__(self) -> None:
        self._loaders: list[InfiniteDataLoader] = []

    def hold(self, loader: InfiniteDataLoader) -> None:
        """In place of the iterator of ``loader``: nothing."""
        self._loaders.append(loader)

    def release(self, loader: InfiniteDataLoader) -> None:
        """``loader`` has its iterator, if it asked for one."""
        if any(one is loader for one in self._loaders):
            iterator: Any = loader._get_iterator()  # noqa: SLF001 - a seam, see compat
            loader.iterator = iterator


@contextmanager
def iterators_held() -> Iterator[HeldIterators]:
    """Within, no loader starts workers or draws from its generator.

    Up to Ultralytics 8.4.150 a loader makes its iterator when it is made, from an order that is not the guard's.
    """
    held = HeldIterators()
    name = "_get_iterator"
    had = InfiniteDataLoader.__dict__.get(name)
    setattr(InfiniteDataLoader, name, lambda loader: held.hold(loader))  # noqa: PLW0108 - a function becomes a method
    try:
        yield held
    finally:
        if had is None:
            delattr(InfiniteDataLoader, name)
        else:
            setattr(InfiniteDataLoader, name, had)


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundary:
    """Random state between two batches, as far as this process holds it (workers have their own)."""

    rng: dict[str, Any]
    mosaic_buffer: list[int]

    @classmethod
    def now(cls, loader: GuardedLoader) -> Boundary:
        """As it is at this moment."""
        return cls(rng=random_state(), mosaic_buffer=list(getattr(loader.dataset, "buffer", ())))


def random_state() -> dict[str, Any]:
    """State of the process-wide generators, in types that a saved state may hold."""
    numpy: Any = np.random.get_state()
    kind, keys, position, has_gauss, cached = numpy
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, cached),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def set_random_state(state: Mapping[str, Any]) -> None:
    """The process-wide generators go on from ``state``."""
    random.setstate(_tuples(state["python"]))
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        for index, own in enumerate(state["cuda"][: torch.cuda.device_count()]):  # there may be fewer than there were
            torch.cuda.set_rng_state(own, index)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value
