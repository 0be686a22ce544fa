"""A part that goes wrong is a row, and nothing of it is left."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.selfcheck import __main__ as selfcheck_main
from trainmaster.trainer.selfcheck import disks, runner
from trainmaster.trainer.selfcheck.report import PREFIX, Status
from trainmaster.trainer.selfcheck.runner import Part, run

ROW = PREFIX + '{"part": "A part", "name": "one", "status": "ok", "value": "", "limit": "", "detail": ""}'


@pytest.fixture
def scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The parts run what the test writes into ``scripted.py``; their folders are made below ``tmp``."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(runner, "MODULE", "scripted")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path / "scripted.py"


def found(timeout_s: float = 30.0) -> list[tuple[str, Status]]:
    rows = run(None, lambda _: None, (Part(name="part", title="A part", timeout_s=timeout_s),))
    return [(row.name, row.status) for row in rows]


def test_rows_are_taken_from_between_what_libraries_print(scripted: Path) -> None:
    scripted.write_text(f"print('hello'); print({ROW!r}); print('bye')")
    assert found() == [("one", Status.OK)]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (f"print({ROW!r}, flush=True); raise SystemExit('disk on fire')", ["one", "ended in order"]),
        ("pass", ["ended in order"]),
        ("import os; os.kill(os.getpid(), 9)", ["ended in order"]),
        ("import nowhere", ["ended in order"]),
    ],
    ids=["failed half way", "said nothing", "killed", "not importable"],
)
def test_a_part_that_ends_badly_has_failed(scripted: Path, text: str, names: list[str]) -> None:
    scripted.write_text(text)
    rows = found()
    assert [name for name, _ in rows] == names
    assert rows[-1][1] is Status.FAILED


def test_a_part_that_hangs_is_ended_with_its_children(scripted: Path) -> None:
    pids = scripted.with_name("pids")
    scripted.write_text(
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        "time.sleep(600)\n"
    )
    assert found(timeout_s=5.0) == [("in time", Status.FAILED)]
    for pid in map(int, pids.read_text().split()):
        deadline = time.monotonic() + 10
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_nothing_is_left_on_disk(scripted: Path) -> None:
    scripted.write_text(f"import tempfile; tempfile.mkdtemp(); open('here', 'w').write('x'); print({ROW!r})")
    found()
    assert os.listdir(scripted.with_name("tmp")) == []  # noqa: PTH208 - names are enough


@pytest.mark.parametrize(
    ("device", "all_of", "first"),
    [
        (None, [], None),
        ("0", ["0"], "0"),
        ("cpu", ["cpu"], "cpu"),
        ("0,1", ["0", "1"], "0"),
        ("[2, 3]", ["2", "3"], "2"),
        ("cuda:1,0", ["1", "0"], "1"),
        ("cuda:0,cuda:1", ["0", "1"], "0"),
    ],
)
def test_a_part_that_looks_at_one_trainer_gets_the_first_of_several_devices(
    scripted: Path, device: str | None, all_of: list[str], first: str | None
) -> None:
    assert (runner.all_of(device), runner.first_of(device)) == (all_of, first)


@pytest.mark.parametrize(("of_one", "given"), [(True, "0"), (False, "0,1")])
def test_a_part_is_given_the_devices_that_it_is_for(scripted: Path, of_one: bool, given: str) -> None:
    row = ROW.replace('"value": ""', '"value": "\' + sys.argv[3] + \'"')
    scripted.write_text(f"import sys; print('{row}')")
    (found_row,) = run("0,1", lambda _: None, (Part(name="part", title="A part", timeout_s=30, of_one=of_one),))
    assert found_row.value == given


@pytest.mark.parametrize(
    ("free_gib", "chosen"), [((1.0, 1.0), 0), ((0.1, 1.0), 1), ((0.1, 0.1), None)], ids=["there", "small", "nowhere"]
)
def test_own_files_go_where_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_gib: tuple[float, float], chosen: int | None
) -> None:
    places = tmp_path / "tmp", tmp_path / "here"
    for place in places:
        place.mkdir()
    usage = shutil.disk_usage(tmp_path)
    free = dict(zip(places, free_gib, strict=True))
    monkeypatch.setattr(tempfile, "tempdir", str(places[0]))
    monkeypatch.chdir(places[1])
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage._replace(free=int(free[place] * 2**30)))
    if chosen is None:
        with pytest.raises(disks.NoRoomError, match=r"needs 0\.5 GiB .*tmp has 0\.10 GiB; .*here has"):
            disks.own_folder()
    else:
        assert disks.own_folder() == places[chosen]


def test_one_folder_without_room_is_named_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(disks.NoRoomError) as refused:
        disks.own_folder()
    assert str(refused.value).count(str(tmp_path)) == 1


def test_a_folder_that_ultralytics_can_t_read_from_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "o'clock").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "o'clock"))
    monkeypatch.chdir(tmp_path)
    assert disks.own_folder() == tmp_path


def test_where_a_person_would_train_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Ultralytics").mkdir()
    (tmp_path / "Ultralytics" / "settings.json").write_text('{"runs_dir": "/far/runs"}')
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("RUNS_DIR", "/bot/runs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(disks.PLACES_VARIABLE, disks.exported())
    monkeypatch.chdir("/")  # as a part does
    assert disks.inherited() == {
        "the current folder": tmp_path,
        "RUNS_DIR": Path("/bot/runs"),
        "Ultralytics' runs_dir": Path("/far/runs"),
    }


@pytest.mark.parametrize(
    ("error", "value", "detail"),
    [
        pytest.param(ArgumentsError("it lacks a seam", "install it"), "it lacks a seam", "install it", id="no seams"),
        pytest.param(OSError(errno.ENOSPC, "full"), "no space is left in", "TMPDIR=", id="no space"),
        pytest.param(subprocess.TimeoutExpired("x", 60), "a training that it started took", "", id="too slow"),
        pytest.param(RuntimeError("CUDA is gone\n\nmany\nlines"), "RuntimeError: CUDA is gone", "line", id="another"),
    ],
)
def test_what_a_part_raises_is_one_plain_sentence(tmp_path: Path, error: Exception, value: str, detail: str) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        fail()
    made = selfcheck_main._broken_off(runner.PARTS[2], raised.value, tmp_path, "0")
    assert (made.status, made.device) == (Status.FAILED, "0")
    assert made.value.startswith(value)
    assert detail in made.detail
    assert "\n" not in made.value


def _begins_two_and_waits(pids: Path) -> str:
    """Of a part: it starts a process in its session and one in a session of its own, and tells all three pids."""
    return (
        "given = [sys.executable, '-c', 'import time; time.sleep(600)']\n"
        "near, far = subprocess.Popen(given), subprocess.Popen(given, start_new_session=True)\n"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{near.pid}} {{far.pid}} .')\n"
        "time.sleep(600)\n"
    )


def test_a_selfcheck_that_is_killed_leaves_no_process_and_no_folder(scripted: Path) -> None:
    pids, temporary = scripted.with_name("pids"), scripted.with_name("tmp")
    scripted.write_text(
        "import os, subprocess, sys, time\n"
        "from pathlib import Path\n"
        "from trainmaster.trainer.selfcheck.orphaned import end_with_parent\n"
        "end_with_parent(Path(sys.argv[2]).parent)\n" + _begins_two_and_waits(pids)
    )
    with subprocess.Popen(
        [sys.executable, "-P", "-c", WHOLE, str(temporary)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(scripted.parent), *filter(None, sys.path)])},
        stderr=subprocess.DEVNULL,
    ) as whole:
        try:
            _wait_for(lambda: pids.exists() and pids.read_text().endswith("."))
        finally:
            whole.kill()
    _wait_for(lambda: not any(_is_alive(int(pid)) for pid in pids.read_text().split()[:3]))
    assert os.listdir(temporary) == []  # noqa: PTH208 - names are enough


def _wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


WHOLE = """
import sys, tempfile
from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.selfcheck import __main__ as selfcheck_main
from trainmaster.trainer.selfcheck import disks, runner
from trainmaster.trainer.cli import selfcheck
from trainmaster.trainer.arguments import Arguments
tempfile.tempdir = sys.argv[1]
runner.MODULE = "scripted"
raise SystemExit(selfcheck.main(Arguments(words=(), settings={"parts": "traces"}, flags=("json",))))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_given_twice_leaves_no_process_and_no_folder(scripted: Path, number: int) -> None:
    pids, temporary = scripted.with_name("pids"), scripted.with_name("tmp")
    scripted.write_text("import os, subprocess, sys, time\n" + _begins_two_and_waits(pids))
    with subprocess.Popen(
        [sys.executable, "-P", "-c", WHOLE, str(temporary)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(scripted.parent), *filter(None, sys.path)])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as whole:
        try:
            _wait_for(lambda: pids.exists() and pids.read_text().endswith("."))
            whole.send_signal(number)
            time.sleep(0.02)
            whole.send_signal(number)
            out, err = whole.communicate(timeout=30)
        finally:
            whole.kill()
    assert whole.returncode == 1
    assert [row["value"] for row in json.loads(out)["rows"]] == ["ended on request, nothing is proven"]
    assert "nothing is left behind" in err
    assert os.listdir(temporary) == []  # noqa: PTH208 - names are enough
    assert not any(_is_alive(int(pid)) for pid in pids.read_text().split()[:3])
