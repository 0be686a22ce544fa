"""The trainer's command line as the supervisor uses it: its answers, its faults, its time-outs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from tests.unit.trainer.copies.written import Attested
from trainmaster.bot.core.conversation.picture import NO_DRAWING, Sketch
from trainmaster.bot.core.run.facts import RunRecord
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.drivers import trainer_cli
from trainmaster.bot.drivers.local.environment import trainer_environment
from trainmaster.bot.drivers.trainer_cli import TrainerCli
from trainmaster.bot.errors import OperationError
from trainmaster.trainer.cli.main import main
from trainmaster.trainer.contract import Verdict


@pytest.fixture
def view(tmp_path: Path) -> RunView:
    """A run whose Python is this one, with one file that is no checkpoint."""
    directory = tmp_path / "runs" / "digits"
    (directory / "weights").mkdir(parents=True)
    (directory / "guard" / "states").mkdir(parents=True)
    (directory / "weights" / "epoch0.pt").write_bytes(b"no checkpoint")
    record = RunRecord.parse({"run": "r", "attempt": 1, "python": sys.executable, "cwd": str(tmp_path)})
    return RunView(directory=directory, name="digits", ts=0.0, first_seen_ts=0.0, record=record)


@pytest.fixture
def scripted(view: RunView, tmp_path: Path) -> RunView:
    """A run whose Python answers what the test writes, whatever it is asked."""
    record = RunRecord.parse({"run": "r", "attempt": 1, "python": str(tmp_path / "python"), "cwd": str(tmp_path)})
    return replace(view, record=record)


def script(view: RunView, text: str) -> None:
    assert view.record is not None
    python = Path(str(view.record.python))
    python.write_text(f"#!{sys.executable}\n{text}\n")
    python.chmod(0o700)


async def test_real_command_judges_every_file_of_a_run(view: RunView) -> None:
    (fact,) = await TrainerCli().catalog(view)
    assert fact.file == "weights/epoch0.pt"
    assert fact.verdict is not Verdict.CLEAN
    assert fact.reasons


async def test_verdict_against_a_file_is_an_answer_and_no_fault(view: RunView) -> None:
    fact = await TrainerCli().verify(view, view.directory / "weights" / "epoch0.pt")
    assert fact.verdict is not Verdict.CLEAN
    assert not fact.resumable


async def test_real_archive_and_its_way_back(view: RunView) -> None:
    source = view.directory / "weights" / "epoch0.pt"
    folder = await TrainerCli().archive(view, after_epoch=0)
    assert not source.exists()
    assert folder.is_dir()
    await TrainerCli().unarchive(view, folder)
    assert source.read_bytes() == b"no checkpoint"


async def test_refusal_says_what_the_trainer_said_and_the_command_to_repeat_it(view: RunView) -> None:
    with pytest.raises(OperationError, match="no checkpoint of epoch 3") as caught:
        await TrainerCli().restore(view, epoch=3)
    assert f"restore {view.directory} epoch=3" in caught.value.hint


async def test_copies_of_a_run_that_is_gone_are_found_where_its_trainer_put_them(view: RunView, tmp_path: Path) -> None:
    run = Attested(tmp_path / "runs" / "night")
    run.epoch(1)
    (tmp_path / "copies").mkdir()
    assert main(["copy", str(run.layout.root), f"to={tmp_path / 'copies'}"]) == 0
    shutil.rmtree(run.layout.root)
    lost = replace(view, directory=run.layout.root, name="night")
    cli = TrainerCli(environment=lambda _: {"COPY_TO": str(tmp_path / "copies")})
    fact = await cli.copies(lost)
    assert (fact.place, fact.num_files, fact.epoch) == (str(tmp_path / "copies" / "night"), 2, 1)
    assert view.record is not None
    argv = ("trainmaster", "train", f"copy_to={tmp_path / 'copies'}")
    assert await TrainerCli().copies(replace(lost, record=replace(view.record, argv=argv))) == fact
    with pytest.raises(OperationError, match="not known where to copy to"):
        await TrainerCli().copies(lost)


async def test_answer_is_found_below_what_libraries_print(scripted: RunView) -> None:
    row = {"epoch": 1, "file": "a.pt", "kind": "state", "verdict": "clean", "sha256": "00", "resumable": True}
    script(scripted, f"print('warning: something'); print('''{json.dumps({'checkpoints': [row]})}''')")
    (fact,) = await TrainerCli().catalog(scripted)
    assert fact.verdict is Verdict.CLEAN


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("print('hello')", "something else than expected", id="no JSON"),
        pytest.param("pass", "something else than expected", id="nothing"),
        pytest.param("print('[1, 2')", "something else than expected", id="half of it"),
        pytest.param("raise SystemExit('disk on fire')", "disk on fire", id="failed"),
        pytest.param("import os; os.kill(os.getpid(), 9)", "code -9", id="killed"),
    ],
)
async def test_odd_answer_is_a_fault_with_its_last_words(scripted: RunView, text: str, words: str) -> None:
    script(scripted, text)
    with pytest.raises(OperationError, match=words):
        await TrainerCli().catalog(scripted)


async def test_what_a_command_started_and_its_pipes_outlive_its_end_by_nothing(
    scripted: RunView, tmp_path: Path
) -> None:
    """A Python that is a wrapper: killed alone, it would leave its child, and whoever reads the pipe would wait."""
    pid_file = tmp_path / "pid"
    script(
        scripted,
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(pid_file)!r}, 'w').write(str(child.pid))\nchild.wait()",
    )
    with pytest.raises(OperationError, match="took longer than 1 s"):
        async with asyncio.timeout(20):
            await TrainerCli(timeout_s=1).catalog(scripted)
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(int(pid_file.read_text())).wait(timeout=5)


async def test_nobody_waits_for_a_command_that_reads_a_dead_mount_and_can_not_be_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trainer_cli, "_END_S", 0.01)
    monkeypatch.setattr(trainer_cli.os, "killpg", lambda *_: None)
    never: Any = SimpleNamespace(returncode=None, pid=0, communicate=asyncio.Event().wait)
    async with asyncio.timeout(5):
        await trainer_cli._end(never, reads_only=True)


async def test_command_that_hangs_is_ended(scripted: RunView, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    script(scripted, f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(600)")
    with pytest.raises(OperationError, match="took longer than 1 s"):
        await TrainerCli(timeout_s=1.0).catalog(scripted)
    if pid_file.exists():
        assert not psutil.pid_exists(int(pid_file.read_text()))


async def test_python_that_is_gone_is_named(view: RunView) -> None:
    record = RunRecord.parse({"run": "r", "python": "/nowhere/python", "cwd": "/"})
    odd = RunView(directory=view.directory, name="digits", ts=0.0, first_seen_ts=0.0, record=record)
    with pytest.raises(OperationError, match="/nowhere/python"):
        await TrainerCli().catalog(odd)


async def test_run_that_something_else_started_is_examined_with_the_bot_s_own_python(view: RunView) -> None:
    adopted = RunView(directory=view.directory, name="digits", ts=0.0, first_seen_ts=0.0)
    (fact,) = await TrainerCli().catalog(adopted)
    assert fact.file == "weights/epoch0.pt"


async def test_archives_are_listed_with_what_they_hold(view: RunView) -> None:
    await TrainerCli().archive(view, after_epoch=0)
    (fact,) = await TrainerCli().archives(view)
    assert (fact.after_epoch, fact.num_files, fact.state) == (0, 1, "archived")


def test_trainer_gets_no_secret_and_finds_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK_APP_TOKEN", "xapp-secret")
    monkeypatch.setenv("PYTHONPATH", "/given")
    environment = trainer_environment({"OMP_NUM_THREADS": "1"})
    assert "SLACK_APP_TOKEN" not in environment
    first, *rest = environment["PYTHONPATH"].split(":")
    assert first == "/given"
    assert any((Path(part) / "trainmaster" / "__init__.py").is_file() for part in rest)
    assert environment["OMP_NUM_THREADS"] == "1"


# -- pictures

PICTURE = "open(sys.argv[sys.argv.index('--out') + 1], 'wb').write({}); print(json.dumps({{'alt': 'a curve'}}))"
CURVES = Sketch(run="r", curves=True)


async def test_a_picture_is_drawn_by_the_run_s_own_python_with_low_priority(scripted: RunView) -> None:
    script(
        scripted,
        "import json, os, sys; assert os.nice(0) >= 10; assert sys.argv[1:3] == ['-P', '-m'];"
        + PICTURE.format("b'\\x89PNG\\r\\n\\x1a\\nxyz'"),
    )
    (drawn,) = await TrainerCli().draw(scripted, CURVES)
    assert (drawn.alt, drawn.content[-3:]) == ("a curve", b"xyz")


@pytest.mark.parametrize(
    ("text", "slug", "words"),
    [
        pytest.param(PICTURE.format("b'GIF8'"), "trainer-command", "something else", id="no PNG"),
        pytest.param(
            PICTURE.format("b'\\x89PNG\\r\\n\\x1a\\n' + bytes(5 * 2**20)"),
            "trainer-command",
            "something",
            id="too large",
        ),
        pytest.param('print(\'{"alt": "a"}\')', "trainer-command", "something else", id="no file"),
        pytest.param("print('[]')", "trainer-command", "something else", id="no words"),
        pytest.param("sys.exit('not-installed: needs matplotlib')", NO_DRAWING, "matplotlib", id="no matplotlib"),
        pytest.param("sys.exit('digits has no epoch 3')", "trainer-command", "no epoch", id="nothing to draw"),
    ],
)
async def test_a_picture_that_is_none_is_a_fault(scripted: RunView, text: str, slug: str, words: str) -> None:
    script(scripted, f"import json, sys; {text}")
    with pytest.raises(OperationError, match=words) as caught:
        await TrainerCli().draw(scripted, CURVES)
    assert caught.value.slug == slug


async def test_a_sheet_that_cannot_be_drawn_takes_no_curves_along(scripted: RunView) -> None:
    script(
        scripted,
        "import json, sys; '--incident' in sys.argv and sys.exit('gone');"
        + PICTURE.format("b'\\x89PNG\\r\\n\\x1a\\n'"),
    )
    drawn = await TrainerCli().draw(scripted, Sketch(run="r", epoch=2, incident="0001"))
    assert [one.name for one in drawn] == ["epoch-2.png"]


async def test_nothing_is_drawn_of_a_run_that_is_watched_only(scripted: RunView) -> None:
    with pytest.raises(OperationError, match="watched only"):
        await TrainerCli().draw(replace(scripted, watched_only="owned by uid 7"), CURVES)
