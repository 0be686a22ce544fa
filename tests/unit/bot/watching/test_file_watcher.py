from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.run_dirs import WrittenRun
from trainmaster.bot.reading.run_files import find_runs
from trainmaster.bot.watching import file_watcher
from trainmaster.bot.watching.file_watcher import watch_runs


@dataclass
class Watched:
    root: Path
    seen: asyncio.Queue[Path]

    async def next(self) -> Path:
        return await asyncio.wait_for(self.seen.get(), 10)


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    seen: asyncio.Queue[Path] = asyncio.Queue()

    async def changed(runs: frozenset[Path]) -> None:
        for run in runs:
            await seen.put(run)

    watching = asyncio.create_task(watch_runs(lambda: find_runs(tmp_path), changed, relist_s=0.1))
    yield Watched(tmp_path, seen)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_a_new_run_is_looked_at_and_then_each_of_its_events(watched: Watched) -> None:
    written = WrittenRun(watched.root)
    written.event("notice", 1, text="first")
    assert await watched.next() == written.layout.root
    for number in range(3):
        await asyncio.sleep(0.3)  # changes of 100 ms are told together
        written.event("notice", 2, text=f"{number}")
        assert await watched.next() == written.layout.root


async def test_a_second_run_is_taken_along(watched: Watched) -> None:
    first, second = WrittenRun(watched.root, "first"), WrittenRun(watched.root, "second")
    first.event("notice", 1, text="x")
    assert await watched.next() == first.layout.root
    second.event("notice", 1, text="x")
    assert await watched.next() == second.layout.root
    first.event("notice", 2, text="y")
    assert await watched.next() == first.layout.root
    assert watched.seen.empty()


async def test_news_that_come_while_other_runs_appear_are_told_at_once(tmp_path: Path) -> None:
    """On an event loop that is slow to set up the next watch: the one before goes on until then."""
    told: list[tuple[float, Path]] = []
    clock = asyncio.get_running_loop().time

    async def changed(runs: frozenset[Path]) -> None:
        told.extend((clock(), run) for run in runs)
        await asyncio.sleep(0)

    async def busy() -> None:
        while True:
            time.sleep(0.03)  # noqa: ASYNC251 - what is tested
            await asyncio.sleep(0)

    healthy = WrittenRun(tmp_path, "healthy")
    healthy.event("notice", 1, text="x")
    tasks = [asyncio.create_task(watch_runs(lambda: find_runs(tmp_path), changed, relist_s=0.05))]
    try:
        await asyncio.sleep(1)
        tasks.append(asyncio.create_task(busy()))
        for number in range(12):
            WrittenRun(tmp_path, f"other{number}").event("notice", 1, text="x")
            healthy.event("notice", 2 + number, text="y")
            written_s = clock()
            async with asyncio.timeout(10):
                while not any(run == healthy.layout.root and at_s >= written_s for at_s, run in told):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            assert clock() - written_s < 2
        async with asyncio.timeout(10):
            while len({run for _, run in told}) < 13:  # noqa: ASYNC110 - the others are told a little later
                await asyncio.sleep(0.02)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_an_event_file_in_the_place_of_another_is_watched(watched: Watched) -> None:
    run = WrittenRun(watched.root)
    run.event("notice", 1, text="x")
    assert await watched.next() == run.layout.root
    await asyncio.sleep(0.3)
    aside = run.layout.events.with_name("aside")
    aside.write_bytes(run.layout.events.read_bytes())
    aside.replace(run.layout.events)
    assert await watched.next() == run.layout.root
    await asyncio.sleep(0.5)
    while not watched.seen.empty():
        watched.seen.get_nowait()
    run.event("notice", 2, text="y")
    assert await watched.next() == run.layout.root


