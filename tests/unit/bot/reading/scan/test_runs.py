"""Frames that are spelt alike are passed over together, and nothing else is."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from tests.unit.bot.reading.log_texts import NAN, description, frame, header, raised, start, validation
from trainmaster.bot.reading.scan.runs import run_of
from trainmaster.bot.reading.scan.scanner import report_of, scan_stream
from trainmaster.bot.reading.scan.skim import skim

BAR = "━" * 12


def line(epoch: int, batch: int, losses: tuple[str, ...] = ("1.218", "4.65", "4.425")) -> str:
    return f"{description(epoch, 10, losses)}: {batch // 90}% {BAR} {batch}/9000 2.5it/s 1:20:30<2:10:20"


def record(text: str) -> str:
    return json.dumps({"__REALTIME_TIMESTAMP": "1772672523", "MESSAGE": text}, ensure_ascii=False)


LINES = [line(1, batch) for batch in range(1000, 3000)]
NAN_LINES = [line(1, batch, NAN) for batch in range(1000, 3000)]


@pytest.mark.parametrize("wrap", [str, record, lambda text: f"2026-03-05 01:02:03 - train - INFO - {text}"])
@pytest.mark.parametrize("lines", [LINES, NAN_LINES], ids=["healthy", "NaN"])
def test_a_run_is_as_long_as_its_frames_are_alike(wrap, lines: list[str]) -> None:
    first, *rest = [wrap(text).encode() for text in lines]
    run = run_of(first, b"\n")
    assert run is not None
    block = bytearray(b"".join(text + b"\n" for text in rest))
    assert run.follow(block, 0, len(block)) == len(rest)
    width = len(first) + 1
    for place in (100 * width, 700 * width):
        broken = block[:place] + b"Killed\n" + block[place:]
        assert run.follow(broken, 0, len(broken)) == place // width


def test_a_run_ends_with_its_epoch() -> None:
    run = run_of(line(1, 1000, NAN).encode(), b"\n")
    assert run is not None
    other = bytearray("".join(f"{line(2, batch, NAN)}\n" for batch in range(1000, 1100)).encode())
    assert run.follow(other, 0, len(other)) == 0
    assert run.goes_on_with(line(1, 100, NAN).encode(), b"\n") is not None
    assert run.goes_on_with(line(2, 1000, NAN).encode(), b"\n") is None
    assert run.goes_on_with(line(1, 1000).encode(), b"\n") is None


@pytest.mark.parametrize(
    "text",
    [line(1, 5) + "Killed", line(1, 5) + line(1, 6), "Epoch GPU_mem", "", "12% of it", line(1, 5)[:60]],
    ids=["glued message", "two frames", "head", "empty", "no frame", "cut"],
)
def test_what_is_more_or_less_than_a_frame_begins_no_run_that_it_goes_on_with(text: str) -> None:
    run = run_of(line(1, 1000).encode(), b"\n")
    assert run is not None
    assert run.goes_on_with(text.encode(), b"\n") is None


@pytest.mark.parametrize("wrap", [str, record], ids=["plain", "record"])
@pytest.mark.parametrize(
    "end",
    [["Killed"], ["已杀死"], raised("OSError: x").split("\n"), [], [line(1, 9)]],
    ids=["killed", "killed in Chinese", "raised", "nothing", "another width"],
)
@pytest.mark.parametrize("middle", [LINES, NAN_LINES, LINES[:900] + NAN_LINES[900:]], ids=["healthy", "NaN", "half"])
def test_a_log_of_a_line_a_frame_is_read_as_with_care(tmp_path: Path, middle: list[str], end: list[str], wrap) -> None:
    texts = [*start().split("\n"), *middle, *validation().split("\n"), *header().split("\n"), *middle, *end]
    log = "".join(wrap(text) + "\n" for text in texts).encode()
    (tmp_path / "log").write_bytes(log)
    careful = scan_stream(io.BytesIO(log)).to_json()
    for block_bytes in (1 << 14, 1 << 20):
        assert report_of(skim(tmp_path / "log", block_bytes=block_bytes)).to_json() == careful


def test_one_endless_line_is_read_in_little_memory() -> None:
    import tracemalloc

    stream = io.BytesIO((start() + "".join(frame(1, batch % 20)[4:] + " " for batch in range(60_000))).encode())
    tracemalloc.start()
    report = scan_stream(stream)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (report.last_epoch, report.last_batch, report.crashed) == (1, 19, False)
    assert peak < 16 * 1024 * 1024
