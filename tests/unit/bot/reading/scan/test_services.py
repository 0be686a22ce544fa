"""Several trainings at once in one log, whoever names them before each line; and trainings one behind the other."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Callable, Iterator
from itertools import chain, product
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.bot.reading.log_texts import frame, header, start, validation
from trainmaster.bot.reading.scan import exports
from trainmaster.bot.reading.scan.report import render
from trainmaster.bot.reading.scan.scanner import ScanReport, report_of, scan_stream
from trainmaster.bot.reading.scan.skim import skim

DONE = start() + frame(10, 20) + "\n" + validation() + "\n10 epochs completed in 0.5 hours.\n"
RUNS = start() + frame(1, 3)
KILLED = f"{RUNS}\nKilled\n"

BEFORE = {
    "kubectl": ("[pod/a-0/main] ", "[pod/b-0/main] "),
    "kubectl with times": ("[pod/a-0/m] 2026-05-01T01:02:{0:02}.12345Z ", "[pod/b-0/m] 2026-05-01T01:02:{0:02}.9Z "),
    "stern": ("\x1b[32ma-0\x1b[0m main ", "\x1b[33mb-0\x1b[0m main "),
    "hosts": ("gpu1: ", "gpu10: "),
    "tasks": ("0: ", "1: "),
    "workers": ("(train pid=812) ", "(train pid=813) "),
    "foreman": ("01:02:{0:02} a.1   | ", "01:02:{0:02} b.1   | "),
    "journal": ("May 01 01:02:{0:02} gpu1 python[812]: ", "May 01 01:02:{0:02} gpu1 python[913]: "),
}  # fmt: skip


def stamped(log: str, before: str) -> list[str]:
    return [before.format(place % 60) + line for place, line in enumerate(log.rstrip("\n").split("\n"))]


def by_turns(*logs: list[Any]) -> Iterator[Any]:
    for place in range(max(map(len, logs))):
        yield from (log[place] for log in logs if place < len(log))


def scan(lines: list[str]) -> ScanReport:
    return scan_stream(io.BytesIO(("\n".join(lines) + "\n").encode()))


@pytest.mark.parametrize("before", BEFORE.values(), ids=BEFORE)
def test_of_two_trainings_at_once_the_one_that_was_killed_is_told(before: tuple[str, str]) -> None:
    for logs in ((DONE, KILLED), (KILLED, DONE)):
        lines = list(by_turns(*(stamped(log, one) for log, one in zip(logs, before, strict=True))))
        report = scan(lines)
        assert (report.crashed, report.crash_kind, report.last_epoch, len(report.others)) == (True, "killed", 1, 1)
        assert report.others[0][1].completed
        assert lines[report.incidents[0].line - 1].endswith("Killed")


def record(place: int, pod: str, line: str) -> dict[str, Any]:
    moment = f"2026-05-01T01:{place // 60:02}:{place % 60:02}Z"
    return {"@timestamp": moment, "level": "info", "message": line, "kubernetes": {"host": "gpu1", "pod_name": pod}}


def table(records: list[dict[str, Any]]) -> str:
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    rows = [(one["@timestamp"], one["kubernetes"]["pod_name"], one["message"]) for one in records]
    writer.writerows([("time", "pod", "line"), *rows])
    return out.getvalue()


EXPORTS: dict[str, Callable[[list[dict[str, Any]]], str]] = {
    "a record a line": lambda records: "\n".join(map(json.dumps, records)),
    "a list": json.dumps,
    "a list over lines": lambda records: json.dumps(records, indent=1),
    "an answer": lambda records: json.dumps({"_shards": {"total": 1}, "hits": {"hits": records}}),
    "yaml": lambda records: "".join(yaml.safe_dump(one, explicit_start=True) for one in records),
    "a table": table,
}


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("export", EXPORTS.values(), ids=EXPORTS)
def test_of_two_trainings_in_one_export_the_one_that_was_killed_is_told(
    export: Callable[[list[dict[str, Any]]], str], newest_first: bool
) -> None:
    told = [[(pod, line) for line in log.rstrip("\n").split("\n")] for pod, log in (("a-0", DONE), ("b-0", KILLED))]
    by_time = [*chain.from_iterable(zip(*told, strict=False)), *told[0][len(told[1]) :]]
    for lines, one_by_one in ((by_time, False), ([*told[1], *told[0]], True)):
        records = [record(place, pod, line) for place, (pod, line) in enumerate(lines)]
        report = scan_stream(io.BytesIO(export(records[::-1] if newest_first else records).encode()))
        expected = (True, "none", "", 0) if one_by_one else (False, "killed", "b-0", 1)
        assert (report.completed, report.crash_kind, report.service, len(report.others)) == expected


def test_trainings_of_a_long_export_are_told_apart_whoever_else_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sidecar ends amid them, and a third one begins behind what a glance at the beginning of the export shows."""
    monkeypatch.setattr(exports, "MAX_BYTES", 0)
    logs = {"a-0": DONE, "b-0": RUNS, "c-0": KILLED}
    a, b, c = ([(pod, line) for line in log.split("\n")] for pod, log in logs.items())
    lines = [*by_turns(a, b), ("shipper", "Killed"), ("b-0", "x" * 70_000), *c]
    log = "\n".join(json.dumps(record(place, *line)) for place, line in enumerate(lines))
    report = scan_stream(io.BytesIO(log.encode()))
    others = {name: one.verdict.value for name, one in report.others}
    assert (report.service, report.crash_kind) == ("c-0", "killed")
    assert others == {"a-0": "completed", "b-0": "not_finished"}


