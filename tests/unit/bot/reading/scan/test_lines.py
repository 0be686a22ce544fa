from __future__ import annotations

from pathlib import Path

import pytest

from trainmaster.bot.reading.scan.lines import line_numbers


@pytest.mark.parametrize("line", [b"\n", b"x\n", b"x" * 70_000 + b"\n"], ids=["dense", "short", "sparse"])
def test_lines_are_numbered_across_blocks(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "log"
    count = 3_000_000 // len(line)
    path.write_bytes(line * count)
    places = {number: (number - 1) * len(line) for number in (1, 2, count // 2, count)}
    with path.open("rb", buffering=0) as stream:
        numbers = line_numbers(stream, places.values())
    assert numbers == {offset: number for number, offset in places.items()}


def test_a_file_that_shrank_meanwhile_ends_the_search(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"a\nb\n")
    with path.open("rb", buffering=0) as stream:
        assert line_numbers(stream, [2, 9_000_000]) == {2: 2, 9_000_000: 3}
