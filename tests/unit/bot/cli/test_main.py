"""What ``trainmaster`` says and returns when it can't do as it was told."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from trainmaster import __main__ as cli
from trainmaster.bot.storage.audit import AuditLog

ROOT = Path(__file__).parents[4]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No ``.env`` and no setting of the person who tests."""
    monkeypatch.chdir(tmp_path)
    for name in ("SLACK_BOT_TOKEN", "SLACK_APP_TOKEN", "SLACK_API_URL", "RUNS_DIR", "STATE_DIR", "ALERT_CHANNEL"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["runn"], "Did you mean 'run'?"),
        (["run"], "SLACK_BOT_TOKEN is not set"),
        (["run", "now"], "unrecognized arguments: now"),
        (["demo", "--port", "99999"], "'99999' is no port: 0 (any free one) to 65535"),
        (["drill", "--headless", "--port", "-1"], "'-1' is no port"),
        (["audit", "--last", "0"], "'0' is no count"),
    ],
    ids=["unknown verb", "no settings", "extra word", "port too large", "negative port", "no entries asked for"],
)
def test_what_is_not_understood_is_said_and_ends_with_2(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = cli.main(argv)
    except SystemExit as end:  # argparse's own
        code = int(end.code or 0)
    assert code == 2
    assert said in capsys.readouterr().err


def test_a_port_that_is_taken_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    (Path("demo") / "digits").mkdir(parents=True)
    (Path("demo") / "digits" / "data.yaml").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert cli.main(["demo", "--headless", "--dir", "demo", "--port", str(port)]) == 1
    assert f"port: 127.0.0.1:{port} can't be listened on: address already in use" in capsys.readouterr().err


def test_packages_that_the_small_training_lacks_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "find_spec", lambda name: None if name == "torch" else object())
    assert cli.main(["demo", "--headless", "--dir", "demo"]) == 2
    said = capsys.readouterr().err
    assert "not-installed: trainmaster demo needs torch, not installed for" in said
    assert "Hint: pip install 'trainmaster[demo]'; in a checkout: pip install -e '.[demo]'" in said
    assert not Path("demo").exists()


def test_a_file_where_a_folder_belongs_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    Path("notes.txt").touch()
    assert cli.main(["demo", "--headless", "--dir", "notes.txt"]) == 1
    assert "notes.txt is no directory" in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["--verify"]], ids=["shown", "verified"])
def test_an_empty_audit_log_says_so_and_names_its_file(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["audit", *options]) == 0
    said = capsys.readouterr().out
    assert "state/audit.jsonl: nobody has asked" in said
    assert "intact" not in said


def test_an_audit_log_that_was_removed_is_broken(capsys: pytest.CaptureFixture[str]) -> None:
    log = Path("state") / "audit.jsonl"
    AuditLog(log).append("U0ANNA", "rollback.requested", "night", {}, 0.0)
    log.unlink()
    assert cli.main(["audit", "--verify"]) == 1
    assert "0 entries" in capsys.readouterr().out


@pytest.mark.parametrize("verb", [["audit"], ["doctor"]], ids=" ".join)
def test_a_narrow_encoding_and_a_reader_that_leaves_cause_no_traceback(verb: list[str]) -> None:
    Path("state").mkdir()
    AuditLog(Path("state") / "audit.jsonl").append("U0ANNA", "rollback.requested", "Läufe", {}, 0.0)
    reading, writing = os.pipe()
    os.close(reading)
    narrow = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "trainmaster.bot", *verb]
    shown = subprocess.run(command, check=False, env=narrow, capture_output=True, text=True)
    left = subprocess.run(command, check=False, env=narrow, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert "Traceback" not in shown.stderr
    assert "\\" in shown.stdout  # what the encoding lacks is escaped
    assert (left.returncode, left.stderr) == (1, b"")


@pytest.mark.parametrize("signum", [signal.SIGHUP, signal.SIGINT], ids=["terminal closed", "Ctrl-C"])
def test_a_story_that_is_ended_clears_up_however_often_it_is_told(signum: signal.Signals) -> None:
    story = (
        "import asyncio, sys; from trainmaster.bot.service.signals import until_signal\n"
        "async def play():\n"
        "    try:\n"
        "        print('HERE', flush=True); await asyncio.Event().wait()\n"
        "    finally:\n"
        "        print('ENDING', flush=True); await asyncio.to_thread(sys.stdin.read)\n"
        "        print('cleared up', flush=True)\n"
        "sys.exit(asyncio.run(until_signal(play(), ending='Ending soon.', farewell='Ended.')))"
    )
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", story], cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == "HERE\n"
    process.send_signal(signum)
    assert process.stdout.readline() == "ENDING\n"
    process.send_signal(signum)
    assert (process.stderr.readline(), process.stderr.readline()[:6]) == ("\n", "Ending")
    said, _ = process.communicate("", timeout=20)
    assert (process.returncode, said) == (130, "cleared up\n\nEnded.\n")


@pytest.mark.parametrize("verb", ["adopt", "drill", "scan", "watch"])
def test_the_help_of_a_verb_is_as_wide_as_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    with contextlib.suppress(SystemExit):
        cli.main([verb, "--help"])
    lines = capsys.readouterr().out.split("\n")
    assert max(map(len, lines)) <= 60
    assert "" in lines[:-1]  # its paragraphs stay apart


def test_what_is_adopted_is_shown_with_the_command_of_its_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STATE_DIR", str(tmp_path / "state"))
    log = tmp_path / "nohup.out"
    log.touch()
    words = ["adopt", "--run-dir", str(tmp_path), "--log", str(log), "--name", "exp", "--pid"]
    assert cli.main([*words, str(os.getpid())]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"Its process {os.getpid()} is: {psutil.Process().cmdline()[0]}" in said
