"""What may never answer is asked once at a time, and who asks meanwhile is no worse off."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from tests.unit.bot.drivers.test_start_gate import Place, cards
from trainmaster.bot.core.decisions.gate import closed
from trainmaster.bot.drivers.patience import Patient
from trainmaster.bot.drivers.start_gate import LocalStartGate


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


async def test_runs_that_are_to_be_started_at_once_do_not_stand_in_each_others_way(tmp_path: Path) -> None:
    """As after a power cut: they share a data set, a disk and a driver, none of which hangs."""
    place, at_once = Place(tmp_path), [0]

    async def difference(_directory: Path) -> str:
        at_once.append(at_once[-1] + 1)
        await asyncio.sleep(0.001)
        at_once.append(at_once[-1] - 1)
        return ""

    place.gate = LocalStartGate(
        host=place._look, holders=place.holders, devices=place.folder / "dev", difference=difference
    )  # type: ignore[arg-type]
    place.host = cards({}, {})
    looks = await asyncio.gather(*(place.gate.look(place.view(device="0")) for _ in range(40)))
    assert [closed(facts) for facts in looks] == [()] * 40
    assert max(at_once) == 4, "a process each, and what all of them take together is not told as a disk that hangs"
