"""``trainmaster plot``: a picture and the same in words, of good runs and odd ones."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.run_dirs import WrittenRun
from trainmaster.trainer.arguments import split_arguments
from trainmaster.trainer.cli.main import main
from trainmaster.trainer.contract import EventKind, encode_number, replace_json
from trainmaster.trainer.pictures.story import MAX_ROWS, BadBatch, PlotRow, Story, read_story
from trainmaster.trainer.pictures.words import spike_or_trend

pytest.importorskip("matplotlib")

PNG = b"\x89PNG\r\n\x1a\n"


def train(run: WrittenRun, *epochs: int, loss: float = 2.0, norm: float = 3.0, rows: int = 10) -> None:
    for epoch in epochs:
        for number in range(1, rows + 1):
            run.series(
                epoch=epoch,
                batch=number * run.batches // rows,
                loss=loss,
                lr=0.0005,
                grad_norm_p50=encode_number(norm),
                grad_norm_max=encode_number(2 * norm),
            )
        run.finish_epoch(epoch, 100.0 * epoch, loss=loss, fitness=encode_number(0.1 * epoch if loss == loss else None))


def plot(capsys: pytest.CaptureFixture[str], root: Path, *words: str) -> dict:
    out = root.parent / "picture.png"
    assert main(["plot", str(root), "--out", str(out), *words, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    content = out.read_bytes()
    assert content.startswith(PNG)
    assert answer["bytes"] == len(content) <= 2 * 2**20
    assert answer["width_px"] == 1080
    assert 0 < len(answer["alt"]) <= 1900
    return answer


def test_the_words_say_what_the_curves_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = WrittenRun(tmp_path)
    run.event(EventKind.RUN_STARTED, 0, from_epoch=None)
    train(run, 1, loss=4.0)
    train(run, 2, loss=2.0)
    run.bad_batch(2, 42, 150)
    assert plot(capsys, run.layout.root)["alt"] == (
        "Curves of digits, up to epoch 2 of 4. box loss fell from 4 to 2. Gradient norm: median 3, largest 6, clipped "
        "at 10. Fitness 0.2 after epoch 2; best 0.2, epoch 2. Learning rate 0.0005. 1 bad batch: epoch 2 batch 42."
    )


def test_a_rollback_is_told_and_what_it_gave_up_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = WrittenRun(tmp_path)
    run.event(EventKind.RUN_STARTED, 0, from_epoch=None)
    train(run, 1, 2, 3, loss=4.0)
    run.attempt = 2
    run.event(EventKind.RUN_STARTED, 400, from_epoch=2)
    train(run, 2, loss=1.0)
    story = read_story(run.layout.root)
    assert story.rollbacks() == ((2, 1),)
    assert [story.given_up(1, epoch) for epoch in (1, 2, 3)] == [False, True, True]
    alt = plot(capsys, run.layout.root)["alt"]
    assert "2 attempts. Attempt 2 went back to the end of epoch 1." in alt
    assert "box loss fell from 4 to 1." in alt


def test_a_resume_within_an_epoch_gives_nothing_up(tmp_path: Path) -> None:
    run = WrittenRun(tmp_path)
    run.event(EventKind.RUN_STARTED, 0, from_epoch=None)
    run.series(epoch=1, batch=40, loss=2.0)
    run.series(epoch=1, batch=60, loss=2.0)
    run.attempt = 2
    run.event(EventKind.RUN_STARTED, 10, from_epoch=1)
    run.series(epoch=1, batch=50, loss=2.0)
    story = read_story(run.layout.root)
    assert [story.given_up(row.attempt, row.epoch, row.batch) for row in story.rows] == [False, True, False]
    assert story.rollbacks() == ()


@pytest.mark.parametrize("words", [(), ("--epoch", "1")])
@pytest.mark.parametrize(
    ("name", "loss", "rows"),
    [
        pytest.param("nan", float("nan"), 5, id="NaN everywhere"),
        pytest.param("infinite", float("inf"), 5, id="infinite"),
        pytest.param("one", 2.0, 1, id="one point"),
        pytest.param("zero", 0.0, 3, id="zero"),
        pytest.param("huge", 1e300, 3, id="huge"),
        pytest.param("negative", -4.0, 3, id="negative"),
        pytest.param("x" * 200, 2.0, 3, id="a name of 200 characters"),
        pytest.param("אימון לילה \u202egnp", 2.0, 3, id="right to left, and a letter that turns the line round"),
        pytest.param("夜 $_{\\frac €", 2.0, 3, id="letters no font has, and formulas"),
    ],
)
def test_odd_runs_are_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, loss: float, rows: int, words: tuple[str, ...]
) -> None:
    run = WrittenRun(tmp_path, name)
    train(run, 1, loss=loss, norm=loss, rows=rows)
    answer = plot(capsys, run.layout.root, *words)
    assert "\u202e" not in answer["alt"]


def test_a_run_that_trained_nothing_yet_is_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "nothing trained yet" in plot(capsys, WrittenRun(tmp_path).layout.root)["alt"]


def test_four_hundred_epochs_are_thinned_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = WrittenRun(tmp_path, epochs=400)
    train(run, *range(1, 401), rows=30)
    story = read_story(run.layout.root)
    assert MAX_ROWS / 2 <= len(story.rows) <= MAX_ROWS + 1
    assert {row.loss for row in story.rows} == {2.0}
    assert "epoch 400 of 400" in plot(capsys, run.layout.root)["alt"]


def test_a_run_without_a_guard_is_drawn_from_its_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "train"
    root.mkdir()
    header = "epoch,train/box_loss,train/cls_loss,metrics/mAP50(B),metrics/mAP50-95(B),lr/pg0\n"
    (root / "results.csv").write_text(header + "1,2,3,0.5,0.25,0.01\n2,1,nan,0.6,0.3,0.009\n", encoding="utf-8")
    alt = plot(capsys, root)["alt"]
    assert "box loss fell from 2 to 1." in alt
    assert "Fitness 0.33 after epoch 2" in alt


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["plot"], "which run is meant"),
        (["plot", "{}", "--epoch", "9"], "has no epoch 9"),
        (["plot", "{}", "--epoch", "x"], "no whole number"),
        (["plot", "{}", "--incident", "7"], "no incident '0007'"),
        (["plot", "{}", "--epoch", "1", "--incident", "1"], "two pictures"),
        (["plot", "{}", "--epohc", "1"], "epohc"),
        (["plot", "/nowhere"], "no run directory"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], fault: str
) -> None:
    run = WrittenRun(tmp_path)
    train(run, 1)
    assert main([word.format(run.layout.root) for word in words]) == 2
    assert fault in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = WrittenRun(tmp_path)
    assert main(["plot", str(run.layout.root), "--out", str(tmp_path / "gone" / "x.png")]) == 1
    assert "can't be written" in capsys.readouterr().err


def test_without_matplotlib_one_sentence_says_so(tmp_path: Path) -> None:
    run = WrittenRun(tmp_path / "runs")
    broken = tmp_path / "path" / "matplotlib"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('a library is gone')\n", encoding="utf-8")
    code = f"import sys; sys.path.insert(0, {str(broken.parent)!r}); from trainmaster.__main__ import main; "
    code += f"sys.exit(main(['plot', {str(run.layout.root)!r}]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "error: matplotlib can't be loaded: a library is gone"


# -- a spike or a trend


def story(losses: list[float], norms: list[float]) -> Story:
    rows = tuple(
        PlotRow(attempt=1, epoch=1, batch=10 * at, losses={"box": loss}, norm_p50=norm)
        for at, (loss, norm) in enumerate(zip(losses, norms, strict=True), 1)
    )
    return Story(name="digits", rows=rows)


@pytest.mark.parametrize(
    ("losses", "norms", "words"),
    [
        pytest.param(
            [2.0] * 20, [3.0] * 20, "A spike, not a trend: before the bad batch the loss moved by +0 %", id="flat"
        ),
        pytest.param(
            [2.0] * 20,
            [3.0] * 16 + [9.0] * 4,
            "A trend, not a spike: before the bad batch the gradient norm had grown 3.0",
            id="norm",
        ),
        pytest.param(
            [2.0] * 16 + [3.0] * 4,
            [3.0] * 20,
            "A trend, not a spike: before the bad batch the loss had risen 50 %",
            id="loss",
        ),
        pytest.param([2.0] * 19 + [90.0], [3.0] * 20, "A spike", id="one row alone"),
        pytest.param([2.0] * 3, [3.0] * 3, "Spike or trend? Too little", id="few rows"),
        pytest.param([float("nan")] * 20, [float("nan")] * 20, "Spike or trend? No loss", id="NaN everywhere"),
    ],
)
def test_a_spike_is_told_from_a_trend(losses: list[float], norms: list[float], words: str) -> None:
    bad = BadBatch(attempt=1, epoch=2, batch=1, reason="nonfinite_loss", drill=False)
    assert spike_or_trend(story(losses, norms), bad).startswith(words)


# -- the images of a bad batch


def incident(run: WrittenRun, **facts: object) -> Path:
    folder = run.layout.incidents / "0001"
    (folder / "images").mkdir(parents=True)
    record = {"epoch": 2, "batch": 5, "reason": "nonfinite_loss", "cause": "data", "images": ["/d/a.png", "/d/b.png"]}
    replace_json(folder / "incident.json", {**record, **facts})
    return folder


def test_the_batch_as_trained_on_is_shown_with_the_suspect_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch = pytest.importorskip("torch")
    run = WrittenRun(tmp_path)
    folder = incident(run, bad_images=[1])
    images = torch.rand(2, 3, 64, 64)
    images[1, 0, 0, 0] = float("nan")
    boxes = {
        "bboxes": torch.tensor([[0.5, 0.5, 0.2, 0.2], [0.1, 0.1, float("nan"), 0.1]]),
        "batch_idx": torch.tensor([0.0, 1.0]),
    }
    torch.save({"img": images, **boxes, "im_file": ["/d/a.png", "/d/b.png"]}, folder / "batch.pt")
    alt = plot(capsys, run.layout.root, "--incident", "1")["alt"]
    assert alt.startswith("The 2 images of bad batch 5 in epoch 2 of digits. Suspected: b.png. Cause as far as")


@pytest.mark.parametrize("batch", [None, b"", b"PK torn", b"\x80\x02garbage"])
def test_images_that_cannot_be_read_are_shown_as_such(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], batch: bytes | None
) -> None:
    run = WrittenRun(tmp_path)
    folder = incident(run, copied=["/d/a.png"], images=["/d/a.png", "/d/" + "b" * 200 + ".png"])
    (folder / "images" / "00_a.png").write_bytes(b"no picture")
    if batch is not None:
        (folder / "batch.pt").write_bytes(batch)
    alt = plot(capsys, run.layout.root, "--incident", "1")["alt"]
    assert "No single image is suspected." in alt
    assert "2 can't be read." in alt


def test_an_incident_of_many_images_shows_the_suspect_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = WrittenRun(tmp_path)
    incident(run, images=[f"/d/{number}.png" for number in range(64)], bad_images=[60], images_in_batch=64)
    alt = plot(capsys, run.layout.root, "--incident", "1")["alt"]
    assert "Suspected: 60.png" in alt
    assert alt.startswith("The 64 images")


def test_a_value_may_follow_its_option_after_a_blank() -> None:
    from trainmaster.trainer.arguments import joined

    assert joined(["runs/a", "--out", "x.png", "--json"], ("out",)) == ["runs/a", "--out=x.png", "--json"]
    assert split_arguments(joined(["--out"], ("out",))).flags == {"out"}
