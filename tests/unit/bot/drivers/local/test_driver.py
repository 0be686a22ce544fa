"""The local driver against real processes."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tests.unit.bot.drivers.conftest import wait_for_text, wait_until
from trainmaster.bot.core.run.facts import ProcessIdentity, ProcessStatus, RunRecord
from trainmaster.bot.core.run.launch_spec import LaunchSpec
from trainmaster.bot.drivers.local import driver as local
from trainmaster.bot.drivers.local.driver import LocalDriver
from trainmaster.bot.drivers.local.launches import KEY_VARIABLE
from trainmaster.bot.errors import DriverError
from trainmaster.trainer.contract import RUN_VARIABLE

Spec = Callable[..., LaunchSpec]

READY = "print('ready', flush=True); "
SLEEP = READY + "import time; time.sleep(600)"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEP
FORKS = "import os; [os.fork() for _ in range(2)]; " + SLEEP
"""Four processes: one child of the first forks again."""


def over(driver: LocalDriver, process: ProcessIdentity) -> Callable[[], bool]:
    return lambda: driver.inspect(process).over


def test_launched_process_is_alive_in_its_own_session_and_writes_to_the_log(driver: LocalDriver, spec: Spec) -> None:
    process = driver.launch(spec(SLEEP))
    wait_for_text(spec(SLEEP).log, "ready")
    assert driver.inspect(process).status is ProcessStatus.ALIVE
    assert os.getsid(process.pid) == process.pid
    assert process.create_time is not None


def test_output_is_appended_to_the_log_of_earlier_attempts(driver: LocalDriver, spec: Spec) -> None:
    spec(SLEEP).log.write_text("attempt 1\n")
    driver.launch(spec("import sys; print('out', flush=True); print('err', file=sys.stderr); " + SLEEP))
    wait_for_text(spec(SLEEP).log, "ready")
    assert spec(SLEEP).log.read_text().split() == ["attempt", "1", "out", "err", "ready"]


@pytest.mark.parametrize(
    ("code", "exit_code", "signum"),
    [
        pytest.param("raise SystemExit(5)", 5, None, id="exit code"),
        pytest.param("import os; os.kill(os.getpid(), 9)", None, 9, id="signal"),
    ],
)
def test_end_of_a_launched_process_is_known_and_leaves_no_zombie(
    driver: LocalDriver, spec: Spec, code: str, exit_code: int | None, signum: int | None
) -> None:
    process = driver.launch(spec(code))
    wait_until(over(driver, process))
    fact = driver.inspect(process)
    assert (fact.status, fact.exit_code, fact.signal) == (ProcessStatus.GONE, exit_code, signum)
    assert not psutil.pid_exists(process.pid)


@pytest.mark.parametrize("pid", [-1, 2**40])
def test_no_process_has_a_number_that_can_t_be(driver: LocalDriver, pid: int) -> None:
    assert driver.identify(pid) is None


@pytest.mark.parametrize("pid", [-1, 0])
def test_a_record_with_such_a_number_names_no_process(pid: int) -> None:
    assert RunRecord.parse({"run": "abc", "pid": pid, "host": "here", "create_time": 1.0}).process is None


def test_zombie_of_somebody_else_is_no_living_process(driver: LocalDriver, stranger: subprocess.Popen[bytes]) -> None:
    process = driver.identify(stranger.pid)
    assert process is not None
    stranger.kill()
    wait_until(lambda: driver.inspect(process).status is ProcessStatus.ZOMBIE)
    assert not driver.signal(process, signal.SIGTERM)


def test_reused_pid_is_another_process_and_gets_no_signal(
    driver: LocalDriver, stranger: subprocess.Popen[bytes]
) -> None:
    process = driver.identify(stranger.pid)
    assert process is not None
    assert process.create_time is not None
    earlier = replace(process, create_time=process.create_time - 3600)
    assert driver.inspect(earlier).status is ProcessStatus.REPLACED
    assert not driver.signal(earlier, signal.SIGKILL)
    assert not driver.signal(earlier, signal.SIGKILL, group=True)
    assert driver.survivors(earlier) == ()
    assert stranger.poll() is None


def test_pid_that_changes_hands_between_look_and_signal_is_spared(
    driver: LocalDriver, stranger: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pidfd is taken first, so what is compared is what would be hit."""
    process = driver.identify(stranger.pid)
    assert process is not None
    order: list[str] = []
    opened, found = os.pidfd_open, driver._find
    monkeypatch.setattr(os, "pidfd_open", lambda pid: order.append("open") or opened(pid))
    monkeypatch.setattr(driver, "_find", lambda one: order.append("compare") or found(one))
    driver.signal(process, 0)
    assert order == ["open", "compare"]


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"host": "elsewhere"}, id="another host"),
        pytest.param({"create_time": None}, id="no start time"),
    ],
)
def test_what_cannot_be_told_is_unknown_and_gets_no_signal(
    driver: LocalDriver, stranger: subprocess.Popen[bytes], changes: dict[str, object]
) -> None:
    process = driver.identify(stranger.pid)
    assert process is not None
    odd = replace(process, **changes)  # type: ignore[arg-type]
    assert driver.inspect(odd).status is ProcessStatus.UNKNOWN
    with pytest.raises(DriverError):
        driver.signal(odd, signal.SIGTERM)
    assert stranger.poll() is None


