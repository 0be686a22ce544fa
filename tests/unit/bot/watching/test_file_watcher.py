from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.run_dirs import WrittenRun
from trainmaster.bot.reading.run_files import find_runs
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
    assert {await watched.next(), await watched.next()} == {first.layout.root, second.layout.root}


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
