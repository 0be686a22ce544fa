from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.trainer.checkpoints.test_files import FULL, files_limited_to
from trainmaster.trainer.checkpoints.history import cut_history, cut_results

HEADER = b"epoch,time,loss\n"


@pytest.mark.parametrize(
    ("rows", "last", "left"),
    [
        (b"1,a,b\n2,a,b\n3,a,b\n", 2, b"1,a,b\n2,a,b\n"),
        (b"1,a,b\n2,a,b\n", 5, b"1,a,b\n2,a,b\n"),
        (b"1,a,b\n2,old,b\n3,a,b\n2,new,b\n3,a,b\n", 2, b"1,a,b\n2,new,b\n"),
        (b"1,a,b\n2,a,b\n3,a", 3, b"1,a,b\n2,a,b\n"),
        (b"1,a,b\n2,a,b", 2, b"1,a,b\n"),
        (b"      1,a,b\n      2,a,b\n", 1, b"      1,a,b\n"),
        (b"1,nan,b\nx,y,z\n2,a,b\n", 2, b"1,nan,b\n2,a,b\n"),
        (b"1,a,b\r\n2,a,b\r\n", 1, b"1,a,b\r\n"),
        (b"1,a,b\n", 0, b""),
        (b"", 3, b""),
    ],
    ids=[
        *("later rows", "nothing later", "twice told", "torn row", "last row without its end", "padded cells"),
        *("foreign row", "other line ends", "to the start", "header only"),
    ],
)
def test_history_ends_at_the_epoch(rows: bytes, last: int, left: bytes) -> None:
    cut = cut_history(HEADER + rows, last)
    assert cut == HEADER + left
    assert cut_history(cut, last) == cut


def test_a_missing_file_is_no_history(tmp_path: Path) -> None:
    assert not cut_results(tmp_path / "none.csv", 3)


@pytest.mark.parametrize("kept", [0, 1, len(HEADER) - 1])
def test_a_header_that_is_not_whole_is_written_anew_by_whoever_finds_no_file(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "results.csv"
    path.write_bytes(HEADER[:kept])
    assert cut_results(path, 3)
    assert not path.exists()


def test_full_disk_leaves_the_history_whole(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    content = HEADER + b"".join(b"%d,a,b\n" % epoch for epoch in range(1, 200))
    path.write_bytes(content)
    with files_limited_to(100), pytest.raises(OSError, match=FULL):
        cut_results(path, 100)
    assert path.read_bytes() == content
    assert cut_results(path, 100)
    assert not cut_results(path, 100)
