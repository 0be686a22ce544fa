from __future__ import annotations

import asyncio

from bot.schedule import Schedule


async def test_work_is_repeated() -> None:
    done = asyncio.Event()
    times = 0

    async def work() -> None:
        nonlocal times
        times += 1
        if times == 3:
            done.set()

    schedule = Schedule(lambda text: None)
    schedule.every(0.02, "work", work, timeout_s=5)
    schedule.start()
    try:
        await asyncio.wait_for(done.wait(), 5)
    finally:
        schedule.stop()


async def test_a_job_that_hangs_is_cancelled_told_and_repeated() -> None:
    troubles: list[str] = []
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

    schedule = Schedule(troubles.append)
    schedule.every(0.02, "hanging", hang, timeout_s=0.05)
    schedule.start()
    try:
        await asyncio.wait_for(second.wait(), 5)
    finally:
        schedule.stop()
    assert cancelled.is_set()
    assert "hanging did not end within 0.05 s" in troubles


async def test_a_job_that_fails_is_told_and_does_not_stop_the_others() -> None:
    troubles: list[str] = []
    healthy = asyncio.Event()

    async def fail() -> None:
        raise ValueError

    async def work() -> None:
        if troubles:
            healthy.set()

    schedule = Schedule(troubles.append)
    schedule.every(0.02, "failing", fail, timeout_s=5)
    schedule.every(0.02, "healthy", work, timeout_s=5)
    schedule.start()
    try:
        await asyncio.wait_for(healthy.wait(), 5)
    finally:
        schedule.stop()
    assert "failing failed" in troubles
