"""Damaged, hostile and enormous files: no reader raises, and each look takes bounded memory and time."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support.run_dirs import START_TS, WrittenRun
from tests.unit.bot.reading.log_texts import frame, raised, start
from trainmaster.bot.core.run.adoption import Adoption
from trainmaster.bot.reading import adopted
from trainmaster.bot.reading.adopted import AdoptedReader
from trainmaster.bot.reading.results_csv import parse_results
from trainmaster.bot.reading.run_files import MAX_JSON_BYTES, RunReader
from trainmaster.trainer.contract import EventKind

FUZZ = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=8),
        st.sampled_from(["nan", "inf", "-inf"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    [
        "v", "ts", "run", "attempt", "seq", "kind", "epoch", "batch", "batches",
        "epochs", "losses", "metrics", "images", "from_epoch", "file", "verdict", "state", "pid",
        "create_time", "layers", "phase", "phase_since_ts", "text", "reason", "action", "seconds", "skipped",
    ]
)  # fmt: skip
KINDS = st.fixed_dictionaries({"kind": st.sampled_from([kind.value for kind in EventKind])})
RECORDS = st.builds(lambda a, b: {**a, **b}, st.dictionaries(FIELDS, VALUES, max_size=12), KINDS)
LINES = st.one_of(st.binary(max_size=60), RECORDS.map(lambda record: json.dumps(record).encode()))


def written_run(root: Path) -> WrittenRun:
    shutil.rmtree(root / "digits", ignore_errors=True)
    return WrittenRun(root)


def adopted_reader(log: Path) -> AdoptedReader:
    adoption = Adoption(name="a", directory=log.parent, log=log, process=None, adopted_ts=START_TS)
    return AdoptedReader(adoption, first_seen_ts=START_TS)


@FUZZ
@given(st.lists(LINES, max_size=6), st.lists(LINES, max_size=3), RECORDS, RECORDS)
@example([b"[" * 100_000], [b'{"a":' * 100_000], {}, {})
@example([b'{"kind": "bad_batch", "v": 99}', b"{", b"\xff\xfe", b"null"], [b"1e999"], {"pid": -1}, {"phase": []})
def test_no_run_directory_makes_the_reader_raise(
    tmp_path: Path, events: list[bytes], series: list[bytes], record: dict[str, Any], beat: dict[str, Any]
) -> None:
    written = written_run(tmp_path)
    reader = RunReader(written.layout.root, first_seen_ts=START_TS)
    reader.read(START_TS)
    written.layout.events.write_bytes(b"\n".join(events) + b"\n")
    written.layout.series.write_bytes(b"\n".join(series) + b"\n")
    written.layout.run_json.write_text(json.dumps(record))
    written.layout.heartbeat.write_text(json.dumps(beat))
    for now in (START_TS + 1, START_TS - 1e9, START_TS + 1e9):
        reader.read(now)


@FUZZ
@given(
    st.lists(st.one_of(st.binary(max_size=200), st.sampled_from([start().encode(), frame(1, 3).encode()])), max_size=8)
)
def test_no_log_makes_the_reader_of_an_adopted_run_raise(tmp_path: Path, parts: list[bytes]) -> None:
    log = tmp_path / "train.log"
    reader = adopted_reader(log)
    log.write_bytes(b"")
    for number, part in enumerate(parts):
        with log.open("ab") as stream:
            stream.write(part)
        reader.read(START_TS + number)


@FUZZ
@given(st.one_of(st.binary(max_size=400), st.text(alphabet="epoch,/01nanif.-e \n", max_size=200).map(str.encode)))
def test_no_results_make_the_reader_raise(data: bytes) -> None:
    latest = parse_results(b"epoch,time,train/box_loss\n1,2,3\n" + data).latest
    assert all(epoch >= 0 for epoch in latest)


def test_a_record_of_a_gigabyte_is_not_taken_into_memory(tmp_path: Path) -> None:
    written = written_run(tmp_path)
    reader = RunReader(written.layout.root, first_seen_ts=START_TS)
    reader.read(START_TS)
    with written.layout.run_json.open("r+b") as stream:
        stream.truncate(1 << 30)  # a hole: takes no room on the disk
    tracemalloc.start()
    view = reader.read(START_TS + 1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * MAX_JSON_BYTES
    assert "run.json has 1073741824 bytes" in view.read_errors[0]
    assert view.record is not None


@pytest.mark.parametrize("name", ["events", "series"])
def test_an_event_line_of_a_gigabyte_is_read_piece_by_piece(tmp_path: Path, name: str) -> None:
    written = written_run(tmp_path)
    written.bad_batch(1, 3, 5)
    with getattr(written.layout, name).open("ab") as stream:
        stream.truncate(stream.tell() + (1 << 30))
    reader = RunReader(written.layout.root, first_seen_ts=START_TS)
    tracemalloc.start()
    for look in range(3):
        view = reader.read(START_TS + look)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 * 1024 * 1024
    assert view.num_bad == 1


def test_a_run_directory_that_is_deleted_is_told_and_taken_up_when_it_is_back(tmp_path: Path) -> None:
    written = written_run(tmp_path)
    written.bad_batch(1, 3, 5)
    reader = RunReader(written.layout.root, first_seen_ts=START_TS)
    reader.read(START_TS)
    away = tmp_path / "away"
    written.layout.root.rename(away)
    gone = reader.read(START_TS + 1)
    assert "run.json is gone" in gone.read_errors[0]
    assert (gone.num_bad, gone.record is not None) == (1, True)
    away.rename(written.layout.root)
    written.bad_batch(1, 9, 6)
    back = reader.read(START_TS + 2)
    assert (back.num_bad, back.read_errors) == (2, ())


def test_a_long_log_is_caught_up_with_over_several_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adopted, "_LOOK_BYTES", 4096)
    monkeypatch.setattr(adopted, "_MAX_LOOKS_S", 0.0)
    log = tmp_path / "train.log"
    log.write_text(start() + "".join(frame(1, batch, batches=400) for batch in range(400)) + raised("ValueError: end"))
    reader = adopted_reader(log)
    first = reader.read(START_TS)
    beat = first.heartbeat
    assert beat is None or (beat.batch or 0) < 399
    for look in range(1, 40):
        view = reader.read(START_TS + look)
    assert view.heartbeat is not None
    assert view.heartbeat.batch == 399
    assert view.record is not None
    assert view.record.state == "crashed"
