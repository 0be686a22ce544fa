"""Exceptions that are shown in another way than Python does: in a box, or taken apart by a logger."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.bot.reading.log_texts import TRACEBACK, frame, header, raised, start, tqdm_frame, validation
from trainmaster.bot.reading.scan.scanner import ScanReport, ScanVerdict, scan_file, scan_stream
from trainmaster.bot.reading.scan.skim import NotSkimmableError, skim

BOX = (
    "╭──────────────── Traceback (most recent call last) ────────────────╮\n"
    "│ /app/train.py:12 in <module>                                      │\n"
    "│                                                                   │\n"
    "│ ❱ 12 model.train(data='x.yaml')                                   │\n"
    "╰───────────────────────────────────────────────────────────────────╯\n"
)
ASCII_BOX = (
    "+---------------- Traceback (most recent call last) ----------------+\n"
    "| C:\\app\\train.py:12 in <module>                                    |\n"
    "+-------------------------------------------------------------------+\n"
)


def scan(log: str) -> ScanReport:
    return scan_stream(io.BytesIO(log.encode()))


@pytest.mark.parametrize("box", [BOX, ASCII_BOX], ids=["lines", "ascii"])
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("RuntimeError: CUDA error: device-side assert triggered", "cuda_error"),
        ("OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB.", "oom"),
        ("TimeoutExpired: Command 'nvidia-smi' timed out after 5 seconds", "exception"),
        ("BadZipFile: File is not a zip file", "exception"),
        ("Empty", "exception"),
    ],
)
def test_the_exception_below_a_box_is_the_end(box: str, error: str, kind: str) -> None:
    report = scan(f"{start()}{frame(1, 3)}\n{box}{error}\n")
    assert (report.crashed, report.crash_kind) == (True, kind)


@pytest.mark.parametrize("error", ["TimeoutExpired: Command 'x' timed out", "Empty: ", "Empty", "ValueError: x"])
def test_a_notebook_names_the_exception_above_its_frames(error: str) -> None:
    name = error.partition(":")[0]
    head = f"{'-' * 75}\n{name:43}Traceback (most recent call last)\nCell In[3], line 2\n"
    code = "----> 2 model.train()\n\nFile /usr/lib/x.py:12, in Model.train(self)\n---> 12 self.train()\n\n"
    log = f"{start()}{frame(1, 3)}\n{head}{code}{error}\n"
    assert scan(log).crashed
    for before in ("01:02:03 INFO - ", "    "):  # as nbconvert indents it
        assert scan("".join(f"{before}{line}\n" for line in log.split("\n"))).crashed


def test_a_box_in_the_column_of_a_logger_is_one() -> None:
    column = "".join(f"{'':20}{line}   \n" for line in f"{BOX}BadZipFile: not a zip file".split("\n"))
    assert scan(f"{start()}{frame(1, 3)}\n[01:02:03] ERROR    failed         train.py:12\n{column}").crashed


@pytest.mark.parametrize(
    "behind",
    [
        pytest.param(f"ValueError: no plot{frame(1, 4)}\n", id="training goes on"),
        pytest.param("Saving plots\nSpeed: 0.1ms preprocess\n", id="no exception below it"),
        pytest.param("", id="the log ends"),
    ],
)
def test_a_box_alone_ends_nothing(behind: str) -> None:
    assert scan(f"{start()}{frame(1, 3)}\n{BOX}{behind}").verdict is ScanVerdict.NOT_FINISHED


ERROR = "torch.OutOfMemoryError: CUDA out of memory."


@pytest.mark.parametrize(
    ("behind", "crashed"),
    [
        pytest.param(frame(1, 0) + frame(1, 1), True, id="the line that docker kept back until the end"),
        pytest.param(frame(1, 0) + frame(1, 1) + "\n" + validation(), False, id="a validation"),
        pytest.param(frame(1, 0) + "\n" + frame(1, 1), False, id="a line a frame"),
        pytest.param(header() + frame(1, 0) + frame(1, 1), False, id="another table"),
    ],
)
def test_an_error_below_a_head_may_have_ended_what_is_drawn_on_the_line_behind_it(behind: str, crashed: bool) -> None:
    report = scan(f"{start()}{raised(ERROR)}{behind}")
    assert (report.crashed, report.last_epoch) == (crashed, 1)
    assert not scan(f"{start()}{frame(1, 2)}{raised(ERROR)}{behind}").crashed


LAST = frame(10, 20)
BARS = "".join(f"\r\x1b[K{validation().split(': ')[0]}: {10 * done}% ━━━ {done}/10 2.0it/s 1.1s" for done in range(4))


@pytest.mark.parametrize("before", [LAST, f"{LAST}\n{validation()}\n10 epochs completed in 0.5 hours."])
@pytest.mark.parametrize(
    ("behind", "crashed"),
    [
        pytest.param(BARS, True, id="the line that docker kept back until the end"),
        pytest.param(f"{BARS}\n{validation()}", False, id="the validation ends"),
        pytest.param(BARS.replace("\r\x1b[K", "\n"), False, id="a line a bar"),
        pytest.param(BARS + header() + frame(10, 1), False, id="another epoch"),
    ],
)
def test_an_error_before_a_validation_may_have_ended_what_is_drawn_on_the_line_behind_it(
    behind: str, crashed: bool, before: str
) -> None:
    report = scan(f"{start()}{header()}{before}\n{raised(ERROR).lstrip()}{behind}")
    assert (report.crashed, report.last_epoch) == (crashed, 10)


TIME = b"2026-05-01T00:00:00.123456789Z "


def pieces(output: bytes, errors: bytes) -> list[tuple[bytes, bytes]]:
    """Of a line without an end a container's runtime writes pieces of 16 KiB, and what is left once all is over. Each
    with its stream and whether it ends a line, as containerd has it."""
    *lines, last = output.split(b"\n")
    *cut, rest = [last[place : place + 16 * 1024] for place in range(0, len(last), 16 * 1024)]
    told = [(b"stdout F ", line) for line in lines] + [(b"stdout P ", piece) for piece in cut]
    return told + [(b"stderr F ", line) for line in errors.splitlines()] + [(b"stdout F ", rest)]


def docker_logs(output: bytes, errors: bytes, stamp: bytes = b"") -> bytes:
    told = pieces(output, errors)
    return b"".join(stamp + piece + (b"\n" if b"F" in stream else b"") for stream, piece in told).removesuffix(b"\n")


def docker_logs_with_times(output: bytes, errors: bytes) -> bytes:
    return docker_logs(output, errors, TIME)


def containerd_log(output: bytes, errors: bytes) -> bytes:
    return b"\n".join(TIME + stream + piece for stream, piece in pieces(output, errors))


@pytest.mark.parametrize("error", [raised(ERROR).lstrip(), "Killed\n", "terminate called recursively\nAborted\n"])
@pytest.mark.parametrize("frames", [100, 140, 300])
@pytest.mark.parametrize("written", [docker_logs, docker_logs_with_times, containerd_log])
def test_an_error_where_docker_cuts_a_line_may_have_ended_what_is_drawn_behind_it(
    tmp_path: Path, frames: int, written: Callable[[bytes, bytes], bytes], error: str
) -> None:
    drawn = f"{start()}{''.join(frame(1, batch, batches=1_000) for batch in range(frames))}"
    log = written(drawn.encode(), error.encode())
    path = tmp_path / "docker.log"
    for behind, crashed in ((b"", True), (b"\n" + validation().encode(), False)):
        path.write_bytes(log + behind)
        report = scan_file(path)
        assert (report.crashed, report.last_batch) == (crashed, frames - 1)
        with pytest.raises(NotSkimmableError):
            skim(path, block_bytes=4096)


RECORDS = {
    "structlog": {
        "event": "failed",
        "exception": [
            {"exc_type": "OutOfMemoryError", "exc_value": "CUDA out of memory.", "frames": [{"filename": "train.py"}]},
            {"exc_type": "KeyError", "exc_value": "'x'", "frames": [{"filename": "train.py"}]},
        ],
    },
    "ecs": {
        "message": "failed",
        "error": {"type": "RuntimeError", "message": "CUDA out of memory", "stack_trace": '  File "train.py", line 1'},
    },
    "ecs_flat": {
        "message": "failed",
        "error.type": "OutOfMemoryError",
        "error.message": "CUDA out of memory",
        "error.stack_trace": '  File "train.py", line 1',
    },
    "datadog": {
        "message": "failed",
        "error": {"kind": "OutOfMemoryError", "message": "CUDA out of memory", "stack": '  File "train.py", line 1'},
    },
    "whole": {"message": "failed", "exc_info": f"{TRACEBACK}torch.OutOfMemoryError: CUDA out of memory."},
}


def _records(log: str, key: str) -> str:
    return "".join(json.dumps({key: line, "level": "info"}) + "\n" for line in log.split("\n"))


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS.keys())
def test_an_exception_taken_apart_is_told(record: dict[str, object]) -> None:
    key = "event" if "event" in record else "message"
    report = scan(_records(start() + tqdm_frame(1, 3).lstrip("\r"), key) + json.dumps(record) + "\n")
    assert (report.crashed, report.crash_kind) == (True, "oom")


def test_an_error_told_without_its_frames_is_a_message() -> None:
    told = {"message": "upload failed", "error": {"type": "ConnectionError", "message": "timeout"}}
    assert not scan(_records(start() + tqdm_frame(1, 3).lstrip("\r"), "message") + json.dumps(told) + "\n").crashed
