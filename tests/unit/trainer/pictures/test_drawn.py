"""What is drawn, read from the figures: plain numbers at the axes, limits step by step, and words that agree."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.run_dirs import WrittenRun
from trainmaster.trainer.contract import EventKind, encode_number

pytest.importorskip("matplotlib")

from matplotlib.figure import Figure

from trainmaster.trainer.pictures import canvas, curves, sheet
from trainmaster.trainer.pictures.story import BadBatch, EpochEnd, PlotRow, Story, read_story
from trainmaster.trainer.pictures.words import epoch_text, plain, run_text

NAN, INF = math.nan, math.inf


@pytest.fixture(autouse=True)
def _drawing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(canvas, "DPI", 70)  # the same sheet in fewer pixels
    with canvas.drawing():
        yield


def rows(losses: Sequence[float], norms: Sequence[float] = (), *, attempt: int = 1, epoch: int = 1) -> list[PlotRow]:
    return [
        PlotRow(
            attempt=attempt,
            epoch=epoch,
            batch=number,
            losses={"box_loss": loss, "cls_loss": 2 * loss},
            lr=0.01,
            norm_p50=norms[number - 1] if norms else NAN,
            norm_max=norms[number - 1] if norms else NAN,
        )
        for number, loss in enumerate(losses, 1)
    ]


def guarded(losses: Sequence[float], norms: Sequence[float] = (), **more: Any) -> Story:
    return Story(name="night", rows=tuple(rows(losses, norms)), batches=len(losses), **more)


def table(losses: Sequence[float], fitness: Sequence[float] = ()) -> Story:
    ends = [
        EpochEnd(
            attempt=1,
            epoch=epoch,
            losses={"box_loss": loss, "cls_loss": 2 * loss},
            fitness=fitness[epoch - 1] if fitness else 0.5,
            lr=0.01,
        )
        for epoch, loss in enumerate(losses, 1)
    ]
    return Story(name="night", ends=tuple(ends), guarded=False)


def lines_of(figure: Figure, title: str) -> dict[str, list[tuple[float, float]]]:
    """The points of each curve of a panel, by the curve's name in the legend."""
    (axes,) = [one for one in figure.axes if one.get_title(loc="left") == title]
    return {
        str(line.get_label()): [(float(x), float(y)) for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)]
        for line in axes.lines
        if not str(line.get_label()).startswith("_")
    }


def titles_of(figure: Figure, panel: str) -> str:
    (axes,) = [one for one in figure.axes if one.get_title(loc="left") == panel]
    return f"{axes.get_title(loc='center')}{axes.get_title(loc='right')}"


# -- numbers at the axes

ODD = {
    "one point": guarded([3.0], [4.0]),
    "norms over six decades": guarded([3.0] * 20, [1490.0, *[20.0] * 18, 0.002], max_norms={1: 5.0}),
    "norms of hardly two decades": guarded([3.0] * 20, [310.0, *[10.0] * 19]),
    "huge": guarded([8e307, 1.0, 1.0], [1.7e308, 1.0, 1.0]),
    "tiny": guarded([3e-9, 2e-9], [3e-9, 2e-9]),
    "zero": guarded([0.0, 0.0], [0.0, 0.0]),
    "negative": guarded([-8e307, -4.0], [4.0, 4.0]),
    "not finite": guarded([1.0, NAN, INF], [1.0, INF, INF]),
    "a spike": guarded([1.0] * 40 + [1e18], [1.0] * 40 + [1e18]),
    "a table of 3,000 epochs": table([5.0 / epoch for epoch in range(1, 3001)]),
    "dollars": Story(name="$x^2$ \\frac", rows=tuple(rows([1.0, 2.0], [1.0, 1e5])), batches=2),
}


