"""Logs within tables, notebooks and JSON documents: the same facts as of the log itself."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import random
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.unit.bot.reading.log_texts import frame, header, raised, start, validation
from trainmaster.bot.reading.scan.packed import unpacked
from trainmaster.bot.reading.scan.scanner import ScanReport, scan_file, scan_stream

LOG = (
    start() + frame(1, 3) + frame(1, 20) + "\n" + validation() + header()
    + frame(2, 1, losses=("1.2", "nan", "inf")) + "\n" + raised("RuntimeError: CUDA error: illegal memory access")
)  # fmt: skip
LONG = "progress, 1 of 2\n" * 8_000 + LOG
"""So much that no reader takes it in one piece."""
LONG_KILLED = "progress, 1 of 2\n" * 8_000 + start() + frame(1, 3) + "\nKilled\n"
FACTS = (
    *("last_epoch", "last_batch", "nan_loss_frames", "nan_loss_lines", "map50", "map50_95", "crash_kind"),
    *("crash_detail", "verdict"),
)


def facts_of(report: ScanReport) -> list[object]:
    return [getattr(report, name) for name in FACTS]


def bare() -> list[object]:
    return facts_of(scan_stream(io.BytesIO(LOG.encode())))


def moment(place: int) -> datetime:
    return datetime(2026, 5, 1) + timedelta(seconds=place)  # noqa: DTZ001 - a table of a service names no zone


def iso(place: int, _: str) -> str:
    return f"{moment(place).isoformat()}Z"


def table(
    columns: dict[str, Callable[[int, str], object]], *, separator: str = ",", newest_first: bool = False
) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=separator)
    rows = [[cell(place, line) for cell in columns.values()] for place, line in enumerate(LOG.split("\n"))]
    writer.writerows([list(columns), *(reversed(rows) if newest_first else rows)])
    return out.getvalue().encode()


TEXT: Callable[[int, str], object] = lambda _, line: line  # noqa: E731 - as its neighbours
MILLISECONDS: Callable[[int, str], object] = lambda place, _: 1_777_593_600_000 + 1000 * place  # noqa: E731
KIBANA: Callable[[int, str], object] = lambda place, _: moment(place).strftime("%b %d, %Y @ %H:%M:%S.000")  # noqa: E731
HOST: Callable[[int, str], object] = lambda *_: "gpu-1, rack 2"  # noqa: E731
TABLES = {
    "cloudwatch": table({"timestamp": MILLISECONDS, "message": TEXT}),
    "cloudwatch_insights": table({"@timestamp": iso, "@message": TEXT}, newest_first=True),
    "datadog": table({"Date": iso, "Host": HOST, "Service": HOST, "Content": TEXT}, newest_first=True),
    "grafana": table({"Line": TEXT, "Time": iso, "tsNs": MILLISECONDS}, newest_first=True),
    "kibana": table({"@timestamp": KIBANA, "message": TEXT, "host.name": HOST}, newest_first=True),
    "google_cloud": table({"timestamp": iso, "resource.labels.pod": HOST, "jsonPayload.message": TEXT}),
    "excel": table({"timestamp": MILLISECONDS, "message": TEXT}, separator=";"),
    "excel_in_utf16": ("\ufeff" + table({"time": MILLISECONDS, "log": TEXT}, separator="\t").decode()).encode(
        "utf-16-le"
    ),
    "headings_of_another_language": table({"zeit": MILLISECONDS, "inhalt": TEXT}, separator=";"),
    "all_in_one_cell": table({"name": lambda *_: "train", "output": lambda place, _: "" if place else LOG}),
}


@pytest.mark.parametrize("exported", TABLES.values(), ids=TABLES)
def test_a_log_in_a_column_of_a_table_is_read_as_it_was_printed(exported: bytes) -> None:
    assert facts_of(scan_stream(io.BytesIO(exported))) == bare()


def test_a_finding_in_a_table_has_the_line_of_the_file() -> None:
    report = scan_stream(io.BytesIO(TABLES["cloudwatch"]))
    lines = TABLES["cloudwatch"].split(b"\n")
    assert b"nan" in lines[report.incidents[0].line - 1]


@pytest.mark.parametrize("first", ["epoch,time", "message", "time,host", "Transferred 355/355 items, 3 new", "a;b"])
def test_a_log_that_begins_like_a_table_is_read_as_a_log(first: str) -> None:
    assert facts_of(scan_stream(io.BytesIO(f"{first}\n{LOG}".encode()))) == bare()


def notebook(printed: object, **errors: object) -> str:
    outputs = [{"name": "stdout", "output_type": "stream", "text": printed}, {"output_type": "error", **errors}]
    cells = [{"cell_type": "code", "metadata": {}, "outputs": outputs, "source": ["raise ValueError: no\n", "x"]}]
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


KAGGLE = [
    json.dumps({"stream_name": "stderr", "time": 1.5, "data": LOG[at : at + 37]}) for at in range(0, len(LOG), 37)
]
DOCUMENTS = {
    "notebook": notebook([f"{line}\n" for line in LONG.split("\n")]),
    "short_notebook": notebook([f"{line}\n" for line in LOG.split("\n")]),
    "notebook_with_one_text": notebook(LONG),
    "list_of_records": json.dumps([{"severity": "INFO", "textPayload": line} for line in LONG.split("\n")]),
    "elasticsearch": json.dumps({"hits": {"hits": [{"_source": {"message": line}} for line in LONG.split("\n")]}}),
    "loki": json.dumps({"data": {"result": [{"values": [["1", line] for line in LONG.split("\n")]}]}}),
    "many_short_records": json.dumps([{"log": line} for line in [*[""] * 700, *LOG.split("\n")]]),
    "kaggle_in_pieces": f"[{', '.join(KAGGLE)}]",
    "kaggle_in_pieces_over_lines": "[" + "\n,".join(KAGGLE) + "\n]",
    "lines_under_a_key_of_their_own": json.dumps({"msg": "failed", "printed": LOG.split("\n")}),
    "asciinema": json.dumps({"version": 1, "stdout": [[0.5, LOG[at : at + 37]] for at in range(0, len(LOG), 37)]}),
    "few_lines_a_record": json.dumps(
        [{"log": LOG.split("\n")[at : at + 4]} for at in range(0, LOG.count("\n") + 1, 4)]
    ),
}


@pytest.mark.parametrize("exported", DOCUMENTS.values(), ids=DOCUMENTS)
def test_a_document_in_one_line_is_read_as_its_log_was_printed(tmp_path: Path, exported: str) -> None:
    path = tmp_path / "export.json"
    path.write_text(exported, encoding="utf-8")
    assert facts_of(scan_file(path)) == bare()


def test_what_a_notebook_tells_of_an_exception_without_its_traceback_is_its_end() -> None:
    log = notebook(
        start() + frame(1, 3),
        ename="KeyError",
        evalue="'a'",
        traceback=["Traceback (most recent call last)", "KeyError: 'a'"],
    )
    assert scan_stream(io.BytesIO(log.encode())).crashed


@pytest.mark.parametrize(
    "log",
    [
        "PLAY [all] ***\n\nok: [gpu1] => " + json.dumps({"changed": True, "stdout": LONG_KILLED}) + "\n",
        json.dumps({"status": "failed", "log": LONG_KILLED, "code": 1}, indent=2),
        json.dumps(json.loads(notebook(LONG_KILLED)), indent=1),
    ],
    ids=["behind words", "over lines", "a notebook"],
)
def test_a_long_log_within_a_record_is_read_to_its_end(log: str) -> None:
    report = scan_stream(io.BytesIO(log.encode()))
    assert (report.crash_kind, report.last_batch) == ("killed", 3)


def test_each_line_that_a_notebook_keeps_in_a_list_of_its_own_is_read() -> None:
    """Standard output and error alternate, so most lists have one line."""
    outputs = [{"output_type": "stream", "text": [f"{line}\n"]} for line in LOG.split("\n")]
    log = json.dumps({"cells": [{"outputs": outputs}], "metadata": {}}, indent=1)
    assert facts_of(scan_stream(io.BytesIO(log.encode()))) == bare()


def test_a_log_within_a_record_is_found_behind_other_words() -> None:
    log = json.dumps({"msg": "failed", "printed": f"setup\n{start()}{frame(1, 3)}\nKilled\n"})
    report = scan_stream(io.BytesIO(log.encode()))
    assert (report.crash_kind, report.last_batch) == ("killed", 3)


def test_of_records_that_have_their_text_under_different_keys_each_is_read() -> None:
    records: list[dict[str, object]] = [{"jsonPayload": {"message": line}} for line in start().split("\n")]
    said = "The replica workerpool0-0 ran out-of-memory and exited with a non-zero status of 137(SIGKILL)."
    log = json.dumps([*records, {"textPayload": said}])
    assert scan_stream(io.BytesIO(log.encode())).crash_detail == said


@pytest.mark.parametrize("cut", [7, 13, 40, 100])
def test_a_line_that_docker_has_cut_into_records_is_whole(cut: int) -> None:
    lines = [f"{line}\n" for line in LOG.split("\n")]
    parts = [line[place : place + cut] for line in lines for place in range(0, len(line), cut)]
    records = [json.dumps({"log": part, "stream": "stderr", "time": "2026-05-01T00:00:00Z"}) for part in parts]
    report = scan_stream(io.BytesIO("\n".join(records).encode()))
    assert facts_of(report)[:3] == bare()[:3]
    assert report.crash_detail == bare()[7]


ERROR = ("stderr", raised("torch.OutOfMemoryError: CUDA out of memory."))
HELD = ("stdout", frame(1, 1) + frame(1, 2))


@pytest.mark.parametrize(
    ("keys", "parts"),
    [
        pytest.param(("stream", "log", "time"), (ERROR, HELD), id="docker, that writes half a line at the end"),
        pytest.param(
            ("stream", "log", "time"),
            (("stdout", f"{HELD[1]}\n"), ERROR, ("stdout", validation().split("\n")[0])),
            id="docker, that writes half a validation at the end",
        ),
        pytest.param(("stream_name", "data", "time"), (HELD, ERROR), id="kaggle, whose line nothing has ended"),
    ],
)
def test_what_a_stream_held_as_its_process_ended_is_no_training_that_went_on(
    keys: tuple[str, ...], parts: tuple[tuple[str, str], ...]
) -> None:
    records = [json.dumps(dict(zip(keys, (*part, "1"), strict=True))) for part in (("stdout", start()), *parts)]
    report = scan_stream(io.BytesIO("\n".join(records).encode()))
    assert (report.crash_kind, report.last_batch) == ("oom", 2)


TAGGED = {
    "fluent_bit": lambda part, last: json.dumps({"logtag": "F" if last else "P", "message": part}),
    "fluentd": lambda part, last: json.dumps(
        {"log": part, "partial_message": "true", "partial_last": str(last).lower()}
    ),
    "journald": lambda part, last: json.dumps(
        {"MESSAGE": list(part.encode())} | ({} if last else {"_LINE_BREAK": "line-max"})
    ),
    "cri": lambda part, last: f"2026-05-01T00:00:00.000000001Z stderr {'F' if last else 'P'} {part}",
    "podman": lambda part, last: f"2026-05-01T00:00:00.000000001+02:00 stdout {'F' if last else 'P'} {part}",
}  # fmt: skip


@pytest.mark.parametrize("cut", [13, 100])
@pytest.mark.parametrize("name", TAGGED)
def test_a_line_whose_parts_are_tagged_is_whole(name: str, cut: int) -> None:
    ranges = [(line, place) for line in LOG.split("\n") for place in range(0, max(1, len(line)), cut)]
    records = [TAGGED[name](line[place : place + cut], place + cut >= len(line)) for line, place in ranges]
    assert facts_of(scan_stream(io.BytesIO("\n".join(records).encode())))[:3] == bare()[:3]


def long_line(spelt: str, frames: int) -> str:
    """A line of healthy frames, then of others, redrawn."""
    losses = ("1.2", spelt, "0.9")
    drawn = [
        frame(1, 1 + place % 19, losses=losses if place >= frames // 2 else ("1.2", "1.3", "0.9"))
        for place in range(frames)
    ]
    return start() + "".join(drawn) + frame(1, 20) + "\n" + validation()


@pytest.mark.parametrize("spelt", ["nan", "NaN", "NAN", "Inf", "INF", "-Infinity"])
def test_every_frame_of_a_long_log_counts_however_its_losses_are_spelt(tmp_path: Path, spelt: str) -> None:
    path = tmp_path / "train.log"
    path.write_text(long_line(spelt, 12_000), encoding="utf-8")
    assert path.stat().st_size > 1024 * 1024
    assert scan_file(path).nan_loss_frames == 6_000


def test_every_frame_of_a_long_log_counts_that_containerd_has_cut(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    lines = long_line("nan", 12_000).encode().split(b"\n")
    parts = [
        (line[place : place + 16_384], place + 16_384 >= len(line))
        for line in lines
        for place in range(0, max(1, len(line)), 16_384)
    ]
    path.write_bytes(
        b"\n".join(b"2026-05-01T00:00:00.1Z stderr %s %s" % (b"F" if last else b"P", part) for part, last in parts)
    )
    assert 5_998 <= scan_file(path).nan_loss_frames <= 6_000


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("frames", [40, 6_000])
def test_a_log_in_utf_16_without_a_mark_is_read(tmp_path: Path, encoding: str, frames: int) -> None:
    path = tmp_path / "train.log"
    path.write_bytes(long_line("nan", frames).encode(encoding))
    assert scan_file(path).nan_loss_frames == frames // 2


def recording(log: str, version: int) -> str:
    """As asciinema writes one; a program may have written half a line at a time."""
    head = {"version": version, "width": 120, "height": 40} if version == 2 else {"version": 3, "term": {"cols": 120}}
    halves = [half for line in log.replace("\n", "\r\n").splitlines(keepends=True) for half in (line[:9], line[9:])]
    events = [[place / 10, "o", half] for place, half in enumerate(halves)]
    return "\n".join(json.dumps(one) for one in (head, [0.1, "r", "120x40"], *events)) + "\n"


@pytest.mark.parametrize("version", [2, 3])
def test_the_recording_of_a_terminal_is_read_as_what_it_showed(version: int) -> None:
    log = recording(LOG, version)
    assert facts_of(scan_stream(io.BytesIO(log.encode()))) == bare()
    killed = recording(start() + frame(1, 3) + "\nKilled\n", version)
    assert scan_stream(io.BytesIO(killed.encode())).crash_kind == "killed"


def lzma_alone(log: bytes) -> bytes:
    return lzma.compress(log, format=lzma.FORMAT_ALONE)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, lzma_alone])
def test_a_compressed_log_is_read_as_it_was(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "train.log.1.gz"
    path.write_bytes(pack(LOG.encode()))
    assert facts_of(scan_file(path)) == bare()
    path.write_bytes(pack(random.Random(7).randbytes(300_000) + LOG.encode())[:-9])
    assert scan_file(path).crash_detail in {None, bare()[-2]}  # cut: as much of it as there is


@pytest.mark.parametrize(
    ("head", "name"),
    [
        *((b"\x28\xb5\x2f\xfd", "zstd"), (b"PK\3\4", "zip"), (b"\x04\x22\x4d\x18", "lz4"), (b"\x1f\x9d", "compress")),
        (b"7z\xbc\xaf\x27\x1c", "7z"),
    ],
)
def test_a_log_that_cannot_be_unpacked_here_says_so(tmp_path: Path, head: bytes, name: str) -> None:
    path = tmp_path / "train.log"
    path.write_bytes(head + LOG.encode())
    with pytest.raises(ValueError, match=name):
        scan_file(path)


def test_a_compressed_log_of_any_length_is_not_unpacked_whole() -> None:
    with (
        pytest.raises(ValueError, match="more than 1,000 bytes"),
        unpacked(io.BytesIO(gzip.compress(bytes(5_000))), "gzip", max_bytes=1_000),
    ):
        pass
