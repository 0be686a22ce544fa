from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainmaster.bot.reading.tail import MAX_LINE_BYTES, LineReader, TailNote, read_new


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "train.log"
    path.write_bytes(b"one\ntwo\n")
    return path


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as stream:
        stream.write(data)


def test_each_byte_is_read_once(log: Path) -> None:
    first = read_new(log, None)
    assert (first.data, first.note) == (b"one\ntwo\n", TailNote.FIRST)
    append(log, b"three")
    second = read_new(log, first.cursor)
    assert (second.data, second.note) == (b"three", TailNote.GREW)
    assert read_new(log, second.cursor).data == b""


def test_an_unchanged_file_costs_one_stat(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cursor = read_new(log, None).cursor

    def refuse(*args: object, **kwargs: object) -> int:
        raise AssertionError("opened")

    monkeypatch.setattr(os, "open", refuse)
    assert read_new(log, cursor).note is TailNote.UNCHANGED


def test_a_limit_leaves_the_rest_for_the_next_look(log: Path) -> None:
    first = read_new(log, None, max_bytes=5)
    second = read_new(log, first.cursor, max_bytes=5)
    assert (first.data, first.more, second.data, second.more) == (b"one\nt", True, b"wo\n", False)


def test_a_file_that_appears_late_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "late.log"
    missing = read_new(path, None)
    assert (missing.note, missing.cursor) == (TailNote.MISSING, None)
    path.write_bytes(b"here")
    assert read_new(path, missing.cursor).data == b"here"


def test_a_file_that_went_and_came_back_the_same_goes_on(log: Path) -> None:
    cursor = read_new(log, None).cursor
    aside = log.rename(log.with_name("aside"))
    gone = read_new(log, cursor)
    assert gone.note is TailNote.MISSING
    aside.rename(log)
    append(log, b"more")
    assert read_new(log, gone.cursor).data == b"more"


def test_a_truncated_file_is_read_anew(log: Path) -> None:
    cursor = read_new(log, None).cursor
    log.write_bytes(b"x")
    look = read_new(log, cursor)
    assert (look.data, look.note) == (b"x", TailNote.TRUNCATED)


def test_a_file_truncated_and_grown_beyond_the_cursor_is_noticed_by_its_head(log: Path) -> None:
    cursor = read_new(log, None).cursor
    log.write_bytes(b"another log that is longer\n")
    look = read_new(log, cursor)
    assert (look.data, look.note) == (b"another log that is longer\n", TailNote.REPLACED)


def test_a_file_rewritten_to_the_same_size_is_noticed(log: Path) -> None:
    cursor = read_new(log, None).cursor
    log.write_bytes(b"ONE\nTWO\n")
    os.utime(log, ns=(1, 1))
    assert read_new(log, cursor).note is TailNote.REPLACED


def test_a_touched_file_is_not_taken_for_new(log: Path) -> None:
    cursor = read_new(log, None).cursor
    os.utime(log, ns=(1, 1))
    assert read_new(log, cursor).note is TailNote.UNCHANGED


def test_bytes_that_a_network_file_system_still_owes_are_read_once_they_are_there(log: Path) -> None:
    append(log, bytes(9))
    early = read_new(log, None)
    assert (early.data, early.more) == (b"one\ntwo\n", False)
    log.write_bytes(b"one\ntwo\nthree\nfo")
    look = read_new(log, early.cursor)
    assert (look.data, look.note) == (b"three\nfo", TailNote.GREW)


def test_a_replaced_file_is_read_from_its_beginning(log: Path) -> None:
    cursor = read_new(log, None).cursor
    fresh = log.with_name("fresh")
    fresh.write_bytes(b"one\ntwo\nthree\n")
    fresh.replace(log)
    look = read_new(log, cursor)
    assert (look.data, look.note) == (b"one\ntwo\nthree\n", TailNote.REPLACED)


@pytest.mark.parametrize("aside", ["train.log.1", "train.log-20260131", "train-2026-01-31.log"])
def test_the_unread_rest_of_a_rotated_file_comes_first(log: Path, aside: str) -> None:
    cursor = read_new(log, None).cursor
    append(log, b"last words\n")
    log.rename(log.with_name(aside))
    log.write_bytes(b"new file\n")
    rest = read_new(log, cursor)
    assert (rest.data, rest.note, rest.more) == (b"last words\n", TailNote.ROTATED, True)
    fresh = read_new(log, rest.cursor)
    assert (fresh.data, fresh.note) == (b"new file\n", TailNote.REPLACED)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "fifo"])
def test_what_is_no_file_is_unreadable_not_missing(tmp_path: Path, make) -> None:
    make(tmp_path / "odd")
    assert read_new(tmp_path / "odd", None).note is TailNote.UNREADABLE


def test_a_dead_mount_is_unreadable_and_loses_nothing(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cursor = read_new(log, None).cursor
    append(log, b"more")
    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", lambda *_: (_ for _ in ()).throw(OSError(116, "Stale file handle")))
        dead = read_new(log, cursor)
    assert (dead.note, dead.cursor, "Stale" in dead.error) == (TailNote.UNREADABLE, cursor, True)
    assert read_new(log, dead.cursor).data == b"more"


def test_a_path_that_no_system_takes_is_unreadable() -> None:
    assert read_new(Path("a\0b"), None).note is TailNote.UNREADABLE


def test_a_last_line_waits_for_its_end(log: Path) -> None:
    append(log, b"thr")
    reader = LineReader(log)
    assert reader.read() == [b"one", b"two"]
    append(log, b"ee\n")
    assert reader.read() == [b"three"]


def test_a_restarted_reader_repeats_and_misses_no_line(log: Path) -> None:
    append(log, b"thr")
    reader = LineReader(log)
    reader.read()
    append(log, b"ee\n")
    assert LineReader(log, reader.cursor).read() == [b"three"]


def test_a_replaced_file_drops_the_unfinished_line(log: Path) -> None:
    append(log, b"half")
    reader = LineReader(log)
    reader.read()
    log.write_bytes(b"new\n")
    assert (reader.read(), reader.last.note) == ([b"new"], TailNote.TRUNCATED)


def test_an_endless_line_takes_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "long.log"
    reader = LineReader(path, max_bytes=MAX_LINE_BYTES // 2)
    path.write_bytes(b"x" * (3 * MAX_LINE_BYTES) + b"\nshort\n")
    lines: list[bytes] = []
    for _ in range(8):
        lines += reader.read()
        assert len(reader._partial) <= MAX_LINE_BYTES
    assert [len(line) for line in lines] == [MAX_LINE_BYTES, 5]


@settings(max_examples=50)
@given(st.lists(st.binary(max_size=20), max_size=10), st.integers(1, 9))
def test_lines_are_whole_whatever_the_writes(tmp_path_factory, writes: list[bytes], max_bytes: int) -> None:
    path = tmp_path_factory.mktemp("tail") / "log"
    reader = LineReader(path, max_bytes=max_bytes)
    lines: list[bytes] = []
    for data in writes:
        append(path, data)
        lines += reader.read()
    while reader.last.more or reader.last.note is not TailNote.UNCHANGED:
        lines += reader.read()
        if reader.last.note is TailNote.MISSING:
            break
    assert lines == b"".join(writes).split(b"\n")[:-1]
