from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainmaster.bot.reading.results_csv import parse_results, read_results

NAMES = ("epoch", "time", "train/box_loss", "metrics/mAP50(B)", "val/box_loss", "lr/pg0")
PLAIN = ",".join(NAMES) + "\n"
PADDED = ",".join(f"{name:>23}" for name in ("epoch", *NAMES[2:])) + "\n"


def plain(epoch: int, loss: str = "1.25") -> str:
    return f"{epoch},{10.5 * epoch},{loss},0.5,0.9,0.01\n"


def test_plain_rows_are_read_by_column() -> None:
    results = parse_results((PLAIN + plain(1) + plain(2)).encode())
    assert [row.epoch for row in results.rows] == [1, 2]
    assert results.rows[1].values == {
        "time": 21.0, "train/box_loss": 1.25, "metrics/mAP50(B)": 0.5, "val/box_loss": 0.9, "lr/pg0": 0.01,
    }  # fmt: skip
    assert results.rows[0].named("train/") == {"box_loss": 1.25}


@pytest.mark.parametrize("end", ["", ","], ids=["bare", "trailing_comma"])
def test_padded_rows_are_read_by_column(end: str) -> None:
    row = ",".join(f"{cell:>23}" for cell in ("1", "1.25", "0.5", "0.9", "0.01")) + f"{end}\n"
    assert parse_results((PADDED + row).encode()).rows[0].values["train/box_loss"] == 1.25


@pytest.mark.parametrize("timed", [True, False], ids=["with time", "without"])
def test_rows_behind_a_column_that_somebody_added_are_read_by_their_own_columns(timed: bool) -> None:
    head, row = PLAIN[:-1] + ",my/x\n", plain(1)[:-1] + ",7\n"
    later = plain(2)
    if not timed:
        head, row, later = head.replace(",time", ""), row.replace(",10.5", ""), later.replace(",21.0", "")
    results = parse_results((head + row + later).encode())
    assert [(one.epoch, one.values["train/box_loss"]) for one in results.rows] == [(1, 1.25), (2, 1.25)]


def test_rows_behind_those_that_a_spreadsheet_has_saved_are_read() -> None:
    saved = (PLAIN + plain(1)).replace(",", ";").replace(".", ",")
    results = parse_results((saved + plain(2)).encode())
    assert [(row.epoch, row.values["train/box_loss"]) for row in results.rows] == [(1, 1.25), (2, 1.25)]


def test_a_training_loss_that_pandas_left_empty_was_nan() -> None:
    validated_later = plain(2).replace("0.5,0.9", ",")
    rows = parse_results((PLAIN + plain(1, "") + validated_later).encode()).rows
    assert [math.isnan(row.values["train/box_loss"]) for row in rows] == [True, False]
    assert not {"metrics/mAP50(B)", "val/box_loss"} & rows[1].values.keys()


@pytest.mark.parametrize(
    ("cell", "holds"),
    [
        *(
            (cell, math.isnan)
            for cell in ("nan", "NaN", "NAN", "-nan", "nan(ind)", "-nan(ind)", "-NaN(IND)", "nan(snan)")
        ),
        *((cell, math.isnan) for cell in ("1.#IND", "-1.#IND00", "-1.#QNAN", "1.#QNAN0", '"nan"', "tensor(nan)")),
        *((cell, math.isinf) for cell in ("inf", "-inf", "Infinity", "1.#INF", "-1.#INF00")),
    ],
)
def test_numbers_that_are_not_finite_are_kept(cell: str, holds) -> None:
    assert holds(parse_results((PLAIN + plain(1, cell)).encode()).rows[0].values["train/box_loss"])


def test_a_resume_supersedes_the_epochs_it_went_back_over() -> None:
    results = parse_results((PLAIN + plain(1) + plain(2, "9") + plain(3, "9") + plain(2, "1")).encode())
    assert len(results.rows) == 4
    assert {epoch: row.values["train/box_loss"] for epoch, row in results.latest.items()} == {1: 1.25, 2: 1.0}


@pytest.mark.parametrize(
    "end",
    ["3,31.5,1.2", "3", plain(3).rstrip("\n"), ""],
    ids=["in_a_row", "in_a_number", "before_the_line_end", "whole"],
)
def test_a_torn_last_line_is_left_out(end: str) -> None:
    results = parse_results((PLAIN + plain(1) + plain(2) + end).encode())
    assert [row.epoch for row in results.rows] == [1, 2]


def test_a_row_whose_last_cell_is_empty_is_whole() -> None:
    results = parse_results((PLAIN + "1,10.5,nan,0.5,0.9,\n" + "2,21,1.25,0.5,,0.01\n" + "3,31.5,1.2,\n").encode())
    assert [row.epoch for row in results.rows] == [1, 2]
    assert math.isnan(results.rows[0].values["train/box_loss"])
    assert "lr/pg0" not in results.rows[0].values
    assert "val/box_loss" not in results.rows[1].values


SAVED_ANEW = PLAIN + plain(1) + plain(2, "nan")
QUOTED = "".join(",".join(f'"{cell}"' for cell in line.split(",")) + "\n" for line in SAVED_ANEW.splitlines())