@pytest.mark.parametrize("one", [True, False], ids=["one epoch", "the whole run"])
@pytest.mark.parametrize("story", ODD.values(), ids=ODD)
def test_every_number_at_an_axis_is_plain_and_no_panel_is_squeezed(tmp_path: Path, story: Story, one: bool) -> None:
    figure = curves.epoch_figure(story, 1) if one else curves.run_figure(story)
    canvas.save(figure, tmp_path / "x.png")
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            labels = [label.get_text() for label in axis.get_ticklabels()] + [axis.get_offset_text().get_text()]
            assert not [label for label in labels if re.search(r"[$\\{^]", label)]
            assert all(len(label) <= 9 for label in labels), labels
            assert not any(label.get_text() for label in axis.get_ticklabels(minor=True))
            known = [label for label in labels if label]
            assert len(set(known)) == len(known), "two ticks have the same number"
        assert axes.get_position().width > 0.75


def test_a_sheet_of_images_has_no_number_at_all(tmp_path: Path) -> None:
    figure = sheet.sheet_figure(of_images(), guarded([1.0]))
    canvas.save(figure, tmp_path / "x.png")
    assert not any(axes.axison for axes in figure.axes)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0.0, "0"),
        (0.01, "0.01"),
        (1.0, "1"),
        (1490.0, "1,490"),
        (10_000.0, "10,000"),
        (1e6, "1e6"),
        (2.5e6, "2.5e6"),
        (999_999.0, "1e6"),
        (2.43e-5, "2.43e-5"),
        (-0.001234, "-0.00123"),
        (1.7e308, "1.7e308"),
        (0.30000000000000004, "0.3"),
    ],
)
def test_a_number_is_written_as_a_person_would(value: float, told: str) -> None:
    assert plain(value) == told


# -- the clip line


def rolled_back(*, norms: tuple[float, float]) -> Story:
    first, second = norms
    before = [*rows([2.0] * 10, [first] * 10), *rows([2.0] * 10, [first] * 10, epoch=2)]
    after = rows([2.0] * 10, [second] * 10, attempt=2, epoch=2)
    ends = tuple(EpochEnd(attempt=1, epoch=epoch, losses={"box_loss": 2.0}) for epoch in (1, 2))
    return Story(
        name="night",
        rows=(*before, *after),
        ends=ends,
        starts={1: None, 2: 2},
        batches=10,
        max_norms={1: 500.0, 2: 5.0},
    )


def test_the_clip_line_follows_the_limit_of_each_attempt() -> None:
    story = rolled_back(norms=(900.0, 8.0))
    line = lines_of(curves.run_figure(story), "Gradient norm")["clipped at"]
    assert {limit for place, limit in line if place < 0.99} == {500.0}
    assert {limit for place, limit in line if place > 1.01} == {5.0}
    assert "clipped at 500, then 5." in run_text(story)


@pytest.mark.parametrize(("epoch", "limit"), [(1, 500.0), (2, 5.0)])
def test_an_epoch_shows_the_limit_that_held_in_it(epoch: int, limit: float) -> None:
    story = rolled_back(norms=(900.0, 8.0))
    line = lines_of(curves.epoch_figure(story, epoch), "Gradient norm")[f"clipped at {limit:g}"]
    assert {y for _, y in line} == {limit}
    assert f"clipped at {limit:g}." in epoch_text(story, epoch)


def test_a_limit_far_above_the_curve_is_said_and_promised_no_line() -> None:
    story = guarded([2.0] * 9, [20.0] * 9, max_norms={1: 500.0})
    figure = curves.run_figure(story)
    assert set(lines_of(figure, "Gradient norm")) == {"median"}
    assert titles_of(figure, "Gradient norm") == "limit 500, above the picture"


def test_a_limit_above_and_one_within_are_told_apart() -> None:
    figure = curves.run_figure(rolled_back(norms=(8.0, 8.0)))
    assert titles_of(figure, "Gradient norm") == "limit 500 (above), then 5"


def test_limits_are_read_from_each_start_and_of_an_older_run_from_its_record(tmp_path: Path) -> None:
    run = WrittenRun(tmp_path)
    run.event(EventKind.RUN_STARTED, 0, from_epoch=None, settings={"max_norm": 500.0})
    run.attempt = 2
    run.event(EventKind.RUN_STARTED, 10, from_epoch=2)
    run.record()
    run.attempt = 3
    run.event(EventKind.RUN_STARTED, 20, from_epoch=3, settings={"max_norm": "nan"})
    assert read_story(run.layout.root).max_norms == {1: 500.0, 2: 10.0}


