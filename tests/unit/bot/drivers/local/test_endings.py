"""What is known of a trainer that is over: its signal, what outlived it, and whether memory ran out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.bot.drivers.conftest import wait_until
from trainmaster.bot.core.run.facts import OomEvidence, ProcessIdentity, ProcessStatus
from trainmaster.bot.drivers.local import families, out_of_memory
from trainmaster.bot.drivers.local.driver import LocalDriver
from trainmaster.bot.drivers.local.out_of_memory import OomWitness
from trainmaster.bot.drivers.local.proc_stat import catches, read_stat

EXIT = {"x86_64": 60, "aarch64": 93}
"""Of Linux, of one thread."""
PARENT = """
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
print(child.pid, flush=True)
input()
"""
"""A trainer with a worker in a session of its own, so that only parenthood tells whose it is."""


@pytest.fixture
def trainer() -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    yield parent, worker
    parent.kill()
    parent.communicate()


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look reads anew."""
    monkeypatch.setattr(families, "_TABLE_AGE_S", 0.0)
    monkeypatch.setattr(families, "_NOTE_EVERY_S", 0.0)
    monkeypatch.setattr(out_of_memory, "_NOTE_EVERY_S", 0.0)


def _identity(driver: LocalDriver, pid: int) -> ProcessIdentity:
    process = driver.identify(pid)
    assert process is not None
    return process


def test_a_worker_that_outlives_its_trainer_is_an_orphan_until_it_ends(
    driver: LocalDriver, trainer: tuple[subprocess.Popen[bytes], int]
) -> None:
    parent, worker = trainer
    process = _identity(driver, parent.pid)
    assert driver.inspect(process).children == 1
    os.kill(worker, signal.SIGSTOP)  # so that it can't notice that its input has ended
    parent.kill()
    parent.wait(10)
    assert driver.inspect(process).orphans == (worker,)
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: driver.inspect(process).orphans == ())


def test_a_worker_that_ends_with_its_trainer_is_none(
    driver: LocalDriver, trainer: tuple[subprocess.Popen[bytes], int]
) -> None:
    parent, _ = trainer
    process = _identity(driver, parent.pid)
    driver.inspect(process)
    parent.kill()
    parent.wait(10)
    wait_until(lambda: driver.inspect(process).orphans == ())


def test_whoever_got_the_pid_of_a_dead_trainer_has_no_orphans_of_it(
    driver: LocalDriver, trainer: tuple[subprocess.Popen[bytes], int]
) -> None:
    parent, _ = trainer
    process = _identity(driver, parent.pid)
    assert process.create_time is not None
    fact = driver.inspect(replace(process, create_time=process.create_time - 3600))
    assert (fact.status, fact.orphans) == (ProcessStatus.REPLACED, ())


def test_the_signal_of_a_zombie_is_known(driver: LocalDriver, stranger: subprocess.Popen[bytes]) -> None:
    process = _identity(driver, stranger.pid)
    stranger.kill()
    wait_until(lambda: driver.inspect(process).status is ProcessStatus.ZOMBIE)
    assert driver.inspect(process).signal == signal.SIGKILL


def test_memory_of_the_last_look_stays_known(driver: LocalDriver, stranger: subprocess.Popen[bytes]) -> None:
    process = _identity(driver, stranger.pid)
    alive = driver.inspect(process).rss_gib
    stranger.kill()
    stranger.wait(10)
    assert alive is not None
    assert driver.inspect(process).rss_gib == alive > 0


def test_a_stopped_process_is_told_as_stopped(driver: LocalDriver, stranger: subprocess.Popen[bytes]) -> None:
    process = _identity(driver, stranger.pid)
    stranger.send_signal(signal.SIGSTOP)
    wait_until(lambda: "SIGSTOP" in driver.inspect(process).detail)


PROCESS = ProcessIdentity(pid=7, create_time=1.0, host="here")


class Kernel:
    """Counters as a kernel shows them."""

    def __init__(self, root: Path) -> None:
        self.proc, self.cgroups = root / "proc", root / "cgroup"
        (self.proc / "7").mkdir(parents=True)
        (self.proc / "7" / "cgroup").write_text("0::/user.slice/job\n")
        self.group = self.cgroups / "user.slice" / "job" / "memory.events"
        self.group.parent.mkdir(parents=True)
        self.count(group=2, host=5)

    def count(self, *, group: int, host: int) -> None:
        self.group.write_text(f"low 0\noom 9\noom_kill {group}\n")
        (self.proc / "vmstat").write_text(f"nr_free_pages 1\noom_kill {host}\n")

    def witness(self) -> OomWitness:
        return OomWitness(self.proc, self.cgroups)


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path)


