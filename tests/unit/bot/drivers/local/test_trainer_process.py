"""Which processes are trainers of a run, on real processes."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.support.run_dirs import START_TS, WrittenRun
from trainmaster.bot.core.run.facts import ProcessIdentity, RunRecord
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.drivers.local import trainer_process
from trainmaster.bot.drivers.local.driver import LocalDriver
from trainmaster.bot.drivers.local.trainer_process import TrainerProcesses, own_family
from trainmaster.bot.errors import DriverError
from trainmaster.trainer.contract import RUN_VARIABLE, boot_id, read_json

WAITS = "import time; print('up', flush=True); time.sleep(60)"
HOLDS = """
import fcntl, os, sys, time
descriptor = os.open(sys.stdin.readline().strip(), os.O_RDWR | os.O_CREAT)
fcntl.flock(descriptor, fcntl.LOCK_EX)
print("up", flush=True)
time.sleep(60)
"""


@contextmanager
def running(*argv: str, env: dict[str, str] | None = None, says: str = "") -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **(env or {})}
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{says}\n")
    process.stdin.flush()
    if argv[0] == sys.executable:
        assert process.stdout.readline() == "up\n"
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def view_of(run: WrittenRun, pid: int, **record: object) -> RunView:
    run.record(pid=pid, **record)
    parsed = RunRecord.parse(read_json(run.layout.run_json) or {})
    return RunView(directory=run.layout.root, name="digits", ts=START_TS, first_seen_ts=START_TS, record=parsed)


def test_process_that_holds_the_lock_of_the_run_is_its_trainer(tmp_path: Path) -> None:
    run = WrittenRun(tmp_path)
    with running(sys.executable, "-c", HOLDS, says=str(run.layout.lock)) as process:
        assert TrainerProcesses().fault(view_of(run, process.pid)) == ""


def test_trainer_of_another_run_is_none_of_this(tmp_path: Path) -> None:
    run, other = WrittenRun(tmp_path), WrittenRun(tmp_path, "other")
    with running(sys.executable, "-c", HOLDS, str(run.layout.root), says=str(other.layout.lock)) as process:
        assert f"is the trainer of {other.layout.root}" in TrainerProcesses().fault(view_of(run, process.pid))


@pytest.mark.parametrize("how", ["mark", "path", "option", "project and name", "arguments"])
def test_mark_or_command_line_shows_a_trainer_without_a_lock(tmp_path: Path, how: str) -> None:
    run = WrittenRun(tmp_path)
    root = run.layout.root
    words = {
        "path": [str(root)],
        "option": [f"save_dir={root}"],
        "project and name": [f"project={root.parent}", f"name={root.name}"],
        "arguments": ["train.py", "epochs=4"],
    }.get(how, [])
    env = {RUN_VARIABLE: str(root)} if how == "mark" else {}
    argv = ["train.py", "epochs=4"] if how == "arguments" else ["another.py"]
    with running(sys.executable, "-c", WAITS, *words, env=env) as process:
        assert TrainerProcesses().fault(view_of(run, process.pid, argv=argv)) == ""


@pytest.mark.parametrize("argv", [("sleep", "60"), ("sleep", "61")], ids=["any", "as recorded"])
def test_process_without_any_evidence_is_no_trainer(tmp_path: Path, argv: tuple[str, ...]) -> None:
    run = WrittenRun(tmp_path)
    with running(*argv) as process:
        why = TrainerProcesses().fault(view_of(run, process.pid, argv=["sleep", "61"]))
        assert "is no trainer of this run (sleep" in why


@pytest.mark.parametrize(
    "argv",
    [
        *(("tail", "-f", "/dev/null", "{}"), ("sh", "-c", "sleep 60; true", "{}"), ("vim", "{}"), ("du", "-sh", "{}")),
        *(("python3", "-m", "http.server", "--directory", "{}"), ("python3", "-X", "utf8", "-m", "shutil", "{}")),
        *(("python3", "/opt/bin/tensorboard", "--logdir={}"), ("python3", "-m", "tensorboard.main", "--logdir={}")),
        *(("python3", "/usr/bin/jupyter-lab", "{}"), ("python3", "/usr/bin/trainmaster", "watch", "{}")),
        *(("python3", "-P", "-m", "trainmaster.trainer", "verify", "{}"), ("python3", "-m", "trainmaster.bot", "run")),
        *(("python3",), ()),
    ],
    ids=" ".join,
)
def test_what_only_looks_at_a_run_may_name_it(argv: tuple[str, ...]) -> None:
    assert not trainer_process._may_train([word.format("/runs/night") for word in argv])


@pytest.mark.parametrize(
    "argv",
    [
        *(("python3", "train.py", "--save-dir", "{}"), ("/opt/conda/bin/python3.11", "-u", "/home/ann/my.py", "{}")),
        *(("python3", "-P", "-m", "trainmaster.trainer", "resume", "{}"), ("python3", "/v/bin/trainmaster", "train")),
        *(("python3", "/usr/bin/yolo", "train", "save_dir={}"), ("python3", "-m", "lab.train", "{}")),
    ],
    ids=" ".join,
)
def test_what_trains_is_known_by_how_it_was_started(argv: tuple[str, ...]) -> None:
    assert trainer_process._may_train([word.format("/runs/night") for word in argv])


def test_a_viewer_of_the_run_is_left_alone(tmp_path: Path) -> None:
    run = WrittenRun(tmp_path)
    with running("tail", "-f", "/dev/null", str(run.layout.root)) as process:
        assert "is no trainer of this run (tail" in TrainerProcesses().fault(view_of(run, process.pid))


@pytest.mark.parametrize("pid", [1, os.getpid(), os.getppid()], ids=["first", "own", "parent"])
def test_bot_and_what_it_runs_under_are_never_trainers(tmp_path: Path, pid: int) -> None:
    run = WrittenRun(tmp_path)
    assert "the bot's own" in TrainerProcesses().fault(view_of(run, pid, argv=["sleep"]))


def test_process_that_ended_needs_no_evidence(tmp_path: Path) -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    assert TrainerProcesses().fault(view_of(WrittenRun(tmp_path), process.pid)) == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process of somebody else")
def test_process_of_another_user_is_no_trainer_of_the_bots(tmp_path: Path) -> None:
    run = WrittenRun(tmp_path)
    python = shutil.which("python3", path="/usr/bin:/bin") or sys.executable
    process = subprocess.Popen([python, "-c", WAITS, str(run.layout.root)], user=4242, stdout=subprocess.DEVNULL)
    try:
        view = view_of(run, process.pid)
        assert "runs as uid 4242" in TrainerProcesses().fault(view)
        assert TrainerProcesses(check_user=False).fault(view) == ""
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("group", [False, True], ids=["alone", "group"])
@pytest.mark.parametrize("pid", [1, os.getpid(), os.getppid()], ids=["first", "own", "parent"])
def test_driver_signals_neither_itself_nor_its_parents(tmp_path: Path, pid: int, group: bool) -> None:
    started = psutil.Process(pid).create_time()
    identity = ProcessIdentity(pid=pid, create_time=started, host=os.uname().nodename, boot_id=boot_id())
    with pytest.raises(DriverError, match="not signalled"):
        LocalDriver(tmp_path).signal(identity, 0, group=group)


def test_survivors_never_hold_the_bot_or_its_parents(tmp_path: Path) -> None:
    driver = LocalDriver(tmp_path)
    for pid in own_family() - {0}:
        identity = driver.identify(pid)
        if identity is not None:
            assert not own_family() & {one.pid for one in driver.survivors(identity)}


def test_lock_that_somebody_else_holds_is_no_evidence(tmp_path: Path) -> None:
    run = WrittenRun(tmp_path)
    with run.layout.lock.open("w") as lock, running("sleep", "60") as process:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "no trainer" in TrainerProcesses().fault(view_of(run, process.pid))


def test_the_own_family_is_not_looked_up_for_every_run(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    parents = psutil.Process.parents

    def count(self: psutil.Process) -> list[psutil.Process]:
        asked.append(self.pid)
        return parents(self)

    monkeypatch.setattr(psutil.Process, "parents", count)
    families = {own_family() for _ in range(200)}
    assert os.getppid() in next(iter(families))
    assert len(asked) <= 2  # half a minute may just have ended


def test_what_could_not_be_looked_up_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: psutil.Process) -> list[psutil.Process]:
        raise psutil.AccessDenied(self.pid)

    trainer_process._ancestors.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(psutil.Process, "parents", refuse)
        assert own_family() == {0, 1, os.getpid()}
    assert os.getppid() in own_family()
