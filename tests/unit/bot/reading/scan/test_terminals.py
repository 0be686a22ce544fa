"""What a terminal obeys, around the words of an end: colours, titles, links, character sets."""

from __future__ import annotations

import io

import pytest

from tests.unit.bot.reading.log_texts import frame, raised, start
from trainmaster.bot.reading.scan.scanner import ScanVerdict, scan_stream


@pytest.mark.parametrize(
    ("before", "behind"),
    [
        pytest.param("\x1b]0;root@gpu: ~/train\x07", "", id="title"),
        pytest.param("\x1b]0;root@gpu: ~/train\x1b\\", "", id="title that ends with a string terminator"),
        pytest.param("\x1b]7;file://gpu/root\x1b\\", "\x1b]0;x\x07", id="two titles, two ends"),
        pytest.param("\x1b]8;;file:///x\x1b\\", "\x1b]8;;\x1b\\", id="link"),
        pytest.param("\x1bkbash\x1b\\", "", id="title of screen"),
        pytest.param("\x1bP1$r0m\x1b\\", "", id="device control"),
        pytest.param("\x1b[31m", "\x1b(B\x1b[m", id="character set"),
        pytest.param("\x1b[38:5:196m", "\x1b[0m", id="colour with colons"),
        pytest.param("\x1b=\x1b[>4;2m", "\x1b>", id="keypad"),
        pytest.param("#033]0;root@gpu#007", "#033(B", id="as syslog writes it"),
        pytest.param("^[]0;root@gpu^G", "^[[0m", id="as cat writes it"),
        pytest.param("\\x1b]0;root@gpu\\x07", "\\x1b[0m", id="as Python writes it"),
    ],
)
@pytest.mark.parametrize("said", ["Killed", "RuntimeError: CUDA error: misaligned address"])
def test_an_end_is_told_whatever_a_terminal_obeys_around_it(said: str, before: str, behind: str) -> None:
    log = f"{start()}{frame(1, 3)}\n{before}{said}{behind}\n"
    assert scan_stream(io.BytesIO(log.encode())).verdict is ScanVerdict.CRASHED


def test_a_title_without_an_end_swallows_no_line() -> None:
    log = f"{start()}\x1b]0;x{frame(1, 3)}{raised('RuntimeError: CUDA error: misaligned address')}"
    report = scan_stream(io.BytesIO(log.encode()))
    assert (report.last_batch, report.crash_kind) == (3, "cuda_error")


def test_a_time_behind_each_line_is_no_part_of_it() -> None:
    log = f"{start()}{frame(1, 3).lstrip()}\nKilled"
    table = "".join(f"EVENTS\t1772672523999\t{line}\t1772672523123\n" for line in log.split("\n"))
    report = scan_stream(io.BytesIO(table.encode()))
    assert (report.last_batch, report.crash_kind) == (3, "killed")
