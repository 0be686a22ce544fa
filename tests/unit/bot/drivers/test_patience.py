"""What may never answer is asked once at a time, and who asks meanwhile is no worse off."""

from __future__ import annotations

import asyncio
import threading

import pytest

from trainmaster.bot.drivers.patience import Patient


class Oracle:
    """Answers with the number of the question, once it may."""

    def __init__(self) -> None:
        self.may_answer = threading.Event()
        self.num_asked = 0
        self.fault: Exception | None = None

    def ask(self) -> int:
        self.num_asked += 1
        number = self.num_asked
        self.may_answer.wait(5)
        if self.fault is not None:
            raise self.fault
        return number


@pytest.fixture
def oracle() -> Oracle:
    return Oracle()


async def test_who_asks_at_the_same_time_gets_the_same_answer(oracle: Oracle) -> None:
    patient = Patient("it", oracle.ask, timeout_s=5.0)
    looks = [asyncio.create_task(patient.look()) for _ in range(20)]
    await asyncio.sleep(0.01)
    oracle.may_answer.set()
    assert await asyncio.gather(*looks) == [1] * 20
    assert await patient.look() == 2


async def test_what_asking_raises_is_raised_for_everybody(oracle: Oracle) -> None:
    patient = Patient("it", oracle.ask, timeout_s=5.0)
    oracle.fault = OSError("it is gone")
    looks = [asyncio.create_task(patient.look()) for _ in range(3)]
    await asyncio.sleep(0.01)
    oracle.may_answer.set()
    assert await asyncio.gather(*looks, return_exceptions=True) == [oracle.fault] * 3


async def test_what_has_not_answered_for_too_long_is_not_asked_again(oracle: Oracle) -> None:
    patient = Patient("it", oracle.ask, timeout_s=0.02)
    with pytest.raises(TimeoutError, match="no answer within"):
        await patient.look()
    with pytest.raises(TimeoutError, match="an earlier question"):
        await patient.look()
    assert oracle.num_asked == 1
    oracle.may_answer.set()
    async with asyncio.timeout(5):
        while oracle.num_asked == 1:
            try:
                assert await patient.look() == 2
            except TimeoutError:
                await asyncio.sleep(0.001)


async def test_host_without_a_thread_to_spare_says_so(oracle: Oracle, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    patient = Patient("it", oracle.ask, timeout_s=5.0)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(OSError, match="can't start new thread"):
            await patient.look()
    oracle.may_answer.set()
    assert await patient.look() == 1
