from __future__ import annotations

import asyncio
import logging
import time

import pytest

from trainmaster.bot.service.schedule import Schedule


async def test_work_is_repeated() -> None:
    done = asyncio.Event()
    times = 0

    async def work() -> None:
        nonlocal times
        times += 1
        if times == 3:
            done.set()

    schedule = Schedule(lambda name, fault: None)
    schedule.every(0.02, "work", work, timeout_s=5)
    schedule.start()
    try:
        await asyncio.wait_for(done.wait(), 5)
    finally:
        schedule.stop()


async def test_a_job_that_hangs_is_cancelled_told_and_repeated() -> None:
    notes: list[tuple[str, str | None]] = []
    cancelled = asyncio.Event()
    second = asyncio.Event()
    times = 0

    async def hang() -> None:
        nonlocal times
        times += 1
        if times > 1:
            second.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    schedule = Schedule(lambda name, fault: notes.append((name, fault)))
    schedule.every(0.02, "hanging", hang, timeout_s=0.05)
    schedule.start()
    try:
        await asyncio.wait_for(second.wait(), 5)
    finally:
        schedule.stop()
    assert cancelled.is_set()
    assert ("hanging", "TimeoutError: it did not end within 0.05 s and was cancelled") in notes


async def test_a_job_that_fails_is_told_and_does_not_stop_the_others() -> None:
    faults: list[str] = []
    healthy = asyncio.Event()

    def note(name: str, fault: str | None) -> None:
        if fault is not None:
            faults.append(f"{name}: {fault}")
        elif name == "healthy" and faults:
            healthy.set()

    async def fail() -> None:
        raise ValueError("no such disk")

    async def work() -> None:
        pass

    schedule = Schedule(note)
    schedule.every(0.02, "failing", fail, timeout_s=5)
    schedule.every(0.02, "healthy", work, timeout_s=5)
    schedule.start()
    try:
        await asyncio.wait_for(healthy.wait(), 5)
    finally:
        schedule.stop()
    assert set(faults) == {"failing: ValueError: no such disk"}


async def test_a_job_that_comes_late_again_and_again_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainmaster.bot.service.schedule._LATE_S", 0.2)
    notes: list[str | None] = []
    late = asyncio.Event()

    def note(name: str, fault: str | None) -> None:
        notes.append(fault)
        if len(notes) == 3:
            late.set()

    async def work() -> None:
        time.sleep(0.4)  # noqa: ASYNC251 - the loop is busy for that long

    schedule = Schedule(note)
    schedule.every(0.05, "late", work, timeout_s=5)
    schedule.start()
    try:
        await asyncio.wait_for(late.wait(), 10)
    finally:
        schedule.stop()
    assert notes[0] is None
    assert all(fault and "it is due every 0.05 s" in fault for fault in notes[1:])


async def test_a_job_that_is_due_again_while_it_runs_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    schedule = Schedule(lambda name, fault: None)
    schedule.every(0.01, "slow", lambda: asyncio.sleep(0.2), timeout_s=5)
    schedule.start()
    await asyncio.sleep(0.1)
    schedule.stop()
    assert [row.getMessage() for row in caplog.records if row.levelno >= logging.WARNING] == []


async def test_work_that_a_stop_cancels_is_no_trouble(caplog: pytest.LogCaptureFixture) -> None:
    begun = asyncio.Event()
    cancelled = asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            cancelled.set()

    notes: list[tuple[str, str | None]] = []
    schedule = Schedule(lambda name, fault: notes.append((name, fault)))
    schedule.every(0.02, "work", work, timeout_s=5)
    schedule.start()
    await asyncio.wait_for(begun.wait(), 5)
    schedule.stop()
    await asyncio.wait_for(cancelled.wait(), 5)
    await asyncio.sleep(0.01)  # what is told of the task is told after its end
    assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert notes == []


async def test_work_may_be_due_before_its_first_interval_is_over() -> None:
    ran = asyncio.Event()

    async def work() -> None:
        ran.set()

    schedule = Schedule(lambda name, fault: None)
    schedule.every(3600.0, "purge", work, timeout_s=5, first_s=0.02)
    schedule.start()
    try:
        await asyncio.wait_for(ran.wait(), 5)
    finally:
        schedule.stop()
