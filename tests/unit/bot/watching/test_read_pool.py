from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from trainmaster.bot.watching.read_pool import Looked, ReadPool


@dataclass
class Mount:
    """Answers at once until it hangs."""

    hanging: set[str] = field(default_factory=set)
    released: threading.Event = field(default_factory=threading.Event)
    threads: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def look(self, name: str) -> Callable[[], str]:
        def answer() -> str:
            self.asked.append(name)
            self.threads[name] = str(threading.get_ident())
            if name in self.hanging:
                self.released.wait(20)
            if name == "broken":
                raise PermissionError(name)
            return name.upper()

        return answer

    def all(self, *names: str) -> dict[str, Callable[[], str]]:
        return {name: self.look(name) for name in names}


@pytest.fixture
def mount() -> Iterator[Mount]:
    mount = Mount()
    yield mount
    mount.released.set()


@pytest.fixture
def lookout() -> ReadPool:
    return ReadPool(timeout_s=1)


async def seen_of(lookout: ReadPool, work: dict[str, Callable[[], str]]) -> dict[str, str | type[Exception]]:
    seen: dict[str, str | type[Exception]] = {}

    def take(looked: Looked[str]) -> None:
        assert looked.place not in seen
        seen[looked.place] = type(looked.error) if looked.error else looked.answer or ""

    await asyncio.wait_for(lookout.look(work, take), 15)
    return seen


async def test_all_places_are_looked_at_in_one_thread(mount: Mount, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainmaster.bot.watching.read_pool.PATIENCE_S", 30)
    assert await seen_of(ReadPool(timeout_s=60), mount.all("a", "b", "c")) == {"a": "A", "b": "B", "c": "C"}
    assert len(set(mount.threads.values())) == 1
    assert str(threading.get_ident()) not in mount.threads.values()


async def test_what_a_look_raises_is_its_own(mount: Mount) -> None:
    lookout = ReadPool(timeout_s=60)
    assert await seen_of(lookout, mount.all("a", "broken", "c")) == {"a": "A", "broken": PermissionError, "c": "C"}
    with pytest.raises(PermissionError):
        await lookout.ask("broken", mount.look("broken"))


async def test_places_that_hang_are_given_up_and_all_others_seen(mount: Mount, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainmaster.bot.watching.read_pool.PATIENCE_S", 0.05)
    mount.hanging = {f"dead{number}" for number in range(12)}  # more than the pool of a small host has threads
    names = sorted([*mount.hanging, "healthy"])
    seen = await seen_of(ReadPool(timeout_s=1), mount.all(*names))
    assert seen == dict.fromkeys(mount.hanging, TimeoutError) | {"healthy": "HEALTHY"}


async def test_the_others_are_seen_before_one_that_hangs_is_given_up(mount: Mount) -> None:
    mount.hanging = {"a"}
    others = asyncio.Event()
    patient = ReadPool(timeout_s=60)

    def take(looked: Looked[str]) -> None:
        if looked.place == "b":
            others.set()

    looking = asyncio.create_task(patient.look(mount.all("a", "b"), take))
    await asyncio.wait_for(others.wait(), 10)
    assert not looking.done()
    mount.released.set()
    await asyncio.wait_for(looking, 10)


async def test_a_place_that_hangs_is_not_asked_again_until_it_answers(lookout: ReadPool, mount: Mount) -> None:
    mount.hanging = {"a"}
    await seen_of(lookout, mount.all("a"))
    for _ in range(3):
        assert await seen_of(lookout, mount.all("a", "b")) == {"a": TimeoutError, "b": "B"}
    assert mount.asked.count("a") == 1
    mount.hanging.clear()
    mount.released.set()
    async with asyncio.timeout(10):
        while await seen_of(lookout, mount.all("a")) != {"a": "A"}:  # noqa: ASYNC110 - its thread
            await asyncio.sleep(0.01)


async def test_a_look_that_is_cancelled_leaves_its_place_alone_until_it_is_over(mount: Mount) -> None:
    mount.hanging = {"a"}
    patient = ReadPool(timeout_s=60)
    looking = asyncio.create_task(patient.look(mount.all("a", "b"), lambda looked: None))
    async with asyncio.timeout(10):
        while "a" not in mount.asked:  # noqa: ASYNC110 - another thread
            await asyncio.sleep(0.01)
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)
    assert await seen_of(patient, mount.all("a")) == {"a": TimeoutError}
    assert mount.asked.count("a") == 1


async def test_a_pool_that_nobody_has_any_more_leaves_no_thread_behind(mount: Mount) -> None:
    before = set(threading.enumerate())
    pool = ReadPool()
    await pool.look(mount.all("a"), lambda _: None)
    (thread,) = set(threading.enumerate()) - before

    del pool

    thread.join(timeout=20)
    assert not thread.is_alive()


def slow_look() -> str:
    time.sleep(0.01)
    return "seen"


@pytest.mark.parametrize(("rank", "before"), [(0, True), (2, False)], ids=["of news", "of what takes long"])
async def test_a_round_lets_looks_of_a_lower_rank_pass(
    monkeypatch: pytest.MonkeyPatch, rank: int, before: bool
) -> None:
    """Its reading and its taking in: what is asked in the middle of it is there at once, or when it is done."""
    monkeypatch.setattr("trainmaster.bot.watching.read_pool.PRECEDES_S", 20)
    pool, order = ReadPool(timeout_s=60), []

    def take(looked: Looked[str]) -> None:
        order.append(looked.place)
        time.sleep(0.005)

    a_round = asyncio.create_task(pool.look({f"run{number}": slow_look for number in range(60)}, take, rank=1))
    while len(order) < 5:  # noqa: ASYNC110 - of a thread
        await asyncio.sleep(0.001)
    await pool.look({"news": slow_look}, take, rank=rank)
    assert (len(order) < 30) is before
    await a_round
    assert len(order) == 61


async def test_a_round_gets_on_however_much_news_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainmaster.bot.watching.read_pool.PRECEDES_S", 0.1)
    pool, num_news = ReadPool(timeout_s=60), 0
    seen: list[Looked[str]] = []
    a_round = asyncio.create_task(
        pool.look({f"run{number}": lambda: "" for number in range(1000)}, seen.append, rank=1)
    )
    while not a_round.done():
        await pool.look({"news": slow_look}, lambda _: None)
        num_news += 1
    assert len(seen) == 1000
    assert num_news < 100, "it waited for each of them"


async def test_of_several_rounds_one_is_taken_in_in_a_turn_of_the_loop() -> None:
    """All ten at once would keep everything else for their sum."""
    pool, taken_in = ReadPool(timeout_s=60), [0]

    def take(_looked: Looked[str]) -> None:
        taken_in[-1] += 1
        time.sleep(0.03)  # longer than a turn lasts

    done = asyncio.gather(*(pool.look({number: lambda: ""}, take, rank=1 + number % 2) for number in range(10)))
    while not done.done():
        await asyncio.sleep(0)
        taken_in.append(0)
    assert (max(taken_in), sum(taken_in)) == (1, 10)