def test_output_and_errors_of_one_process_are_no_two_sources() -> None:
    records = [
        {"stream_name": ("stderr", "stdout")[place // 2 % 2], "data": f"{line}\n", "time": place}
        for place, line in enumerate([*(KILLED + DONE).split("\n"), ""])
    ]
    report = scan_stream(io.BytesIO(json.dumps(records).encode()))
    assert (report.completed, report.service) == (True, "")


@pytest.mark.parametrize("before", BEFORE.values(), ids=BEFORE)
def test_a_training_behind_another_is_an_attempt_whatever_its_process_is_called(before: tuple[str, str]) -> None:
    report = scan([*stamped(KILLED, before[0]), *stamped(DONE, before[1])])
    assert (report.completed, report.crashed, report.service, report.others) == (True, False, "", ())


def test_attempts_of_which_two_are_of_one_host_are_no_trainings_at_once() -> None:
    told = [(host, line) for host, log in (("a", KILLED), ("b", KILLED), ("a", DONE)) for line in log.split("\n")]
    records = [record(place, f"{host}-0", line) for place, (host, line) in enumerate(told)]
    for log in ("\n".join(map(json.dumps, records)), json.dumps(records), "\n".join(f"{a}: {b}" for a, b in told)):
        report = scan_stream(io.BytesIO(log.encode()))
        assert (report.completed, report.crashed, report.service) == (True, False, "")


@pytest.mark.parametrize("before", ["{0}: ", "[{0}] ", "01:02:{0:02} ", "[Thread-{0}] ", "2026-05-01 01:{0:02}:03,1 "])
def test_what_changes_with_each_line_names_no_training(before: str) -> None:
    report = scan(stamped(KILLED + DONE, before))
    assert (report.completed, report.service) == (True, "")


@pytest.mark.parametrize("names", [("INFO", "error"), ("INFO", "SUCCESS"), ("Thread-0", "Thread-1", "MainThread")])
def test_what_a_logger_names_within_a_process_names_no_training(names: tuple[str, ...]) -> None:
    for seed in range(20):
        dice = random.Random(seed)
        told = [(dice.choice(names), line) for line in (KILLED + DONE).split("\n")]
        for log in (
            [f"{level}:train:{line}" for level, line in told],
            [json.dumps({"l": a, "msg": b}) for a, b in told],
        ):
            report = scan(log)
            assert (report.completed, report.service) == (True, "")


@pytest.mark.parametrize("date", ["[05/01/26 01:02:{0:02}] ", "[01:02:{0:02}] ", "01.05.26 01:02:{0:02} "])
def test_a_time_that_is_left_out_where_it_is_the_one_before_names_no_training(date: str) -> None:
    lines = (KILLED + DONE).split("\n")
    for first, every in product(range(3), (2, 3, 4, 5)):
        before = [date.format(place % 60) if (place + first) % every else " " * 20 for place in range(len(lines))]
        report = scan([f"{stamp}INFO     {line}" for stamp, line in zip(before, lines, strict=True)])
        assert (report.completed, report.service) == (True, "")


ENDED = "\n10 epochs completed in 0.5 hours.\n"


def read(log: str) -> ScanReport:
    return scan_stream(io.BytesIO(log.encode()))


def epochs(*numbers: int, total: int = 10) -> list[str]:
    return [header() + frame(number, 20, epochs=total) + "\n" for number in numbers]


# Alike and in step they can't be told from one whose epochs the engine repeats.
@pytest.mark.parametrize(("total", "ahead"), [(10, 3), (30, 0), (30, 3)])
def test_of_trainings_that_are_mixed_in_one_log_none_is_known_to_be_complete(
    total: int, ahead: int, tmp_path: Path
) -> None:
    first, second = epochs(*range(1, 6)), epochs(*range(1, 6), total=total)
    mixed = "".join([*first[:ahead], start(total)])
    mixed += "".join(chain.from_iterable(zip(first[ahead:], second, strict=False)))
    log = start() + mixed + "".join(epochs(*range(6, 11))) + validation() + ENDED
    report = read(log)
    assert (report.completed, report.verdict) == (False, "not_finished")
    said = f"NOT KNOWN: several trainings write to this log from line {report.mixed_since} on"
    assert render(report, name="log", color=False).split("\n")[1] == said
    place = tmp_path / "log"
    place.write_text(log)
    assert report_of(skim(place, block_bytes=4096)).to_json() == report.to_json()
    assert read(log + DONE).completed


def test_epochs_that_the_engine_repeats_are_of_one_training() -> None:
    again = "WARNING ⚠️ Loss NaN/Inf detected (attempt 1/3), recovering from last.pt...\n"
    for back in (again, "Resuming training last.pt from epoch 2 to 10 total epochs\n", start()):
        assert read(start() + "".join([*epochs(1, 2, 3), back, *epochs(2, *range(2, 11))]) + ENDED).completed
    estimated = [one for number in range(1, 11) for one in epochs(number, total=20 - number)]
    assert read(start() + "".join(estimated) + ENDED).completed