async def test_a_limit_that_two_watches_exceed_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, at_work = file_watcher.awatch, 0
    told: asyncio.Queue[Path] = asyncio.Queue()
    notes: list[str | None] = []

    async def limited(*paths: str, **how: Any) -> AsyncIterator[set[Any]]:
        nonlocal at_work
        if at_work:
            raise OSError(28, "inotify watch limit reached")
        at_work += 1
        try:
            async for changes in real(*paths, **how):
                yield changes
        finally:
            at_work -= 1

    async def changed(runs: frozenset[Path]) -> None:
        for run in runs:
            await told.put(run)

    monkeypatch.setattr(file_watcher, "awatch", limited)
    task = asyncio.create_task(watch_runs(lambda: find_runs(tmp_path), changed, note=notes.append, relist_s=0.05))
    try:
        for name in ("first", "second", "third"):
            run = WrittenRun(tmp_path, name)
            run.event("notice", 1, text="x")
            assert await asyncio.wait_for(told.get(), 10) == run.layout.root
        run.event("notice", 2, text="y")
        assert await asyncio.wait_for(told.get(), 10) == run.layout.root
        assert set(notes) == {None}
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_heartbeats_and_log_lines_wake_nobody(watched: Watched) -> None:
    written = WrittenRun(watched.root)
    written.event("notice", 1, text="x")
    await watched.next()
    await asyncio.sleep(0.3)
    for batch in range(1, 20):
        written.beat(1, epoch=1, batch=batch)
        written.series(epoch=1, batch=batch, loss=1.0)
    await asyncio.sleep(0.5)
    assert watched.seen.empty()


async def test_a_directory_that_cannot_be_listed_does_not_end_the_watch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainmaster.bot.watching.file_watcher._RETRY_S", 0.05)
    calls = 0
    again = asyncio.Event()

    def list_runs() -> tuple[Path, ...]:
        nonlocal calls
        calls += 1
        if calls > 2:
            again.set()
        raise OSError("dead mount")

    async def nothing(runs: frozenset[Path]) -> None:
        raise AssertionError(runs)

    watching = asyncio.create_task(watch_runs(list_runs, nothing, relist_s=0.05))
    try:
        await asyncio.wait_for(again.wait(), 5)
        assert not watching.done()
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def notes_of(root: Path, enough: int, *, relist_s: float = 0.05) -> list[str | None]:
    """What a watch notes of itself, until it has noted so much."""
    notes: list[str | None] = []
    heard = asyncio.Event()

    def note(fault: str | None) -> None:
        notes.append(fault)
        if len(notes) >= enough:
            heard.set()

    async def changed(runs: frozenset[Path]) -> None:
        await asyncio.sleep(0)

    watching = asyncio.create_task(watch_runs(lambda: find_runs(root), changed, note=note, relist_s=relist_s))
    try:
        await asyncio.wait_for(heard.wait(), 10)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    return notes


class PanicError(BaseException):
    pass


@pytest.mark.parametrize(
    "error", [OSError(28, "inotify watch limit reached"), ValueError("path"), PanicError("rust")], ids=repr
)
async def test_a_watch_that_can_never_be_set_up_notes_faults_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    monkeypatch.setattr("trainmaster.bot.watching.file_watcher._RETRY_S", 0.02)

    async def refuse(*paths: Path, **how: object) -> AsyncIterator[set[tuple[int, str]]]:
        raise error
        yield set()

    monkeypatch.setattr("trainmaster.bot.watching.file_watcher.awatch", refuse)
    WrittenRun(tmp_path).event("notice", 1, text="x")
    notes = await notes_of(tmp_path, 4)
    assert None not in notes
    assert str(error) in (notes[0] or "")


async def test_a_watch_that_works_notes_it_after_its_first_look(tmp_path: Path) -> None:
    WrittenRun(tmp_path).event("notice", 1, text="x")
    assert await notes_of(tmp_path, 1) == [None]


async def test_a_look_that_fails_is_no_success(tmp_path: Path) -> None:
    WrittenRun(tmp_path).event("notice", 1, text="x")
    notes: list[str | None] = []
    heard = asyncio.Event()

    def note(fault: str | None) -> None:
        notes.append(fault)
        heard.set()

    async def changed(runs: frozenset[Path]) -> None:
        raise ValueError("a view that can't be folded")

    watching = asyncio.create_task(watch_runs(lambda: find_runs(tmp_path), changed, note=note))
    try:
        await asyncio.wait_for(heard.wait(), 10)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    assert notes == ["ValueError: a view that can't be folded"]


async def test_a_folder_whose_name_is_no_utf8_costs_the_others_nothing(watched: Watched) -> None:
    odd = WrittenRun(watched.root, os.fsdecode(b"odd-\xff"))
    odd.event("notice", 1, text="x")
    plain = WrittenRun(watched.root, "plain")
    plain.event("notice", 1, text="x")
    assert await watched.next() == plain.layout.root
    await asyncio.sleep(0.3)
    plain.event("notice", 2, text="y")
    assert await watched.next() == plain.layout.root