@pytest.mark.parametrize(
    ("group", "host", "evidence"),
    [
        pytest.param(3, 6, OomEvidence.OWN_GROUP, id="in its own group"),
        pytest.param(2, 6, OomEvidence.HOST, id="somewhere on the host"),
        pytest.param(2, 5, OomEvidence.NONE, id="nowhere"),
    ],
)
def test_the_kernels_counters_tell_an_out_of_memory_kill(
    kernel: Kernel, group: int, host: int, evidence: OomEvidence
) -> None:
    witness = kernel.witness()
    witness.note(PROCESS)
    kernel.count(group=group, host=host)
    assert witness.evidence(PROCESS) is evidence


def test_a_kill_before_the_last_look_at_the_living_process_was_not_its_own(kernel: Kernel) -> None:
    witness = kernel.witness()
    witness.note(PROCESS)
    kernel.count(group=3, host=6)
    witness.note(PROCESS)
    assert witness.evidence(PROCESS) is OomEvidence.NONE


def test_a_kill_long_after_the_death_changes_no_verdict(kernel: Kernel) -> None:
    witness = kernel.witness()
    witness.note(PROCESS)
    assert witness.evidence(PROCESS) is OomEvidence.NONE
    kernel.count(group=9, host=9)
    assert witness.evidence(PROCESS) is OomEvidence.NONE


def test_a_group_that_went_with_its_process_leaves_the_hosts_word(kernel: Kernel) -> None:
    witness = kernel.witness()
    witness.note(PROCESS)
    kernel.count(group=3, host=6)
    kernel.group.unlink()
    assert witness.evidence(PROCESS) is OomEvidence.HOST


def test_the_first_version_of_control_groups_is_read_too(kernel: Kernel) -> None:
    (kernel.proc / "7" / "cgroup").write_text("5:memory:/job\n1:name=systemd:/\n")
    control = kernel.cgroups / "memory" / "job" / "memory.oom_control"
    control.parent.mkdir(parents=True)
    control.write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 0\n")
    witness = kernel.witness()
    witness.note(PROCESS)
    control.write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n")
    assert witness.evidence(PROCESS) is OomEvidence.OWN_GROUP


def test_without_a_look_at_the_living_process_nothing_is_known(kernel: Kernel) -> None:
    assert kernel.witness().evidence(PROCESS) is OomEvidence.UNKNOWN


def test_a_kernel_without_counters_tells_nothing(tmp_path: Path) -> None:
    witness = OomWitness(tmp_path, tmp_path)
    witness.note(PROCESS)
    assert witness.evidence(PROCESS) is OomEvidence.UNKNOWN


def test_a_name_with_brackets_and_blanks_is_read(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    numbers = " ".join(str(number) for number in range(4, 53))
    (tmp_path / "7" / "stat").write_text(f"7 (a) b (c)) S {numbers}")
    stat = read_stat(7, tmp_path)
    assert stat is not None
    assert (stat.name, stat.state, stat.parent, stat.group, stat.wait_status) == ("a) b (c)", "S", 4, 5, 52)


ONE_THREAD_GOES_ON = """
import ctypes, threading
threading.Thread(target=input).start()
print(flush=True)
ctypes.CDLL(None).syscall({exit})
"""


@pytest.mark.skipif(os.uname().machine not in EXIT, reason="the number of exit(2) is not known")
def test_a_zombie_of_which_a_thread_goes_on_is_no_end(driver: LocalDriver) -> None:
    """As what was killed while the driver of its card holds a thread: it has the card's memory and the run's lock."""
    program = ONE_THREAD_GOES_ON.format(exit=EXIT[os.uname().machine])
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        known = _identity(driver, process.pid)
        wait_until(lambda: "a thread" in driver.inspect(known).detail)
        assert driver.inspect(known).status is ProcessStatus.ALIVE
        assert driver.signal(known, signal.SIGKILL)
        wait_until(lambda: driver.inspect(known).over)


def test_a_process_that_is_not_there_has_no_stat(tmp_path: Path) -> None:
    assert read_stat(7, tmp_path) is None


def test_whether_a_signal_is_caught_is_known() -> None:
    assert not catches(os.getpid(), signal.SIGUSR2)
    previous = signal.signal(signal.SIGUSR2, lambda *_: None)
    try:
        assert catches(os.getpid(), signal.SIGUSR2)
    finally:
        signal.signal(signal.SIGUSR2, previous)
    assert not catches(0, signal.SIGUSR2)
