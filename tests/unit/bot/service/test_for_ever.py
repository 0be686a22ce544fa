from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.support.clocks import VirtualLoop, run_virtually
from trainmaster.bot.service.for_ever import SETTLED_S, for_ever


class PanicError(BaseException):
    """As watchfiles' Rust part raises it."""


class Work:
    """Raises ``error`` at each start, ``num_faults`` times; then it goes on."""

    def __init__(self, error: BaseException | None, num_faults: int) -> None:
        self.error = error
        self.num_faults = num_faults
        self.num_starts = 0
        self.cancelled = False

    async def __call__(self) -> None:
        self.num_starts += 1
        if self.num_starts <= self.num_faults:
            if self.error is not None:
                raise self.error
            return
        try:
            await asyncio.sleep(1e9)
        except asyncio.CancelledError:
            self.cancelled = True
            raise


def play(work: Work, for_s: float, note: Callable[[str, str | None], None]) -> bool:
    """Whether it was still under way after so long."""

    async def main() -> bool:
        task = asyncio.create_task(for_ever("job", work, note))
        await asyncio.sleep(for_s)
        lives = not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return lives

    return run_virtually(main(), VirtualLoop())


ENDS = [
    ValueError("no UTF-8"),
    UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed"),
    MemoryError(),
    SystemExit(3),
    PanicError("rust"),
    asyncio.CancelledError(),
    None,
]


@pytest.mark.parametrize("error", ENDS, ids=lambda one: type(one).__name__)
def test_whatever_ends_the_work_starts_it_anew_and_is_told(error: BaseException | None) -> None:
    notes: list[tuple[str, str | None]] = []
    work = Work(error, num_faults=3)
    assert play(work, 200.0, lambda name, fault: notes.append((name, fault)))
    assert work.num_starts == 4
    assert [fault is None for _, fault in notes] == [False, False, False, True]
    assert work.cancelled


def test_success_is_told_only_after_the_work_has_gone_on() -> None:
    notes: list[str | None] = []
    play(Work(None, num_faults=0), SETTLED_S - 1, lambda _, fault: notes.append(fault))
    assert notes == []
    play(Work(None, num_faults=0), SETTLED_S + 1, lambda _, fault: notes.append(fault))
    assert notes == [None]


def test_pauses_grow_and_stay_bounded() -> None:
    work = Work(OSError("dead"), num_faults=10**9)
    assert play(work, 3600.0, lambda _, fault: None)
    assert 3600 / 30 <= work.num_starts <= 3600 / 30 + 10


def test_a_note_that_fails_ends_nothing() -> None:
    def note(name: str, fault: str | None) -> None:
        raise RuntimeError("nobody hears")

    work = Work(OSError("dead"), num_faults=2)
    assert play(work, 100.0, note)
    assert work.num_starts == 3
