"""What stands before every line is learnt from the log; the text within a record is found whatever its shape."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable

import pytest

from tests.unit.bot.reading.log_texts import frame, header, raised, start, validation
from tests.unit.bot.reading.scan.stamps import STAMPS
from trainmaster.bot.reading.console.stamps import Stamps
from trainmaster.bot.reading.scan.scanner import ScanReport, scan_stream

BODY = (start() + frame(1, 3) + frame(1, 20) + "\n" + validation() + header() + frame(2, 1)).split("\n")
FATAL = (
    'Fatal Python error: Segmentation fault\n\nCurrent thread 0x0f (most recent call first):\n  File "/x.py", line 3'
)
ENDS = {
    "script": ("train.sh: line 3:  4711 Killed                  python train.py", "killed"),
    "bare": ("Killed", "killed"),
    "mac": ("Killed: 9", "killed"),
    "chinese": ("已杀死", "killed"),
    "native": ("/x/MPSNDArray.mm:90: failed assertion `x'", "exception"),
    "editor": ("Process finished with exit code 137 (interrupted by signal 9: SIGKILL)", "killed"),
    "fatal": (FATAL, "exception"),
    "traceback": (raised("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB").strip(), "oom"),
    "done": ("\n10 epochs completed in 0.5 hours.", "none"),
}
CHANGES = (
    *(("Mar ", "Apr "), ("Mär", "Apr"), ("mars", "avril"), ("févr.", "mars"), ("3月", "12月"), ("Thu", "Fri")),
    *(("INFO", "ERROR"), ("01O", "01E"), ("мар", "апр"), (" AM", " PM")),
    *(("5f6e1a2b12345678", "5f70badc0ffee123"), ("8f1c2a3b-12ab", "ab3fe912-9c0d")),
)


def later(stamp: str) -> str:
    """The same logger at another time, in another month, of another level."""
    stamp = re.sub(r"\d\d:\d\d", "23:59", stamp, count=1)
    for old, new in CHANGES:
        stamp = stamp.replace(old, new)
    return stamp


def scan(log: str) -> ScanReport:
    return scan_stream(io.BytesIO(log.encode()))


@pytest.mark.parametrize("every", [1, 2, 3, 5, 20])
@pytest.mark.parametrize(("end", "kind"), ENDS.values(), ids=ENDS.keys())
def test_a_head_may_stand_before_the_first_of_many_lines(end: str, kind: str, every: int) -> None:
    for first in range(every):
        lines = [*BODY, *end.split("\n")]
        heads = [
            "" if (place - first) % every else f"{1683505870249 + place} gpu1:0,1 DEBUG " for place in range(len(lines))
        ]
        report = scan("".join(f"{head}{line}\n" for head, line in zip(heads, lines, strict=True)))
        assert (report.crash_kind, report.last_epoch, report.map50) == (kind, 2, 0.712)


def judged(log: str) -> tuple[str, bool, int | None, int]:
    report = scan(log)
    return report.crash_kind.value, report.completed, report.last_epoch, report.nan_loss_frames


@pytest.mark.parametrize(("end", "kind"), ENDS.values(), ids=ENDS.keys())
@pytest.mark.parametrize("stamp", STAMPS.values(), ids=STAMPS.keys())
def test_a_stamp_is_learnt_and_taken_away(stamp: str, end: str, kind: str) -> None:
    for other in (stamp, later(stamp)):
        lines = [stamp + line for line in BODY] + [other + line for line in end.split("\n")]
        assert judged("\n".join(lines) + "\n") == (kind, kind == "none", 2, 0)


@pytest.mark.parametrize(("end", "kind"), ENDS.values(), ids=ENDS.keys())
def test_a_time_that_is_left_blank_when_it_is_that_of_the_line_before_is_no_hindrance(end: str, kind: str) -> None:
    stamps = ("[01:02:03] INFO     ", "           INFO     ")
    lines = [stamps[number % 3 > 0] + line for number, line in enumerate([*BODY, *end.split("\n")])]
    assert judged("\n".join(lines) + "\n") == (kind, kind == "none", 2, 0)


@pytest.mark.parametrize("error", ["Exception: no data", "AssertionError: x", "cv2.error: x"])
@pytest.mark.parametrize("before", ["4711 ", "a1b2 "])
def test_an_id_before_a_traceback_swallows_nothing_of_the_lines_that_have_none(before: str, error: str) -> None:
    traceback = raised(error).lstrip("\n")
    assert scan(f"{start()}{frame(1, 3)}\n{before}{traceback}").crash_detail == error


def test_a_traceback_behind_a_bar_is_read_though_a_logger_stamps_its_other_lines() -> None:
    lines = f"{start()}{frame(1, 3)}{raised('OSError: x').lstrip()}".split("\n")
    stamps = ("2026-03-05 01:02:03,123 - INFO - ", "2026-03-05 01:02:04,123 - ERROR - ")
    assert scan("\n".join(stamps[place % 2] + line for place, line in enumerate(lines))).crash_detail == "OSError: x"


def test_a_sentence_that_quotes_a_line_is_no_stamp() -> None:
    stamps = Stamps()
    stamps.learn("Then it prints Starting training for 3 epochs...")
    assert stamps.bare("Then it prints Killed") == ("Then it prints Killed", False)


def test_a_word_within_a_stamped_line_ends_nothing() -> None:
    stamp = "Mar 05 01:02:03 "
    log = "\n".join(stamp + line for line in BODY)
    assert scan(f"{log}\n{stamp}Killed\n").crashed
    assert not scan(f"{log}\n{stamp}Mar 05 was the day when 3 were Killed\n").crashed


def test_what_a_logger_says_of_a_handled_error_ends_nothing() -> None:
    stamp = "2026-03-05 01:02:03,123 - train - ERROR - "
    log = "\n".join(stamp + line for line in BODY)
    assert not scan(f"{log}\n{stamp}ValueError: retried\n").crashed


RECORDS: dict[str, Callable[[str], object]] = {
    "docker": lambda line: {"log": line + "\n", "stream": "stderr"},
    "journald": lambda line: {"__REALTIME_TIMESTAMP": "1", "MESSAGE": line},
    "journald_bytes": lambda line: {"__CURSOR": "s=ab12", "MESSAGE": list(line.encode())},
    "journald_repeated": lambda line: {"MESSAGE": [line]},
    "elastic": lambda line: {"_source": {"@timestamp": "x", "message": line}},
    "attributes": lambda line: {"attributes": {"message": line}},
    "otlp": lambda line: {"body": {"stringValue": line}, "severityText": "INFO"},
    "otlp_whole": lambda line: {
        "resourceLogs": [
            {
                "resource": {"attributes": [{"key": "host", "value": {"stringValue": "gpu"}}]},
                "scopeLogs": [{"logRecords": [{"timeUnixNano": "1", "body": {"stringValue": line}}]}],
            }
        ]
    },
    "gelf": lambda line: {"version": "1.1", "host": "g", "short_message": line, "level": 6},
    "serilog": lambda line: {"@t": "x", "@m": line, "@l": "Information"},
    "structlog": lambda line: {"event": line, "level": "info"},
    "splunk": lambda line: {"result": {"_raw": line, "host": "x"}},
    "datadog": lambda line: {"id": "a", "content": {"message": line, "service": "t"}},
    "azure": lambda line: {"time": "x", "properties": {"Log": line}},
    "loki": lambda line: {"streams": [{"stream": {"job": "t"}, "values": [["1772672523", line]]}]},
    "logcli": lambda line: {"labels": {"app": "t"}, "line": line, "timestamp": "x"},
    "cloudwatch": lambda line: {"logStream": "x", "events": [{"timestamp": 1, "message": line}]},
    "array": lambda line: ["2026-03-05T01:02:03Z", "stderr", line],
    "unknown": lambda line: {"when": "2026-03-05T01:02:03Z", "payload": {"x": {"was": line}}},
    "within_a_record": lambda line: {"log": json.dumps({"level": "info", "msg": line}) + "\n", "stream": "stderr"},
    "upper_case": lambda line: {"Message": line},
    "google": lambda line: {"textPayload": line, "resource": {"labels": {"message": "x"}}},
    "ecs": lambda line: {"log": {"level": "info", "file": {"path": "/x"}}, "message": line},
}
PRINTED: dict[str, Callable[[object], str]] = {
    "plain": json.dumps,
    "unescaped": lambda record: json.dumps(record, ensure_ascii=False),
    "behind_a_stamp": lambda record: "2026-03-05T01:02:03Z stdout F " + json.dumps(record),
    "of_a_list": lambda record: json.dumps(record) + ",",
}


@pytest.mark.parametrize("printed", PRINTED.values(), ids=PRINTED.keys())
@pytest.mark.parametrize("wrap", RECORDS.values(), ids=RECORDS.keys())
def test_the_text_of_a_record_is_found(wrap: Callable[[str], object], printed: Callable[[object], str]) -> None:
    for end, kind in ENDS.values():
        log = "\n".join(printed(wrap(line)) for line in BODY + end.split("\n"))
        assert judged(log + "\n") == (kind, kind == "none", 2, 0)


@pytest.mark.parametrize(
    "printed",
    [
        lambda line: json.dumps({"ts": 1, "message": line}, indent=2),
        lambda line: json.dumps({"ts": "1", "MESSAGE": line}, indent="\t", separators=(",", " : ")),
        lambda line: "ts=2026-03-05T01:02:03Z level=info line=" + json.dumps(line, ensure_ascii=False),
        lambda line: 'time="2026-03-05T01:02:03Z" level=info msg=' + json.dumps(line, ensure_ascii=False),
    ],
    ids=["indented", "json_pretty", "logfmt_any_key", "logfmt"],
)
def test_the_text_of_a_record_over_several_lines_is_found(printed: Callable[[str], str]) -> None:
    for end, kind in ENDS.values():
        log = "\n".join(printed(line) for line in BODY + end.split("\n"))
        assert judged(log + "\n") == (kind, kind == "none", 2, 0)


TRACEBACKS: dict[str, Callable[[str], object]] = {
    "exc_info": lambda text: {"message": "failed", "exc_info": text},
    "structlog": lambda text: {"message": "failed", "exception": text},
    "ecs": lambda text: {"message": "failed", "error": {"type": "x", "stack_trace": text}},
    "loguru": lambda text: {"record": {"message": "failed", "exception": {"type": "x"}}, "text": f"failed\n{text}\n"},
    "bunyan": lambda text: {"message": "failed", "err": {"message": "x", "stack": text}},
    "itself": lambda text: {"message": text, "stack": text},
}


@pytest.mark.parametrize("wrap", TRACEBACKS.values(), ids=TRACEBACKS.keys())
def test_a_traceback_in_a_field_of_its_own_is_read(wrap: Callable[[str], object]) -> None:
    lines = [json.dumps({"message": line}) for line in BODY]
    text = raised("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB").strip()
    report = scan("\n".join([*lines, json.dumps(wrap(text))]) + "\n")
    assert (report.crash_kind, [entry.count for entry in report.incidents]) == ("oom", [1])
    assert not scan("\n".join([*lines, json.dumps(wrap(text)), json.dumps({"message": frame(2, 2)})]) + "\n").crashed


def test_other_texts_of_a_record_say_nothing() -> None:
    lines = [json.dumps({"message": line, "host": "Killed", "tags": ["Killed", "nan"]}) for line in BODY]
    assert judged("\n".join(lines) + "\n") == ("none", False, 2, 0)
