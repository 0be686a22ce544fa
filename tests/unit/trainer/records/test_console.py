from __future__ import annotations

import errno
import io
import logging
import sys
from pathlib import Path

import pytest

from trainmaster.terminal import columns
from trainmaster.trainer.records.console import copying, logged_to


def test_what_is_printed_before_the_log_is_known_is_in_it_too(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    with copying():
        print("before")
        with logged_to(log):
            print("within")
    print("after")
    assert log.read_text() == "before\nwithin\n"


def test_the_next_attempt_is_set_apart(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    for text in ("first", "second"):
        with logged_to(log):
            print(text)
    first, line, second, _ = log.read_text().replace("\n\n", "\n").split("\n")
    assert (first, second) == ("first", "second")
    assert "next attempt" in line


def test_a_logger_that_holds_on_to_the_stream_is_copied_and_let_go(tmp_path: Path) -> None:
    logger = logging.getLogger("ultralytics")
    handler = logging.StreamHandler(sys.stdout)
    logger.addHandler(handler)
    try:
        with logged_to(tmp_path / "log"):
            logger.warning("teed")
        assert handler.stream is sys.stdout
        assert "teed" in (tmp_path / "log").read_text()
    finally:
        logger.removeHandler(handler)


def test_a_log_that_cannot_be_opened_stops_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with logged_to(tmp_path / "missing" / "log"):
        print("still printed")
    assert "still printed" in capsys.readouterr().out


class Broken(io.StringIO):
    """A console on a full disk."""

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def flush(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_console_that_takes_nothing_stops_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "stdout", Broken())
    with copying() as copy:
        copy.open(tmp_path / "train.log")
        print("a line", flush=True)
    assert (tmp_path / "train.log").read_text(encoding="utf-8") == "a line\n"


def test_without_a_console_the_log_is_kept_all_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    with logged_to(tmp_path / "train.log"):
        print("a line", flush=True)
        assert columns() is None
    assert (sys.stdout, sys.stderr) == (None, None)
    assert columns() is None
    assert (tmp_path / "train.log").read_text(encoding="utf-8") == "a line\n"
