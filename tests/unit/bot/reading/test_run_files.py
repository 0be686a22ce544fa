from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.run_dirs import START_TS, WrittenRun
from trainmaster.bot.reading.run_files import RunReader, find_runs
from trainmaster.trainer.contract import Phase, RunRecordState


def _reader(written: WrittenRun) -> RunReader:
    return RunReader(written.layout.root, first_seen_ts=START_TS)


def test_events_are_taken_in_once(tmp_path: Path) -> None:
    written = WrittenRun(tmp_path)
    reader = _reader(written)
    written.bad_batch(1, 3, 5)
    reader.read(START_TS)
    view = reader.read(START_TS)
    assert view.num_bad == 1
    written.bad_batch(1, 4, 6)
    assert reader.read(START_TS).num_bad == 2


def test_a_half_written_line_waits_for_its_end(tmp_path: Path) -> None:
    written = WrittenRun(tmp_path)
    reader = _reader(written)
    written.bad_batch(1, 3, 5)
    whole = written.layout.events.read_bytes()
    written.layout.events.write_bytes(whole[:-20])
    assert reader.read(START_TS).num_bad == 0
    with written.layout.events.open("ab") as stream:
        stream.write(whole[-20:])
    view = reader.read(START_TS)
    assert view.num_bad == 1
    assert view.read_errors == ()


def test_a_torn_line_is_told_and_passed_over(tmp_path: Path) -> None:
    written = WrittenRun(tmp_path)
    with written.layout.events.open("ab") as stream:
        stream.write(b'{"v":1,"ts":1,"ru\n\xff\xfe junk\n')
    written.bad_batch(1, 3, 5)
    view = _reader(written).read(START_TS)
    assert view.num_bad == 1
    assert "2 damaged line(s)" in view.read_errors[0]


def test_a_replaced_file_is_read_from_its_start_without_counting_twice(tmp_path: Path) -> None:
    written = WrittenRun(tmp_path)
    reader = _reader(written)
    written.bad_batch(1, 3, 5)
    reader.read(START_TS)
    written.layout.events.rename(tmp_path / "aside")
    written.bad_batch(1, 3, 5)
    written.bad_batch(1, 4, 6)
    assert reader.read(START_TS).num_bad == 2


def test_a_directory_without_a_record_is_no_run_yet(tmp_path: Path) -> None:
    view = RunReader(tmp_path, first_seen_ts=START_TS).read(START_TS)
    assert view.record is None
    assert view.read_errors == ()


def test_damaged_records_keep_what_was_known(tmp_path: Path) -> None:
    written = WrittenRun(tmp_path)
    reader = _reader(written)
    reader.read(START_TS)
    written.layout.run_json.write_text("{half")
    view = reader.read(START_TS)
    assert view.record is not None
    assert "run.json" in view.read_errors[0]


def test_what_cannot_be_read_is_told_and_the_rest_is_read(tmp_path: Path) -> None:
    written = WrittenRun(tmp_path)
    written.layout.events.mkdir()
    written.beat(5, epoch=1, batch=3)
    view = _reader(written).read(START_TS)
    assert view.read_errors == (
        "events.jsonl can't be read: is not a regular file. Check its permissions and the mount.",
    )
    assert view.beat is not None


def test_log_tail_shows_what_a_terminal_would(tmp_path: Path) -> None:
    written = WrittenRun(tmp_path)
    written.layout.train_log.write_bytes(b"start\n\x1b[K 1/4 10%\r\x1b[K 1/4 20%\r\x1b[31mboom\x1b[0m\n\n")
    reader = _reader(written)
    reader.read(START_TS)
    assert reader.log_tail() == ("start", "boom")


def test_runs_are_found_where_ultralytics_nests_them_and_archives_are_not(tmp_path: Path) -> None:
    WrittenRun(tmp_path, "flat")
    WrittenRun(tmp_path / "detect" / "project", "nested")
    WrittenRun(tmp_path / "archive", "old")
    assert [path.name for path in find_runs(tmp_path)] == ["nested", "flat"]


def test_a_directory_deleted_under_the_training_is_told_until_it_is_back(tmp_path: Path) -> None:
    written = WrittenRun(tmp_path)
    written.beat(5, epoch=1, batch=5)
    reader = RunReader(written.layout.root, first_seen_ts=START_TS)
    assert reader.read(START_TS + 10).read_errors == ()
    written.layout.root.rename(tmp_path / "moved")
    gone = reader.read(START_TS + 20)
    assert gone.read_errors
    assert "moved or deleted" in gone.read_errors[0]
    assert gone.beat is not None
    assert gone.beat.batch == 5
    (tmp_path / "moved").rename(written.layout.root)
    assert reader.read(START_TS + 30).read_errors == ()


def test_a_finished_run_may_be_deleted_without_a_word(tmp_path: Path) -> None:
    written = WrittenRun(tmp_path)
    written.record(state=RunRecordState.FINISHED)
    reader = RunReader(written.layout.root, first_seen_ts=START_TS)
    reader.read(START_TS + 10)
    written.layout.root.rename(tmp_path / "moved")
    assert reader.read(START_TS + 20).read_errors == ()


TRACEBACK = "Traceback (most recent call last):\n  File x\nKeyError: 'session'\n"


@pytest.mark.parametrize(
    ("beat_after_s", "phase", "longest_batch_s", "outlived"),
    [
        pytest.param(6.0, "training", 0.1, True, id="training went on"),
        pytest.param(6.0, "validating", 0.1, True, id="and was at its validation"),
        pytest.param(6.0, "ended", 0.1, False, id="its end was written late"),
        pytest.param(1.0, "training", 0.1, False, id="the batch in work was finished"),
        pytest.param(6.0, "training", 10.0, False, id="another rank finished its batch"),
        pytest.param(-1.0, "training", 0.1, False, id="nothing came after it"),
    ],
)
def test_an_error_is_outlived_by_heartbeats_well_after_it(
    tmp_path: Path, beat_after_s: float, phase: str, longest_batch_s: float, outlived: bool
) -> None:
    """By the clock of the file system, whatever those of the bot and the trainer say."""
    written = WrittenRun(tmp_path)
    written.beat(1, epoch=1, batch=3)
    reader = _reader(written)
    reader.read(START_TS)
    log, beat = written.layout.train_log, written.layout.heartbeat
    log.write_text(TRACEBACK)
    written.beat(2, epoch=1, batch=9, phase=Phase(phase), longest_batch_s=longest_batch_s)
    os.utime(beat, (log.stat().st_mtime + beat_after_s,) * 2)
    (error,) = reader.read(START_TS).log_errors
    assert error.outlived is outlived
    (kept,) = reader.read(START_TS + 60).log_errors
    assert kept.outlived is outlived


def test_frames_behind_an_error_outlive_it_and_nothing_does_a_later_one(tmp_path: Path) -> None:
    written = WrittenRun(tmp_path)
    reader = _reader(written)
    reader.read(START_TS)
    frame = "      1/400      0G      1.525      2.251      1.102         12        640\n"
    written.layout.train_log.write_text(TRACEBACK)
    assert [one.outlived for one in reader.read(START_TS).log_errors] == [False]
    with written.layout.train_log.open("a") as stream:
        stream.write(frame * 3 + TRACEBACK)
    assert [one.outlived for one in reader.read(START_TS).log_errors] == [True, False]
