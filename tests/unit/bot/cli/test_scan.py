from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.bot.reading.log_texts import NAN, frame, raised, start, validation
from trainmaster.bot.cli.scan import main
from trainmaster.bot.reading.scan.report import render
from trainmaster.bot.reading.scan.scanner import scan_file


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "train.log"
    path.write_text(start() + frame(1, 3, losses=NAN) + raised("RuntimeError: CUDA error: \x07bad"))
    return path


def test_json_is_one_object(log: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([str(log), "--json"]) == 0
    report = json.loads(capfd.readouterr().out)
    assert (report["crash_kind"], report["nan_loss_frames"]) == ("cuda_error", 1)


def test_text_puts_the_verdict_first_and_has_no_escapes_in_a_pipe(log: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([str(log)]) == 0
    lines = capfd.readouterr().out.split("\n")
    assert lines[1].startswith("CRASHED: CUDA error")
    assert not any("\x1b" in line or "\x07" in line for line in lines)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        pytest.param(["missing.log"], "missing.log: No such file", id="missing"),
        pytest.param(["."], ".: Is a directory", id="folder"),
        pytest.param(["a\0b"], "null byte", id="impossible_name"),
        pytest.param([], "one log is needed, 0 given", id="no_log"),
        pytest.param(["a", "b"], "one log is needed, 2 given", id="two_logs"),
        pytest.param(["a", "--yaml"], "unknown option --yaml", id="unknown_option"),
    ],
)
def test_what_cannot_be_read_ends_with_2_and_a_reason(
    argv: list[str], said: str, capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(argv) == 2
    captured = capfd.readouterr()
    assert (said in captured.err, captured.out) == (True, "")


def test_help_is_no_fault(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "usage" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        pytest.param(start() + frame(1, 3), "NOT FINISHED", id="running"),
        pytest.param(start() + frame(10, 20) + "\n" + validation(), "COMPLETED", id="completed"),
        pytest.param("", "No training frames", id="empty"),
        pytest.param(
            start() + frame(1, 1) + "\nStopping training early as no improvement", "STOPPED EARLY", id="early"
        ),
        pytest.param(start() + frame(1, 1, losses=NAN), "with 1 non-finite loss frame", id="nan"),
    ],
)
@pytest.mark.parametrize("color", [False, True], ids=["pipe", "terminal"])
def test_the_verdict_fits(tmp_path: Path, text: str, verdict: str, color: bool) -> None:
    log = tmp_path / "train.log"
    log.write_text(text)
    shown = render(scan_file(log), name="train.log", color=color)
    assert verdict in shown.split("\n")[1]
    assert ("\x1b[" in shown) is color


def test_the_report_says_where_the_first_nan_was_and_what_to_do(log: Path) -> None:
    shown = render(scan_file(log), name="train.log", color=False)
    assert "non-finite 1 frame on 1 line, first at line 5, epoch 1 batch 3" in shown
    assert "A checkpoint saved after line 5, epoch 1 batch 3 may hold NaN" in shown
    assert "CUDA_LAUNCH_BLOCKING=1" in shown


def test_a_healthy_log_gets_no_advice_and_an_empty_one_no_empty_rows(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    log.write_text(start() + frame(1, 3))
    assert "What to do" not in render(scan_file(log), name="train.log", color=False)
    log.write_text("hello\n")
    shown = render(scan_file(log), name="train.log", color=False)
    assert not {"epoch", "losses", "non-finite"} & set(shown.split())


def test_scanning_imports_nothing_heavy(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    log.write_text(start() + frame(1, 3, losses=NAN) + raised("RuntimeError: CUDA error: an illegal memory access"))
    code = f"import sys, trainmaster.bot.cli.scan as scan; scan.main([{str(log)!r}]); print('loaded:', *sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    heavy = {"asyncio", "pydantic", "slack_bolt", "torch", "psutil", "logging", "sqlite3", "dataclasses", "inspect"}
    assert "trainmaster.bot.reading.scan.report" in loaded
    assert not heavy & set(loaded.partition("loaded:")[2].split())
