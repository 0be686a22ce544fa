"""A run's name in a picture: letters that can be drawn, in the right order, beside what else the line holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

from matplotlib import font_manager

from trainmaster.trainer.pictures import canvas, curves
from trainmaster.trainer.pictures.story import PlotRow, Story


@pytest.fixture(autouse=True)
def _drawing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(canvas, "DPI", 70)  # the same sheet in fewer pixels
    canvas._font_for.cache_clear()
    with canvas.drawing():
        yield
    canvas._font_for.cache_clear()


@pytest.mark.parametrize(
    ("name", "drawn"),
    [
        pytest.param("night", "night", id="plain"),
        pytest.param("夜間", "⟨U+591C⟩⟨U+9593⟩", id="letters of no font"),
        pytest.param("夜" * 40, "⟨U+591C⟩" * 2 + "…" + "⟨U+591C⟩", id="many of them"),
        pytest.param("a\u202eb", "a⟨U+202E⟩b", id="a letter that turns the line round"),
        pytest.param("x" * 60, "x" * 19 + "…" + "x" * 10, id="long"),
        pytest.param("לילה $x^2$", "לילה \u2066$x^2$\u2069", id="from the right"),
        pytest.param("run לילה 5", "\u2066run\u2069 לילה \u20665\u2069", id="of both directions"),
    ],
)
def test_a_name_has_letters_that_can_be_drawn_in_the_right_order(
    monkeypatch: pytest.MonkeyPatch, name: str, drawn: str
) -> None:
    _only_matplotlibs_own(monkeypatch)
    monkeypatch.setattr(canvas, "_orders_letters", lambda: True)
    assert canvas.short(name, 30) == drawn


@pytest.mark.parametrize(
    ("name", "seen"),
    [("לילה $x^2$", "$x^2$ הליל"), ("run לילה 5", "run הליל 5"), ("night 2", "night 2")],
)
def test_a_matplotlib_that_knows_one_direction_gets_letters_as_they_are_seen(
    monkeypatch: pytest.MonkeyPatch, name: str, seen: str
) -> None:
    monkeypatch.setattr(canvas, "_orders_letters", lambda: False)
    assert canvas.short(name) == seen


def test_letters_of_another_installed_font_are_drawn_with_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own = font_manager.get_font(font_manager.findfont("DejaVu Sans"))
    other = font_manager.get_font(font_manager.findfont("STIXGeneral"))
    letter = next(chr(code) for code in sorted(other.get_charmap()) if not own.get_char_index(code) and code > 0x300)
    story = Story(name=f"{letter}night")
    figure = curves.run_figure(story)
    canvas.save(figure, tmp_path / "x.png")
    (title,) = [text for text in figure.texts if "night" in text.get_text()]
    assert letter in title.get_text()
    assert "STIXGeneral" in title.get_fontfamily()
    _only_matplotlibs_own(monkeypatch)
    assert canvas.short(letter) == f"⟨U+{ord(letter):04X}⟩"


@pytest.mark.parametrize(
    "name",
    ["W" * 200, "夜" * 200, "אימון לילה $x^2$ " * 9, "a b"],
    ids=["wide", "of no font", "from the right", "short"],
)
def test_name_and_epoch_stand_side_by_side_within_the_sheet(tmp_path: Path, name: str) -> None:
    figure = curves.run_figure(
        Story(name=name, rows=(PlotRow(attempt=1, epoch=1, batch=1, losses={"box_loss": 1.0}),), epochs=400, batches=1)
    )
    canvas.save(figure, tmp_path / "x.png")
    left, right = sorted((text.get_window_extent() for text in figure.texts[:2]), key=lambda box: box.x0)
    assert left.x0 >= 0
    assert left.x1 < right.x0
    assert right.x1 <= figure.bbox.width


def _only_matplotlibs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    own = [one for one in font_manager.fontManager.ttflist if one.name == "DejaVu Sans"]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", own)
    canvas._font_for.cache_clear()
