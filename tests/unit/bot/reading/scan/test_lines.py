from __future__ import annotations

from pathlib import Path

import pytest

from trainmaster.bot.reading.scan.lines import _Rows, line_numbers

_FRAME = b"       3/10      2.67G      1.218       4.65      4.425        267        640:  20%|##        | 4/20".ljust(
    153
)
_FRAME += b"\n"
_TIMED = b"       3/10      2.67G      1.218       4.65      4.425        267        640:  20% 4/20 2.0it/s 44s\n"


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


_TEXTS = [
    b"",
    b"x" * 500,
    (b"f" * 155 + b"\n") * 3000,
    b"\n" * 500 + (b"f" * 155 + b"\n") * 900 + b"head\n\n" + (b"g" * 99 + b"\n") * 400 + b"end",
    b"".join(b"v" * (number % 97) + b"\n" for number in range(3000)),
    b"".join(b"w" * (100 + number % 3) + b"\n" for number in range(3000)),
    b"\n" * 20 + _FRAME * 2 + b"[1] INFO - x\n" * 10 + b"y" * 23 + b"\n" + _FRAME * 40,
    b"\n" * 20 + _FRAME + (b"a/b" + b"c" * 73 + b"\n") * 600,
    b"\n" * 20 + _FRAME * 2 + b"".join(b"z" * 76 + b"\n" for _ in range(600)) + _FRAME * 99,
    b"\n" * 20 + _TIMED * 4 + _TIMED[:-10] + b'\n{"a": 1}\n' + _TIMED * 40,
    b"\n" * 20 + b"0" * 99 + b"\n" + (b"1" * 99 + b"\n" + b"0" * 49 + b"\n" + b"0" * 49 + b"\n") * 99,
]


@pytest.mark.parametrize(
    "text",
    _TEXTS,
    ids=[
        *("empty", "one line", "one width", "several widths", "any width", "alternating widths"),
        *(
            "lines hidden between frames",
            "two as wide as one",
            "pairs between frames",
            "behind a cut frame",
            "digits only",
        ),
    ],
)
def test_lines_are_counted_right_whatever_their_width(text: bytes) -> None:
    assert _Rows().count(bytearray(text), 0, len(text))[0] == text.count(b"\n")


def test_what_lines_of_a_width_shared_before_hides_no_line_feed() -> None:
    frames = _FRAME * 99
    width = len(_FRAME)
    plain = b"0" * (width - 1) + b"\n"
    halves = plain * 2 + (b"0" * 49 + b"\n" + b"0" * (width - 51) + b"\n") * 99
    cut = _FRAME * 2 + (_FRAME[: width - 30] + b"\n" + b"x" * 28 + b"\n") * 99
    for texts in ([*_TEXTS, frames, halves, cut], [frames, halves], [frames, cut, frames], [cut, halves, frames]):
        rows = _Rows()
        for text in (b"\n" * 20 + text for text in texts):
            assert rows.count(bytearray(text), 0, len(text))[0] == text.count(b"\n")