NUMBERED = "".join(
    f"{number or ''},{line}\n" for number, line in zip(("", "0", "1"), SAVED_ANEW.splitlines(), strict=True)
)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\xef\xbb\xbf" + SAVED_ANEW.encode(), id="utf-8 with a mark"),
        pytest.param(SAVED_ANEW.encode("utf-16"), id="utf-16"),
        pytest.param(b"\xfe\xff" + SAVED_ANEW.encode("utf-16-be"), id="utf-16 big-endian"),
        pytest.param(SAVED_ANEW.encode("utf-16-le"), id="utf-16 without a mark"),
        pytest.param(SAVED_ANEW.encode("utf-16-be"), id="utf-16 big-endian without a mark"),
        pytest.param(SAVED_ANEW.replace(",", ";").encode(), id="semicolons"),
        pytest.param(SAVED_ANEW.replace(",", ";").replace(".", ",").encode(), id="decimal commas"),
        pytest.param(SAVED_ANEW.replace(",", "\t").encode("utf-16"), id="tabs"),
        pytest.param(QUOTED.encode(), id="quoted"),
        pytest.param(NUMBERED.encode(), id="numbered by pandas"),
        pytest.param(NUMBERED[: NUMBERED.index("\n1,") + 1].encode() + plain(2, "nan").encode(), id="then gone on"),
        pytest.param(QUOTED.replace(',"', ',"   ').replace('"epoch', '"   epoch').encode(), id="blanks in quotes"),
        pytest.param(QUOTED.replace(",", ", ").encode(), id="quoted behind blanks"),
        pytest.param(QUOTED.replace('"', "'").encode(), id="quoted with apostrophes"),
        pytest.param(b"\xef\xbb\xbf" + QUOTED.replace(",", ";").replace("\n", "\r\n").encode(), id="all of it"),
    ],
)
def test_a_file_that_a_spreadsheet_has_saved_is_read(data: bytes) -> None:
    results = parse_results(data)
    assert [row.epoch for row in results.rows] == [1, 2]
    assert results.rows[0].values == parse_results((PLAIN + plain(1)).encode()).rows[0].values
    assert math.isnan(results.rows[1].values["train/box_loss"])


def test_damage_within_is_passed_over() -> None:
    data = (PLAIN + plain(1) + "3,31.5," + plain(2) + "x,y,1,2,3,4\n\n" + PLAIN + plain(3)).encode() + b"\xff\x00\n"
    assert [row.epoch for row in parse_results(data).rows] == [1, 3]


@pytest.mark.parametrize(
    ("text", "epochs"),
    [
        pytest.param(PLAIN + plain(1) + "\0" * 300 + plain(2) + plain(3), [1, 2, 3], id="a hole of a power cut"),
        pytest.param(PLAIN + plain(1)[:-9] + "\0" * 300 + plain(2), [2], id="a hole that begins in a row"),
        pytest.param(PLAIN + plain(1) + PLAIN[:30] + "\n" + plain(2), [1, 2], id="a torn head"),
        pytest.param((PLAIN + plain(1) + plain(2)).replace("\n", "\r"), [1, 2], id="carriage returns alone"),
    ],
)
def test_whole_rows_around_damage_are_read(text: str, epochs: list[int]) -> None:
    assert [row.epoch for row in parse_results(text.encode()).rows] == epochs


@pytest.mark.parametrize(("spoilt", "kind"), [(0, "train"), (1, "train"), (5, "val")])
def test_a_row_with_more_cells_than_its_head_tells_its_epoch_and_what_is_not_finite(spoilt: int, kind: str) -> None:
    figures = ["1.25", "1.5", "0.5", "0.9", "0.01"]
    figures.insert(spoilt, "nan")
    row = parse_results((PLAIN + plain(1) + f"2,21.0,{','.join(figures)}\n").encode()).rows[-1]
    assert (row.epoch, row.values.keys()) == (2, {"time", f"{kind}/column {spoilt + 3}"})


def test_a_resume_by_a_version_with_another_column_of_time_is_read() -> None:
    padded = ",".join(f"{cell:>23}" for cell in ("1", "1.25", "0.5", "0.9", "0.01")) + "\n"
    later = parse_results((PADDED + padded + plain(2)).encode())
    earlier = parse_results((PLAIN + plain(1) + padded.replace(" 1,", " 2,", 1)).encode())
    assert [(row.epoch, row.values["lr/pg0"], "time" in row.values) for row in (*later.rows, *earlier.rows)] == [
        (1, 0.01, False), (2, 0.01, True), (1, 0.01, True), (2, 0.01, False),
    ]  # fmt: skip


def test_a_missing_file_has_no_rows(tmp_path: Path) -> None:
    assert read_results(tmp_path / "results.csv").rows == ()


def test_an_unreadable_file_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="directory"):
        read_results(tmp_path)


@given(st.one_of(st.binary(), st.text(alphabet="epoch,1nan.\n-e ").map(str.encode)))
def test_no_bytes_make_the_parser_raise(data: bytes) -> None:
    parse_results(data)
    parse_results(PLAIN.encode() + data)
    parse_results(PLAIN.replace(",", ";").encode() + b'"' + data)