# -- words that agree with what is drawn

SERIES: dict[str, list[float]] = {
    "one point": [3.3],
    "level": [1.0, 1.0, 1.0],
    "almost level": [1.0, 1.004, 0.996, 1.0],
    "falls within a few of many": [1.0 + 4.0 / epoch**2 for epoch in range(1, 401)],
    "rises": [1.0, 2.0, 3.0],
    "a spike within": [1.0, 1.0, 90.0, 1.0],
    "a dip within": [1.0, 1.0, 0.1, 1.0],
    "diverges": [1.0, 1.0, INF, INF, INF],
    "not finite at first": [NAN, 2.0, 1.0],
    "not finite within": [3.0, NAN, 2.0, INF, 1.0],
    "one finite point": [NAN, 2.0, NAN],
    "never finite": [NAN] * 5,
    "zero": [0.0, 0.0],
    "negative": [-1.0, -4.0, -2.0],
    "huge": [1e300, 1.0],
    "nothing": [],
}


def numbers_in(sentence: str) -> set[float]:
    return {float(one.replace(",", "")) for one in re.findall(r"-?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?", sentence)}


def told_of(text: str, name: str) -> str:
    """The sentence about one loss, without the part about values that are not finite."""
    found = re.search(rf"{name} loss (.*?)(?:\.(?= |$))", text)
    return found[1].split(", not finite")[0] if found else ""


@pytest.mark.parametrize("make", [guarded, table], ids=["guarded", "of results.csv"])
@pytest.mark.parametrize("losses", SERIES.values(), ids=SERIES)
def test_the_words_tell_first_last_least_and_most_of_each_curve_as_it_is_drawn(losses: list[float], make: Any) -> None:
    story = make([loss if math.isfinite(loss) else NAN for loss in losses])
    drawn, text = lines_of(curves.run_figure(story), "Loss"), run_text(story)
    for name in ("box", "cls"):
        points = [y for _, y in drawn.get(name, []) if math.isfinite(y)]
        told = told_of(text, name)
        if not points:
            assert told == ""
            assert ("not finite from" in text) == bool(losses)
        elif len(points) == 1:
            assert told == f"{plain(points[0])}, one point"
        elif "level" in told:
            assert numbers_in(told) == {float(plain(one).replace(",", "")) for one in (min(points), max(points))}
        else:
            ends = [points[0], points[-1], min(points), max(points)]
            assert numbers_in(told) == {float(plain(one).replace(",", "")) for one in ends}
            assert told.split()[0] == (
                "fell" if points[-1] < points[0] else "rose" if points[-1] > points[0] else "went"
            )
    crosses = drawn.get("not finite", [])
    count = sum(not math.isfinite(loss) for loss in losses)
    if any(map(math.isfinite, losses)):
        assert len(crosses) == count
    assert ("not finite" in text) == bool(count)
    if count and not math.isfinite(losses[-1]) and losses.index(losses[-1]) == len(losses) - count:
        unit = "epoch" if make is table else "epoch 1"
        assert f"Losses are not finite from {unit}" in text
    elif count:
        assert f"not finite at {count} of {len(losses)} points" in text


def test_a_point_that_no_line_reaches_is_a_dot() -> None:
    story = table([1.0 if epoch % 2 or epoch > 20 else NAN for epoch in range(1, 40)])
    (axes,) = [one for one in curves.run_figure(story).axes if one.get_title(loc="left") == "Loss"]
    (line,) = [line for line in axes.lines if line.get_label() == "box"]
    assert line.get_marker() == "o"
    assert line.get_markevery() == list(range(0, 19, 2))


def test_the_highest_told_is_the_one_above_the_picture() -> None:
    story = table(SERIES["falls within a few of many"])
    assert titles_of(curves.run_figure(story), "Loss") == "▲ up to 10"
    assert "box loss fell from 5 to 1. cls loss fell from 10 to 2." in run_text(story)


