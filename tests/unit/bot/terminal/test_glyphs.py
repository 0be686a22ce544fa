"""Bars and charts in cells."""

from __future__ import annotations

import math

import pytest
from rich.cells import cell_len

from trainmaster.bot.terminal.glyphs import ASCII, UNICODE, Glyphs, glyphs_for


@pytest.mark.parametrize(
    ("share", "drawn"),
    [(0.0, "░░░░"), (0.5, "██░░"), (0.999, "███▉"), (1.0, "████"), (2.0, "████"), (-1.0, "░░░░"), (math.nan, "░░░░")],
)
def test_a_bar_is_full_only_when_all_is_done(share: float, drawn: str) -> None:
    assert UNICODE.bar(share, 4) == drawn


def test_a_chart_goes_from_low_to_high() -> None:
    assert UNICODE.chart([1, 2, 3, 4, 5, 6, 7, 8], 8) == "▁▂▃▄▅▆▇█"
    assert ASCII.chart([8, 1], 8) == "#_"


@pytest.mark.parametrize(
    ("values", "drawn"),
    [([], ""), ([3.0], "▄"), ([2.0, 2.0], "▄▄"), ([math.nan], "×"), ([1.0, math.inf, 2.0], "▁×█")],
    ids=["none", "one", "constant", "NaN", "infinite between"],
)
def test_odd_values_make_a_chart_too(values: list[float], drawn: str) -> None:
    assert UNICODE.chart(values, 10) == drawn


def test_many_values_are_put_together_and_a_nan_among_them_shows() -> None:
    values = [float(number) for number in range(100)]
    values[55] = math.nan
    drawn = UNICODE.chart(values, 10)
    assert len(drawn) == 10
    assert drawn.index("×") == 5


def test_one_spike_does_not_flatten_the_rest() -> None:
    drawn = UNICODE.chart([*(float(number) for number in range(1, 40)), 1e18], 40)
    assert drawn[-1] == "█"
    assert len(set(drawn)) > 2


def test_figures_at_the_end_of_the_scale_are_drawn() -> None:
    assert UNICODE.chart([-1.7e308, 1.7e308], 2) == "▁█"


@pytest.mark.parametrize(
    ("encoding", "glyphs"),
    [
        ("utf-8", UNICODE),
        ("UTF8", UNICODE),
        ("ascii", ASCII),
        ("ANSI_X3.4-1968", ASCII),
        ("latin-1", ASCII),
        (None, ASCII),
    ],
)
def test_a_terminal_is_shown_what_its_encoding_has(encoding: str | None, glyphs: object) -> None:
    assert glyphs_for(encoding) is glyphs


@pytest.mark.parametrize(("width", "cut"), [(0, ""), (1, "…"), (3, "ab…"), (6, "abcdef")])
def test_text_is_cut_with_a_mark(width: int, cut: str) -> None:
    assert UNICODE.fit("abcdef", width) == cut


def test_wide_characters_count_as_two_cells() -> None:
    assert UNICODE.padded("夜夜夜", 4) == "夜… "


@pytest.mark.parametrize(("width", "cut"), [(0, ""), (3, "ab…"), (7, "abc…hij"), (8, "abcd…hij"), (10, "abcdefghij")])
def test_the_ends_of_a_name_outlive_its_middle(width: int, cut: str) -> None:
    assert UNICODE.middle("abcdefghij", width) == cut


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII], ids=["utf-8", "ascii"])
@pytest.mark.parametrize("width", [8, 12, 20])
@pytest.mark.parametrize(
    "names",
    [
        pytest.param([f"yolo11m-visdrone-sgd-640-seed{seed}" for seed in range(30)], id="the end differs"),
        pytest.param([f"{seed}-yolo11m-visdrone-sgd-640" for seed in range(30)], id="the start differs"),
        pytest.param([f"yolo11m-visdrone-{seed}-sgd-640-adam-cosine" for seed in range(30)], id="the middle differs"),
        pytest.param([f"yolo11m-{one}-{two}-cosine" * 2 for one in range(9) for two in range(9)], id="two places"),
        pytest.param(["a" * length for length in range(1, 60)], id="the length differs"),
        pytest.param(["夜" * length for length in range(1, 40)], id="wide letters"),
        pytest.param(["", "a", "b"], id="short"),
    ],
)
def test_names_that_differ_stay_different(names: list[str], width: int, glyphs: Glyphs) -> None:
    short = glyphs.names(names, width)
    assert sorted(short) == sorted(names)
    assert len(set(short.values())) == len(names)
    assert max(map(cell_len, short.values())) <= width
