"""Two trainers step by step in turn, so that what is measured is their difference and not the machine's mood.

On a shared machine two runs one after the other differ by more than a guard costs. So both trainers run in one process,
each in a thread of its own, and take turns (A B B A): the same batches, the same weights to the last bit, never both at
once. Then the two change threads. What counts is the difference within each pair; its median has an interval from
bootstrap samples.

On a CPU a turn is one step, in processor time of its thread. On a device it is a block of steps in wall time between
two synchronisations: within the block the host runs ahead of the device, as it does in training.
"""

from __future__ import annotations

import gc
import random
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch

from trainmaster.trainer.selfcheck.made import quiet

NUM_RESAMPLES: Final = 10_000
COLLECT_EVERY: Final = 20


class Turns:
    """Lets two threads run one at a time, in the order A B, then A B B A for ever."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._number = 0
        self._over: set[int] = set()

    def wait(self, me: int) -> None:
        """Return when it is the turn of ``me``."""
        with self._changed:
            self._changed.wait_for(lambda: self._over or self._whose() == me)

    def give(self, me: int) -> None:
        """The turn of ``me`` is over; return when its next one begins."""
        with self._changed:
            self._number += 1
            self._changed.notify_all()
        self.wait(me)

    def leave(self, me: int) -> None:
        """``me`` takes no turns any more."""
        with self._changed:
            self._over.add(me)
            self._changed.notify_all()

    def _whose(self) -> int:
        return (0, 1)[self._number] if self._number < 2 else (0, 1, 1, 0)[(self._number - 2) % 4]


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """How a turn is timed: ``clock`` in seconds, ``steps`` a turn, and what makes the host wait for the device."""

    clock: Callable[[], float]
    steps: int
    synchronize: Callable[[], None]

    @classmethod
    def of(cls, device: str) -> Watch:
        """For ``cuda``, ``mps`` or ``cpu``."""
        if device == "cpu":
            return cls(clock=time.thread_time, steps=1, synchronize=lambda: None)
        backend: Any = torch.cuda if device == "cuda" else torch.mps
        return cls(clock=time.perf_counter, steps=8, synchronize=backend.synchronize)


class Metered:
    """A data loader's iterator that times what the loop does between two batches, and takes turns in between.

    With ``kept``, the first so many batches are handed out again and again: no loader stands between two steps.
    """

    def __init__(self, iterator: Any, meter: Meter, kept: int) -> None:
        self._iterator = iterator
        self._meter = meter
        self._kept = kept
        self._batches: list[dict[str, Any]] = []
        self._number = 0

    def __next__(self) -> Any:
        self._meter.end()
        if len(self._batches) < self._kept or not self._kept:
            batch = next(self._iterator)
            self._batches.append(batch)
        else:
            batch = dict(self._batches[self._number % self._kept])
        self._number += 1
        if not self._kept:
            self._batches.clear()
        self._meter.begin()
        return batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._iterator, name)


class Meter:
    """Seconds a step of one trainer, a turn each."""

    def __init__(self, turns: Turns, me: int, watch: Watch, kept: int = 0) -> None:
        self._turns = turns
        self._me = me
        self._watch = watch
        self._kept = kept
        self._began: float | None = None
        self._left = 0
        self.seconds: list[float] = []

    def begin(self) -> None:
        """A step begins, and perhaps a turn with it."""
        if self._began is None:
            self._left = self._watch.steps
            self._watch.synchronize()
            self._began = self._watch.clock()

    def end(self) -> None:
        """It is over, unless none had begun; with the last of a turn, it is the other trainer's."""
        if self._began is not None:
            self._left -= 1
            if self._left:
                return
            self._note()
        if not len(self.seconds) % COLLECT_EVERY:
            gc.collect()
        self._turns.give(self._me)

    def attach(self, trainer: Any) -> None:
        """``trainer`` is metered from its first batch on; its end of an epoch is no step."""
        loader = trainer.train_loader
        plain = loader._get_iterator  # noqa: SLF001 - a seam of torch's loader, see compat
        loader._get_iterator = lambda: Metered(plain(), self, self._kept)  # noqa: SLF001 - as above

    def forget(self, _: Any) -> None:
        """What runs now is no step."""
        if self._began is not None and self._left <= 1:
            self._note()
        self._began = None

    def _note(self) -> None:
        self._watch.synchronize()
        assert self._began is not None
        self.seconds.append((self._watch.clock() - self._began) / self._watch.steps)
        self._began = None


def side_by_side(
    kinds: Sequence[type], overrides: Sequence[dict[str, Any]], watch: Watch, kept: int = 0
) -> list[list[float]]:
    """Seconds a step of each turn of two trainers.

    Raises:
        BaseException: what a trainer raised; the other one was let go on to its end.
    """
    turns = Turns()
    meters = [Meter(turns, number, watch, kept) for number in range(2)]
    failed: list[BaseException] = []

    def run(me: int) -> None:
        try:
            torch.set_num_threads(1)
            turns.wait(me)
            trainer = kinds[me](overrides=overrides[me])
            trainer.add_callback("on_train_start", meters[me].attach)
            trainer.add_callback("on_train_epoch_end", meters[me].forget)
            trainer.train()
        except BaseException as error:  # noqa: BLE001 - raised again where the threads are joined
            failed.append(error)
        finally:
            turns.leave(me)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    gc.collect()
    gc.disable()
    try:
        with quiet():
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    finally:
        gc.enable()
    if failed:
        raise failed[0]
    return [meter.seconds for meter in meters]


def both_ways(
    kinds: tuple[type, type],
    overrides: tuple[dict[str, Any], dict[str, Any]],
    watch: Watch,
    *,
    warming: int,
    kept: int = 0,
) -> list[tuple[float, float]]:
    """Pairs of seconds a step, first kind and second, measured twice with the threads exchanged.

    ``warming`` turns of each are left out: allocators and caches fill.
    """
    first, second = side_by_side(kinds, overrides, watch, kept)
    second_first, first_second = side_by_side(kinds[::-1], overrides[::-1], watch, kept)
    return [
        *list(zip(first, second, strict=False))[warming:],
        *list(zip(first_second, second_first, strict=False))[warming:],
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What the second of two trainers takes more than the first, in seconds a step, pair by pair."""

    stock_s: float
    differences_s: tuple[float, ...]

    @classmethod
    def of(cls, pairs: Sequence[tuple[float, float]]) -> Cost:
        """Of pairs of seconds a step."""
        return cls(
            stock_s=statistics.median(theirs for theirs, _ in pairs),
            differences_s=tuple(mine - theirs for theirs, mine in pairs),
        )

    @property
    def added_s(self) -> float:
        """What the guard adds to a step."""
        return statistics.median(self.differences_s)

    @property
    def ratio(self) -> float:
        """A guarded step to a stock one."""
        return 1 + self.added_s / self.stock_s

    @property
    def bounds(self) -> tuple[float, float]:
        """Of the ratio, 95 %."""
        low_s, high_s = interval(self.differences_s)
        return 1 + low_s / self.stock_s, 1 + high_s / self.stock_s


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Of the median, 95 %, by the bootstrap."""
    chance = random.Random(0)
    medians = sorted(statistics.median(chance.choices(values, k=len(values))) for _ in range(NUM_RESAMPLES))
    return medians[NUM_RESAMPLES // 40], medians[-NUM_RESAMPLES // 40]