def test_process_of_an_earlier_boot_is_gone(driver: LocalDriver, stranger: subprocess.Popen[bytes]) -> None:
    process = driver.identify(stranger.pid)
    assert process is not None
    assert driver.inspect(replace(process, boot_id="another")).status is ProcessStatus.GONE


def test_clock_that_was_set_does_not_make_a_living_process_another_one(
    tmp_path: Path, stranger: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = LocalDriver(tmp_path / "launches")
    process = before.identify(stranger.pid)
    assert process is not None
    booted, created = psutil.boot_time(), psutil.Process.create_time
    monkeypatch.setattr(psutil, "boot_time", lambda: booted + 3600)
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: created(self) + 3600)
    assert before.inspect(process).status is ProcessStatus.ALIVE
    after_restart = LocalDriver(tmp_path / "launches")
    assert after_restart.inspect(process).status is ProcessStatus.ALIVE
    assert after_restart.inspect(replace(process, create_time=1.0)).status is ProcessStatus.REPLACED


def test_second_launch_with_the_same_key_finds_the_first_process(driver: LocalDriver, spec: Spec) -> None:
    assert driver.launch(spec(SLEEP)) == driver.launch(spec(SLEEP))


def test_launch_by_a_bot_that_died_is_found_by_its_key(driver: LocalDriver, spec: Spec, tmp_path: Path) -> None:
    process = driver.launch(spec(SLEEP))
    (tmp_path / "launches" / "op-1.json").unlink()
    assert LocalDriver(tmp_path / "launches").launch(spec(SLEEP)) == process


def test_launch_is_repeated_once_the_first_process_and_its_children_are_gone(driver: LocalDriver, spec: Spec) -> None:
    first = driver.launch(spec("raise SystemExit(1)"))
    wait_until(over(driver, first))
    second = driver.launch(spec(SLEEP))
    assert second != first
    assert driver.inspect(second).status is ProcessStatus.ALIVE


