"""``trainmaster watch`` as it is typed."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.terminals import Terminal
from tests.unit.bot.terminal.pictures import trained

ROOT = Path(__file__).parents[4]
FRAME = (
    "      {epoch}/3      1.2G      1.5      2.25      0.9        12       640: "
    "{pct:3d}%|####| {batch}/4 [00:0{batch}<00:04,  1.0it/s]"
)
HEADER = "      Epoch    GPU_mem   box_loss   cls_loss   dfl_loss  Instances       Size"


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """No setting of the person who tests."""
    kept = {key: value for key, value in os.environ.items() if key in {"PATH", "HOME", "TMPDIR"}}
    return {
        **kept,
        "PYTHONPATH": str(ROOT),
        "RUNS_DIR": str(tmp_path / "runs"),
        "STATE_DIR": str(tmp_path / "state"),
        "PYTHONIOENCODING": "utf-8",
        "COLUMNS": "80",
    }


def watch(tmp_path: Path, env: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trainmaster", "watch", *words],
        capture_output=True,
        text=True,
        env=env,
        cwd=tmp_path,
        timeout=60,
        check=False,
        encoding="utf-8",
    )


def console_log(path: Path) -> Path:
    lines = []
    for epoch in (1, 2):
        lines.append(HEADER)
        lines += ["\r".join(FRAME.format(epoch=epoch, pct=25 * batch, batch=batch) for batch in range(1, 5))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def files_below(root: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in root.rglob("*")}


def test_once_prints_and_changes_nothing(tmp_path: Path, env: dict[str, str]) -> None:
    trained(tmp_path / "runs")
    before = files_below(tmp_path)
    done = watch(tmp_path, env, "--once")
    assert done.returncode == 0, done.stderr
    assert "epoch 4 of 10" in done.stdout
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert files_below(tmp_path) == before


@pytest.mark.parametrize("word", ["runs/night", "night", "runs"], ids=["run directory", "name", "directory with runs"])
def test_a_run_goes_by_its_directory_its_name_and_its_parent(tmp_path: Path, env: dict[str, str], word: str) -> None:
    trained(tmp_path / "runs")
    assert "epoch 4 of 10" in watch(tmp_path, env, "--once", word).stdout


def test_a_console_log_alone_is_enough(tmp_path: Path, env: dict[str, str]) -> None:
    done = watch(tmp_path, env, str(console_log(tmp_path / "train.log")))
    assert done.returncode == 0, done.stderr
    for words in ("train.log", "epoch 2 of 3", "batch 4 of 4", "4.65", "2 epochs"):
        assert words in done.stdout
    assert " left" not in done.stdout  # when the epoch began is not known


def test_a_wrong_name_is_answered_with_the_nearest(tmp_path: Path, env: dict[str, str]) -> None:
    trained(tmp_path / "runs")
    done = watch(tmp_path, env, "--once", "nihgt")
    assert done.returncode == 1
    assert "watch-run: 'nihgt' is no run, directory or log file. Nearest: night." in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("word", "said"),
    [("empty", "without a guarded run"), ("last.pt", "is no text"), ("\x1b[2J", "⟨U+001B⟩[2J")],
    ids=["empty directory", "checkpoint", "control characters"],
)
def test_what_cannot_be_watched_is_said(tmp_path: Path, env: dict[str, str], word: str, said: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "last.pt").write_bytes(b"PK\x03\x04\0\0")
    done = watch(tmp_path, env, "--once", word)
    assert done.returncode == 1
    assert said in done.stderr
    assert "\x1b" not in done.stderr


def test_without_runs_dir_it_says_what_to_name(tmp_path: Path, env: dict[str, str]) -> None:
    done = watch(tmp_path, env, "--once")
    assert (done.returncode, done.stdout) == (1, "")
    assert "watch-runs-dir" in done.stderr


def test_an_empty_runs_dir_is_waited_for(tmp_path: Path, env: dict[str, str]) -> None:
    (tmp_path / "runs").mkdir()
    assert "No run below" in watch(tmp_path, env, "--once").stdout


def test_a_terminal_without_utf8_is_written_ascii(tmp_path: Path, env: dict[str, str]) -> None:
    trained(tmp_path / "runs", "nächtlich")
    done = watch(tmp_path, {**env, "PYTHONIOENCODING": "ascii", "COLUMNS": "40"}, "--once")
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    assert "n\\xe4chtlich" in done.stdout


@pytest.mark.parametrize(
    ("sent", "code", "extra"),
    [(signal.SIGINT, 130, {}), (signal.SIGTERM, 143, {}), (signal.SIGINT, 130, {"NO_COLOR": "1"})],
    ids=["Ctrl-C", "SIGTERM", "Ctrl-C without colours"],
)
def test_on_a_terminal_it_is_live_and_leaves_it_as_it_was(
    tmp_path: Path, env: dict[str, str], sent: signal.Signals, code: int, extra: dict[str, str]
) -> None:
    trained(tmp_path / "runs")
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "trainmaster", "watch", "--interval", "0.2"],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**env, **extra, "TERM": "xterm-256color", "LINES": "24"},
        cwd=tmp_path,
    )
    os.close(slave)
    seen = _read_until(master, b"epoch 4 of 10", 30.0)
    process.send_signal(sent)
    seen += _read_until(master, b"\x1b[?1049l", 30.0)
    assert process.wait(timeout=30) == code
    os.close(master)
    assert seen.index(b"\x1b[?1049h") < seen.index(b"\x1b[?1049l")
    assert b"\x1b[?25h" in seen
    assert b"Traceback" not in seen
    assert (b"\x1b[36m" in seen) == (not extra)


def test_a_terminal_that_draws_nothing_twice_gets_the_picture_once(tmp_path: Path, env: dict[str, str]) -> None:
    trained(tmp_path / "runs")
    words = [sys.executable, "-m", "trainmaster", "watch"]
    shown = Terminal(words, columns=80, cwd=tmp_path, env={**env, "TERM": "dumb"}).end(30.0)
    assert shown.code == 0
    assert "epoch 4 of 10" in shown.text
    assert "\x1b" not in shown.text


def _read_until(descriptor: int, wanted: bytes, within_s: float) -> bytes:
    seen, until = b"", time.monotonic() + within_s
    while wanted not in seen and time.monotonic() < until:
        if select.select([descriptor], [], [], 0.2)[0]:
            try:
                seen += os.read(descriptor, 65536)
            except OSError:
                break
    assert wanted in seen, seen[-2000:]
    return seen