def test_a_run_that_diverged_says_from_when(tmp_path: Path) -> None:
    root = tmp_path / "train"
    root.mkdir()
    lines = [f"{epoch},{'1.0,1.0,1.0' if epoch < 3 else 'inf,inf,inf'},0.01" for epoch in range(1, 6)]
    head = "epoch,train/box_loss,metrics/mAP50(B),metrics/mAP50-95(B),lr/pg0"
    (root / "results.csv").write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    text = run_text(read_story(root))
    assert "box loss stayed level at 1, not finite from epoch 3 on." in text
    assert "Fitness 1 after epoch 2, none since; best 1, epoch 1." in text
    assert "Nothing guards this run: its bad batches are not known." in text


@pytest.mark.parametrize("losses", SERIES.values(), ids=SERIES)
def test_a_run_that_nobody_guards_is_never_said_to_have_no_bad_batch(losses: list[float]) -> None:
    story = table(losses)
    for text in (run_text(story), epoch_text(story, 1)):
        assert "No bad batch" not in text
    assert "No bad batch." in run_text(guarded(losses))


def test_an_epoch_of_a_table_is_one_point_in_picture_and_words() -> None:
    story = table([3.0, 2.0])
    drawn = lines_of(curves.epoch_figure(story, 2), "Loss")
    assert [y for _, y in drawn["box"]] == [2.0]
    assert "box loss 2, one point." in epoch_text(story, 2)


def test_a_gradient_that_is_not_finite_is_marked_and_told(tmp_path: Path) -> None:
    run = WrittenRun(tmp_path)
    for batch, norm in enumerate((3.0, 4.0, INF, INF), 1):
        told = {"grad_norm_p50": encode_number(norm), "grad_norm_max": encode_number(norm)}
        run.series(epoch=1, batch=batch, loss=2.0, lr=0.01, **told)
    story = read_story(run.layout.root)
    assert len(lines_of(curves.epoch_figure(story, 1), "Gradient norm")["not finite"]) == 2
    assert "Gradient norm: median 3.5, largest 4, not finite from batch 3 on" in epoch_text(story, 1)


# -- two pictures of one alert


def test_gradients_of_nothing_are_said_to_be_nothing_and_not_to_be_unknown() -> None:
    story = guarded([1.0, 1.0], norms=(0.0, 0.0))
    assert "median 0" in run_text(story)
    (axes,) = [one for one in curves.run_figure(story).axes if one.get_title(loc="left") == "Gradient norm"]
    assert [one.get_text() for one in axes.texts] == ["0 throughout"]


def of_images() -> sheet.Sheet:
    bad = BadBatch(attempt=1, epoch=1, batch=9, reason="nonfinite_loss", drill=False)
    tile = sheet.Tile(name="/data/images/a.png", pixels=None, boxes=(), suspect=True, why="no copy was kept")
    return sheet.Sheet(incident="0001", bad=bad, cause="data", tiles=(tile,), num_images=1)


def test_each_picture_of_an_alert_tells_what_it_shows() -> None:
    bad = of_images().bad
    story = guarded([2.0] * 9, [3.0] * 9, bad=(bad,))
    of_curves, of_batch = epoch_text(story, 1), sheet.sheet_text(of_images(), story)
    assert "A spike, not a trend" in of_curves
    assert "spike" not in of_batch
    assert "Suspected: a.png." in of_batch
    assert not set(of_curves.split(". ")) & set(of_batch.split(". "))


def test_a_link_leads_to_the_picture_and_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "newest.png").symlink_to("pictures/night.png")
    for _ in range(2):  # where there is none yet, and one
        canvas.save(Figure(figsize=(1, 1)), tmp_path / "newest.png")
    assert (tmp_path / "newest.png").is_symlink()
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["night.png"]


@pytest.mark.timeout(20)
def test_what_is_no_file_is_written_to_and_stays_what_it_is(tmp_path: Path) -> None:
    """As root, a picture named /dev/null took the place of the device."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        canvas.save(Figure(figsize=(1, 1)), pipe)
        assert pipe.is_fifo()
        assert os.read(reader, 8) == b"\x89PNG\r\n\x1a\n"
    finally:
        os.close(reader)