def test_launch_whose_process_died_and_left_a_child_is_not_repeated(
    driver: LocalDriver, spec: Spec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(local, "_FIND_TIMEOUT_S", 0.05)
    code = "import os; os.fork() and os._exit(1); open('child', 'w').write(str(os.getpid())); " + SLEEP
    first = driver.launch(spec(code))
    wait_for_text(spec(code).log, "ready")
    wait_until(over(driver, first))
    with pytest.raises(DriverError, match="still runs"):
        driver.launch(spec(code))
    (child,) = driver.survivors(first)
    assert child.pid == int((tmp_path / "child").read_text())
    assert driver.signal(first, signal.SIGKILL, group=True)


@pytest.mark.parametrize(
    "broken", [{"argv": ("/nowhere/python",)}, {"cwd": Path("/nowhere")}], ids=["no such Python", "no such folder"]
)
def test_launch_that_is_impossible_says_so_and_can_be_tried_again(
    driver: LocalDriver, spec: Spec, broken: dict[str, object]
) -> None:
    with pytest.raises(DriverError, match="could not be started"):
        driver.launch(replace(spec(SLEEP), **broken))  # type: ignore[arg-type]
    assert driver.inspect(driver.launch(spec(SLEEP))).status is ProcessStatus.ALIVE


def test_nothing_is_made_on_the_mount_point_of_a_disk_that_is_not_there(
    driver: LocalDriver, spec: Spec, tmp_path: Path
) -> None:
    run = tmp_path / "disk" / "runs" / "night"
    lost = replace(spec(SLEEP), log=run / "guard" / "train.log", env={RUN_VARIABLE: str(run)})
    with pytest.raises(DriverError, match="is not there"):
        driver.launch(lost)
    assert not (tmp_path / "disk").exists()
    run.parent.mkdir(parents=True)
    assert driver.inspect(driver.launch(lost)).status is ProcessStatus.ALIVE


def test_launched_process_knows_its_key_and_none_of_the_tokens(
    driver: LocalDriver, spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLACK_BOT_TOKEN", "xoxb-secret")
    process = driver.launch(spec(SLEEP))
    # Between its exec and the first instruction the kernel shows an empty environment.
    wait_until(lambda: bool(psutil.Process(process.pid).environ()))
    environment = psutil.Process(process.pid).environ()
    assert environment[KEY_VARIABLE].startswith("op-1@")
    assert "SLACK_BOT_TOKEN" not in environment


def test_launch_of_another_bot_with_the_same_key_is_another_launch(
    driver: LocalDriver, spec: Spec, tmp_path: Path
) -> None:
    process = driver.launch(spec(SLEEP))
    other = LocalDriver(tmp_path / "other")
    theirs = other.launch(spec(SLEEP))
    assert theirs != process
    assert driver.survivors(process) == ()
    other.signal(theirs, signal.SIGKILL)
    other._children[theirs].wait(10)


def test_trainer_that_ignores_sigterm_ends_with_sigkill(driver: LocalDriver, spec: Spec) -> None:
    process = driver.launch(spec(DEAF))
    wait_for_text(spec(DEAF).log, "ready")
    assert driver.signal(process, signal.SIGTERM)
    assert driver.inspect(process).status is ProcessStatus.ALIVE
    assert driver.signal(process, signal.SIGKILL)
    wait_until(over(driver, process))


def test_workers_are_survivors_before_and_after_their_leader_is_killed(driver: LocalDriver, spec: Spec) -> None:
    process = driver.launch(spec(FORKS))
    wait_until(lambda: spec(FORKS).log.exists() and spec(FORKS).log.read_text().count("ready") == 4)
    before = driver.survivors(process)
    assert len(before) == 3
    driver.signal(process, signal.SIGKILL)
    wait_until(over(driver, process))
    assert driver.survivors(process) == before
    assert driver.signal(process, signal.SIGKILL, group=True)
    wait_until(lambda: driver.survivors(process) == ())


def test_worker_that_left_the_session_is_still_found(driver: LocalDriver, spec: Spec) -> None:
    code = "import os; os.fork() or os.setsid(); " + SLEEP
    process = driver.launch(spec(code))
    wait_until(lambda: spec(code).log.exists() and spec(code).log.read_text().count("ready") == 2)
    driver.signal(process, signal.SIGKILL)
    wait_until(over(driver, process))
    (child,) = driver.survivors(process)
    driver.signal(child, signal.SIGKILL)
    wait_until(lambda: driver.survivors(process) == ())


def test_neighbours_in_the_same_session_are_not_the_trainer_s(driver: LocalDriver) -> None:
    """A trainer that a shell script started leads no session: what else the script runs is none of its own."""
    neighbours = [subprocess.Popen(["sleep", "600"]) for _ in range(2)]
    try:
        process = driver.identify(neighbours[0].pid)
        assert process is not None
        assert driver.survivors(process) == ()
    finally:
        for neighbour in neighbours:
            neighbour.kill()
            neighbour.communicate()


def test_load_is_told_from_the_second_look_on(driver: LocalDriver, spec: Spec) -> None:
    process = driver.launch(spec(SLEEP))
    assert driver.inspect(process).cpu_pct is None
    assert driver.inspect(process).cpu_pct is not None
    wait_until(lambda: bool(driver.inspect(process).rss_gib))  # on a busy machine it may not have begun
