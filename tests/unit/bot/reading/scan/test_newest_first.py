"""Logs whose newest line stands first, and records of YAML: the same facts as of the log itself."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml

from tests.unit.bot.reading.log_texts import frame, header, raised, start, validation
from trainmaster.bot.reading.scan.newest_first import falls, lines_in_order, moment_of, put_in_order
from trainmaster.bot.reading.scan.scanner import scan_stream

LOG = (
    start() + frame(1, 3) + frame(1, 20) + "\n" + validation() + header()
    + frame(2, 1, losses=("1.2", "nan", "inf")) + "\n" + raised("RuntimeError: CUDA error: illegal memory access")
)  # fmt: skip
LINES = LOG.split("\n")


def facts_of(log: str) -> list[object]:
    report = scan_stream(io.BytesIO(log.encode()))
    names = ("verdict", "crash_detail", "last_epoch", "last_batch", "nan_loss_frames", "map50_95", "undrawn_since")
    return [getattr(report, name) for name in names]


def iso(place: int) -> str:
    return f"{(datetime(2026, 5, 1, tzinfo=UTC) + timedelta(seconds=place // 2, microseconds=1)):%Y-%m-%dT%H:%M:%S.%f}Z"


def each(told: Callable[[int, str], Any]) -> list[Any]:
    """A record a line, the newest first."""
    return [told(place, line) for place, line in enumerate(LINES)][::-1]


def lines(told: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in told)


def of_gcloud(place: int, line: str) -> dict[str, object]:
    return {
        "insertId": "a", "receiveTimestamp": iso(place // 8 * 8 + 9), "textPayload": line, "timestamp": iso(place)
    }  # fmt: skip


NEWEST_FIRST: dict[str, str] = {
    "grafana": lines(each(lambda place, line: f"{iso(place)}\t{line}")),
    "logcli": lines(each(lambda place, line: f'{iso(place)} {{app="train"}} {line}')),
    "logcli_json": lines(each(lambda place, line: json.dumps({"line": line, "timestamp": iso(place)}))),
    "journalctl": lines(each(lambda place, line: f"Mar 05 01:02:{place:02} gpu python[812]: {line}")),
    "journalctl_json": lines(each(lambda place, line: json.dumps({"_TS": str(10**15 + place), "MESSAGE": line}))),
    "loki": json.dumps({"data": {"result": [{"values": each(lambda place, line: [str(10**18 + place), line])}]}}),
    "gcloud_json": json.dumps(each(of_gcloud), indent=2),
    "gcloud_json_in_one_line": json.dumps(each(of_gcloud)),
    "a_record_a_line_of_a_list": "[" + ",\n".join(map(json.dumps, each(of_gcloud))) + "]",
    "elasticsearch": json.dumps(
        {"hits": {"hits": each(lambda place, line: {"_source": {"@timestamp": iso(place), "message": line}})}}, indent=1
    ),
    "gcloud": "".join(yaml.safe_dump(record, explicit_start=True) for record in each(of_gcloud)),
}


@pytest.mark.parametrize("exported", NEWEST_FIRST.values(), ids=NEWEST_FIRST)
def test_a_log_with_its_newest_line_first_is_read_as_it_was_printed(exported: str) -> None:
    assert facts_of(exported) == facts_of(LOG)


@pytest.mark.parametrize("style", [None, "'", '"', "|"])
@pytest.mark.parametrize("width", [80, 1000])
@pytest.mark.parametrize("allow_unicode", [True, False])
def test_a_text_that_yaml_has_folded_is_whole(style: str | None, width: int, allow_unicode: bool) -> None:
    records = [{"jsonPayload": {"level": "it's", "message": line}, "timestamp": iso(0)} for line in LINES]
    dumped = [
        yaml.safe_dump(one, default_style=style, explicit_start=True, width=width, allow_unicode=allow_unicode)
        for one in records
    ]
    assert facts_of("".join(dumped)) == facts_of(LOG)
    assert facts_of("".join(dumped).replace("\n", "\r\n")) == facts_of(LOG)


def test_a_log_that_begins_as_a_document_is_read_as_a_log() -> None:
    assert facts_of(f"---\ndata: coco.yaml\n{LOG}") == facts_of(LOG)
    assert facts_of('---\ndata: "\\UFFFFFFFF"\n') == facts_of("")


@pytest.mark.parametrize(
    ("texts", "fall"),
    [
        (["2026-05-01T00:00:03Z", "2026-05-01T00:00:03Z", "2026-05-01 00:00:02,5"], True),
        (["May 1, 2026 @ 00:00:03.000", "May 1, 2026 @ 00:00:02.000", "May 1, 2026 @ 00:00:01.000"], True),
        (["Dec  1 00:00:00", "Nov 30 23:59:59", "Nov 30 23:59:58"], True),
        (["1777593600002", "1777593600001", "1777593600000"], True),
        (["1777593600.25", "1777593600.125", "1777593600"], True),
        (["2026-05-01T00:00:03Z", "2026-05-01T00:00:02Z"], False),
        (["2026-05-01T00:00:03Z"] * 3, False),
        (["Sun 05 00:00:00", "Mon 06 00:00:00"], False),
        (["2026-05-01T00:00:03Z", "2026-05-01T00:00:02Z", "2026-05-01T00:00:03Z"], False),
        (["2026-05-01T00:00:03Z", "none", "2026-05-01T00:00:02Z", "2026-05-01T00:00:01Z"], False),
    ],
)
def test_times_fall_only_if_all_do(texts: list[str], fall: bool) -> None:
    assert falls(map(moment_of, texts)) is fall


def test_lines_without_a_time_stay_behind_theirs() -> None:
    times = [iso(2 * place) for place in (3, 2, 1)]
    assert lines_in_order(f"{times[0]} c\nd\n{times[1]} b\n{times[2]} a\n") == (
        f"{times[2]} a\n{times[1]} b\n{times[0]} c\nd\n"
    )
    assert lines_in_order(f"a\n{lines(times)}") is None
    assert lines_in_order("".join(f"it will end at {time}\n1\n2\n3\n" for time in times)) is None
    assert lines_in_order(lines(reversed(times))) is None


def test_records_whose_times_rise_stay_as_they_are() -> None:
    document = [{"time": iso(2 * place), "deadline_time": iso(-2 * place)} for place in range(4)]
    assert not put_in_order({"a": [{"b": list(document)}], "numbers": [3, 2, 1]})
