from __future__ import annotations

import gc
import os
import signal
import weakref

import pytest

from tests.support.clocks import SetClock
from trainmaster.trainer.contract import ExitCode, RunRecordState
from trainmaster.trainer.stop import GaveUp, StopRequested, StopSwitch


def test_a_signal_is_a_request_until_the_next_check() -> None:
    told: list[str] = []
    switch = StopSwitch(on_request=told.append, on_second=told.append)
    with switch.installed():
        switch.check()
        os.kill(os.getpid(), signal.SIGTERM)
        assert told == ["SIGTERM"]
        with pytest.raises(StopRequested) as end:
            switch.check()
    assert (end.value.code, end.value.state) == (ExitCode.STOPPED, RunRecordState.STOPPED)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_where_nothing_is_in_work_a_signal_ends_it_at_once() -> None:
    switch = StopSwitch(on_request=lambda _: None, on_second=lambda _: None)
    passed = False
    with switch.installed(), pytest.raises(StopRequested), switch.interruptible():
        passed = wait_for(signal.SIGINT)
    assert not passed


def wait_for(number: int) -> bool:
    os.kill(os.getpid(), number)
    return True


@pytest.mark.parametrize(
    ("hung_up", "told"), [(signal.SIG_DFL, ["SIGHUP"]), (signal.SIG_IGN, [])], ids=["a terminal", "nohup"]
)
def test_a_closed_terminal_asks_once_however_often_it_says_so(hung_up: signal.Handlers, told: list[str]) -> None:
    said: list[str] = []
    switch = StopSwitch(on_request=said.append, on_second=lambda _: pytest.fail("ended without saving"))
    before = signal.signal(signal.SIGHUP, hung_up)
    try:
        with switch.installed():
            os.kill(os.getpid(), signal.SIGHUP)  # by the shell
            os.kill(os.getpid(), signal.SIGHUP)  # by the kernel
    finally:
        signal.signal(signal.SIGHUP, before)
    assert said == told


@pytest.mark.parametrize(("after_s", "told"), [(4.0, []), (6.0, ["SIGTERM"])], ids=["at once", "later"])
def test_what_reaches_a_rank_from_several_senders_is_one_request(
    monkeypatch: pytest.MonkeyPatch, after_s: float, told: list[str]
) -> None:
    """A cluster signals every process of a job, and their launcher passes on what it gets."""
    said: list[str] = []
    clock = SetClock()
    switch = StopSwitch(on_request=lambda _: None, on_second=said.append, one_request_s=5.0, monotonic=clock)
    monkeypatch.setattr(os, "_exit", lambda _: None)
    with switch.installed():
        os.kill(os.getpid(), signal.SIGTERM)
        clock.pass_s(after_s)
        os.kill(os.getpid(), signal.SIGTERM)
    assert said == told


def test_a_pending_request_ends_a_wait_before_it_begins() -> None:
    switch = StopSwitch(on_request=lambda _: None, on_second=lambda _: None)
    with switch.installed():
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(StopRequested):
            switch.interruptible().__enter__()


def test_signal_that_is_passed_on_to_who_got_it_is_one_request_and_a_later_one_ends() -> None:
    """By a container's starter, say, as it reached the whole process group."""
    said: list[str] = []
    clock = SetClock()

    def leave(name: str) -> None:
        said.append(f"{name} again")
        raise TimeoutError  # before the process ends

    switch = StopSwitch(on_request=said.append, on_second=leave, monotonic=clock)
    with switch.installed():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert said == ["SIGTERM"]
        clock.pass_s(1.5)
        with pytest.raises(TimeoutError):
            os.kill(os.getpid(), signal.SIGTERM)
    assert said == ["SIGTERM", "SIGTERM again"]


def test_a_training_that_is_over_is_let_go() -> None:
    """A loop over folds would keep every fold's model and optimizer on the device."""
    switch = StopSwitch(on_request=lambda _: None, on_second=lambda _: None)
    with switch.installed():
        pass
    held = weakref.ref(switch)
    del switch
    gc.collect()
    assert held() is None


def test_giving_up_carries_its_exit_code() -> None:
    assert (GaveUp("why").code, GaveUp("why").why, GaveUp("why").state) == (4, "why", RunRecordState.GAVE_UP)
