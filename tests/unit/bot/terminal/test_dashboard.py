"""What a person sees of one run and of many, at three widths."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from tests.support.run_dirs import START_TS, WrittenRun
from tests.unit.bot.terminal.pictures import picture, shown, trained
from trainmaster.bot.core.run.facts import ProcessFact, ProcessStatus
from trainmaster.bot.core.run.job import JobFact
from trainmaster.bot.terminal.glyphs import ASCII, UNICODE, Glyphs
from trainmaster.trainer.contract import EventKind, Phase, RunRecordState

WIDTHS = (40, 80, 120)
HEBREW = "לילה-ריצה"
JOB = {"id": "17", "cluster": "lab", "restart": 0, "node": "n1", "partition": "gpu", "options": []}


def finished(root: Path) -> WrittenRun:
    run = trained(root, done=3, epochs=3)
    run.record(state=RunRecordState.FINISHED)
    run.event(EventKind.RUN_FINISHED, 460.0, epochs=3, fitness=0.3, seconds=460.0)
    return run


def never_finite(root: Path) -> WrittenRun:
    run = WrittenRun(root, "night", epochs=3)
    for epoch in (1, 2):
        run.start_epoch(epoch, 100.0 * epoch)
        for batch in (50, 100):
            run.series(epoch=epoch, batch=batch, loss=float("nan"))
        nothing = {"losses": {"box_loss": "nan", "cls_loss": "inf"}, "fitness": "nan", "nonfinite": 100, "seconds": 9.0}
        run.finish_epoch(epoch, 100.0 * epoch + 99, **nothing)
    run.beat(300, epoch=3, batch=1, losses={"box_loss": "nan", "cls_loss": "nan"}, grad_norm="nan", lr="nan")
    return run


def one_point(root: Path) -> WrittenRun:
    run = WrittenRun(root, "night")
    run.start_epoch(1, 1.0)
    run.series(epoch=1, batch=1, loss=3.0, grad_norm_p50=1.0, grad_norm_p99=1.0)
    run.beat(2.0, epoch=1, batch=1)
    return run


def nothing_yet(root: Path) -> WrittenRun:
    return WrittenRun(root, "night")


def long_named(root: Path) -> WrittenRun:
    return trained(root, "n" * 200)


def right_to_left(root: Path) -> WrittenRun:
    return trained(root, HEBREW)


KINDS = (trained, finished, never_finite, one_point, nothing_yet, long_named, right_to_left)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("height", [None, 24, 10, 4])
def test_no_line_is_wider_than_the_terminal_and_no_picture_taller(
    tmp_path: Path, width: int, height: int | None, kind: object
) -> None:
    assert callable(kind)
    lines = picture([shown(kind(tmp_path))], width=width, height=height)
    assert max(map(cell_len, lines)) <= width
    assert height is None or len(lines) <= height


@pytest.mark.parametrize("width", WIDTHS)
def test_a_training_run_shows_state_place_losses_norms_and_counts(tmp_path: Path, width: int) -> None:
    text = "\n".join(picture([shown(trained(tmp_path))], width=width))
    for words in ("night", "training", "epoch 4 of 10", "batch 50 of 100", " 50%", "loss", "gradient", "1 bad batch"):
        assert words in text
    assert "3.25" in text
    assert ("clip 10" in text) == (width >= 60)


def test_the_time_left_is_shown(tmp_path: Path) -> None:
    view = shown(trained(tmp_path))
    assert "epoch 4 of 10, 10 min left" in "\n".join(picture([view]))
    assert "left      epoch 0 s, run 10 min" in "\n".join(picture([view], width=40))


@pytest.mark.parametrize("width", WIDTHS)
def test_a_finished_run_is_full_and_has_no_time_left(tmp_path: Path, width: int) -> None:
    text = "\n".join(picture([shown(finished(tmp_path), status=ProcessStatus.GONE)], width=width))
    assert "finished" in text
    assert text.count("100%") == 2
    assert "left" not in text
    assert "run finished" in text
    assert "ran for 8 min" in text


@pytest.mark.parametrize("width", WIDTHS)
def test_losses_that_are_never_finite_are_marked_and_named(tmp_path: Path, width: int) -> None:
    lines = picture([shown(never_finite(tmp_path))], width=width)
    (loss,) = [line for line in lines if line.startswith("loss ")]
    assert "NaN" in loss
    assert "×××" in loss
    assert "200 bad batches" in "\n".join(lines)


@pytest.mark.parametrize("width", WIDTHS)
def test_one_point_makes_a_chart_of_one_cell(tmp_path: Path, width: int) -> None:
    (loss,) = [line for line in picture([shown(one_point(tmp_path))], width=width) if line.startswith("in epoch")]
    assert loss.split() == ["in", "epoch", "3", "▄"]


def test_a_run_that_has_told_nothing_shows_that(tmp_path: Path) -> None:
    text = "\n".join(picture([shown(nothing_yet(tmp_path))]))
    assert "starting" in text
    assert "epoch ? of 4" in text
    assert "events: none yet" in text


def test_a_name_of_200_characters_is_cut_with_a_mark(tmp_path: Path) -> None:
    first = picture([shown(long_named(tmp_path))])[0]
    assert first.startswith("nnn")
    assert "…" in first
    assert first.endswith("training")


def test_letters_from_right_to_left_stand_and_what_turns_direction_is_shown(tmp_path: Path) -> None:
    assert HEBREW in picture([shown(right_to_left(tmp_path))])[0]
    turned = picture([shown(trained(tmp_path / "other", "a\u202eb"))])[0]
    assert "a⟨U+202E⟩b" in turned


def test_foreign_text_is_neither_obeyed_nor_taken_for_markup(tmp_path: Path) -> None:
    run = trained(tmp_path, "[red]run")
    run.event(EventKind.NOTICE, 460.0, text="\x1b[2J\x1b]0;title\x07 [bold]loud[/bold] :boom:\nnext")
    run.bad_batch(4, 43, 461.0, images=["\x1b[31m.png"])
    run.beat(470.0, epoch=4, batch=60, losses={"\x1b[1mbox": 1.0, "[/]": 2.0})
    text = "\n".join(picture([shown(run)], width=120, colours=False))
    assert "\x1b" not in text
    for words in ("[red]run", "[bold]loud[/bold] :boom:⟨U+000A⟩next", "⟨U+001B⟩[31m.png", "[/]"):
        assert words in text


def test_without_colours_no_escape_is_written_and_with_them_there_is(tmp_path: Path) -> None:
    view = shown(trained(tmp_path))
    assert "\x1b" not in "\n".join(picture([view]))
    assert "\x1b[" in "\n".join(picture([view], colours=True))


@pytest.mark.parametrize("width", WIDTHS)
def test_a_terminal_without_utf8_gets_ascii_only(tmp_path: Path, width: int) -> None:
    text = "\n".join(picture([shown(trained(tmp_path, HEBREW))], width=width, glyphs=ASCII))
    assert text.isascii()
    assert "##" in text
    assert "\\u05" in text
    assert max(map(cell_len, text.splitlines())) <= width


def test_a_run_whose_process_is_gone_has_died(tmp_path: Path) -> None:
    assert picture([shown(trained(tmp_path), status=ProcessStatus.GONE)])[0].endswith("died")


def test_a_run_of_another_host_is_judged_by_its_heartbeat_and_says_so(tmp_path: Path) -> None:
    run = trained(tmp_path)
    assert picture([shown(run, status=ProcessStatus.UNKNOWN)])[0].endswith("training, by its heartbeat")
    late = picture([shown(run, 7650.0, status=ProcessStatus.UNKNOWN)], after_s=7650.0)[0]
    assert late.endswith("unknown, silent 2 h")


def test_a_silent_run_is_named_so(tmp_path: Path) -> None:
    run = trained(tmp_path)
    assert picture([shown(run, 1050.0)], after_s=1050.0)[0].endswith("training, silent 10 min")


def test_on_a_small_screen_title_bars_and_bad_batches_outlive_the_rest(tmp_path: Path) -> None:
    lines = picture([shown(trained(tmp_path))], height=10)
    text = "\n".join(lines)
    for words in ("night", "epoch 4 of 10", "1 bad batch", "as of"):
        assert words in text


def test_the_newest_events_come_last(tmp_path: Path) -> None:
    run = trained(tmp_path)
    run.event(EventKind.STATE_HEALED, 460.0, epoch=4, batch=44, what="ema", tensors=2)
    lines = picture([shown(run)], height=24)
    told = [line for line in lines if "healed" in line or "bad batch 42" in line]
    assert "bad batch 42 of 100, epoch 4: loss is not finite; skipped" in told[0]
    assert "ema healed: 2 tensors in epoch 4, batch 44" in told[1]


def test_host_and_gpu_have_their_lines(tmp_path: Path) -> None:
    text = "\n".join(picture([shown(trained(tmp_path))]))
    assert "memory 32.0 of 64.0 GiB free · disk 120 GiB free" in text
    assert "GPU 0 H100: 61 °C, 40.0 of 80.0 GiB" in text


@pytest.mark.parametrize("width", WIDTHS)
def test_fifty_runs_have_a_line_each(tmp_path: Path, width: int) -> None:
    runs = [shown(trained(tmp_path, f"run-{number:02}")) for number in range(50)]
    lines = picture(runs, width=width)
    assert [sum(line.startswith(f"run-{number:02}") for line in lines) for number in range(50)] == [1] * 50
    assert max(map(cell_len, lines)) <= width
    assert not any(line.endswith("…") for line in lines if line.startswith("run"))


def test_runs_without_room_are_counted_and_those_at_work_stand_first(tmp_path: Path) -> None:
    over = [trained(tmp_path, f"over-{number:02}") for number in range(49)]
    for run in over:
        run.record(state=RunRecordState.FINISHED)
    runs = [shown(run) for run in [*over, trained(tmp_path, "zz-at-work")]]
    lines = picture(runs, height=24)
    assert lines[1].startswith("zz-at-work")
    assert len(lines) == 24
    (rest,) = [line for line in lines if line.startswith("and ")]
    shown_over = sum(line.startswith("over-") for line in lines)
    assert rest == f"and {49 - shown_over} more: {49 - shown_over} finished"


def test_a_phase_without_batches_is_named(tmp_path: Path) -> None:
    run = trained(tmp_path)
    run.beat(480.0, epoch=4, batch=100, phase=Phase.VALIDATING)
    assert picture([shown(run)])[0].endswith("validating")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({"start_ts": START_TS + 3600}, "attempt 2 waits until {clock}", id="until its start"),
        pytest.param({"reason": "Resources"}, "attempt 2 waits: Resources", id="for what it waits"),
    ],
)
@pytest.mark.parametrize("state", [RunRecordState.STOPPED, RunRecordState.RUNNING])
def test_job_that_was_submitted_again_waits(
    tmp_path: Path, changes: dict[str, Any], words: str, state: RunRecordState
) -> None:
    run = trained(tmp_path)
    run.record(state=state, job=JOB)
    job = replace(JobFact(id="18", state="pending", reason="BeginTime"), **changes)
    later = ProcessFact(status=ProcessStatus.PENDING, ts=START_TS, job=job)
    seen = shown(run, status=ProcessStatus.GONE, later=later)
    clock = datetime.fromtimestamp(START_TS + 3600, UTC).strftime("%H:%M")
    assert picture([seen])[0].endswith(words.format(clock=clock))
    many = "\n".join(picture([seen, shown(trained(tmp_path, "other"))]))
    assert words.format(clock=clock).removeprefix("attempt 2 ")[:18] in many


def test_job_that_its_cluster_halted_is_suspended(tmp_path: Path) -> None:
    run = trained(tmp_path)
    run.record(job=JOB)
    assert picture([shown(run, status=ProcessStatus.SUSPENDED)])[0].endswith("suspended")


def test_process_of_a_run_that_has_ended_waits_for_nothing(tmp_path: Path) -> None:
    run = trained(tmp_path)
    run.record(state=RunRecordState.STOPPED)
    later = ProcessFact(status=ProcessStatus.PENDING, ts=START_TS)
    assert picture([shown(run, status=ProcessStatus.GONE, later=later)])[0].endswith("stopped")


# -- names that differ at their ends, and what a narrow screen keeps

SEEDS = [f"yolo11m-visdrone-sgd-640-seed{seed}" for seed in range(1, 13)]


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII], ids=["utf-8", "ascii"])
@pytest.mark.parametrize("width", WIDTHS)
def test_runs_whose_names_differ_at_the_end_are_told_apart(tmp_path: Path, width: int, glyphs: Glyphs) -> None:
    lines = picture([shown(trained(tmp_path, name)) for name in SEEDS], width=width, glyphs=glyphs)
    listed = [line.split()[0] for line in lines if " training" in line]
    assert len(set(listed)) == len(SEEDS)
    assert all(any(one.endswith(f"ed{seed}") for one in listed) for seed in range(1, 13))
    fed = [found[1] for line in lines if (found := re.match(r"\d\d:\d\d(?::\d\d)?  (\S+): bad batch 42", line))]
    assert len(set(fed)) == len(fed) == 10


def test_the_name_of_a_single_run_keeps_its_end(tmp_path: Path) -> None:
    first = picture([shown(trained(tmp_path, SEEDS[0]), 1050.0)], width=40, after_s=1050.0)[0]
    assert re.fullmatch(r"yolo11.*….*-seed1 +training, silent 10 .*", first)


def test_a_narrow_list_keeps_epoch_and_bad_batches(tmp_path: Path) -> None:
    runs = [shown(trained(tmp_path, name)) for name in ("one", "two")]
    lines = picture(runs, width=40)
    assert lines[0].split() == ["run", "state", "epoch", "NaN"]
    for name in ("one", "two"):
        (line,) = [line for line in lines if line.startswith(name)]
        assert line.split() == [name, "training", "4/10", "1"]


@pytest.mark.parametrize(
    ("epochs", "told"), [pytest.param(300, "4/300", id="fits"), pytest.param(1_000_000, "4", id="without the whole")]
)
def test_a_narrow_list_never_cuts_the_epoch(tmp_path: Path, epochs: int, told: str) -> None:
    runs = [shown(trained(tmp_path, name, epochs=epochs)) for name in ("one", "two")]
    (line,) = [line for line in picture(runs, width=40) if line.startswith("one")]
    assert line.split() == ["one", "training", told, "1"]


def test_a_narrow_list_says_that_a_run_is_silent_and_how_long(tmp_path: Path) -> None:
    runs = [shown(trained(tmp_path, name), 1050.0) for name in ("one", "two")]
    (line,) = [line for line in picture(runs, width=40, after_s=1050.0) if line.startswith("one")]
    assert "silent 10 min" in line


@pytest.mark.parametrize("many", [False, True], ids=["one run", "two runs"])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_image_of_a_bad_batch_keeps_its_name_and_ending(tmp_path: Path, width: int, many: bool) -> None:
    run = trained(tmp_path, "night")
    run.bad_batch(4, 43, 461.0, images=["/tmp/data/visdrone/images/train/0000_02345_d_0000123.jpg"])
    runs = [shown(run), *([shown(trained(tmp_path, "other"))] if many else [])]
    (line,) = [line for line in picture(runs, width=width) if ".jpg" in line]
    assert "bad batch" in line
    assert "/" not in line
    assert line.endswith("123.jpg")
    assert cell_len(line) <= width


def test_images_that_cannot_be_used_are_named_without_their_folders(tmp_path: Path) -> None:
    run = trained(tmp_path)
    run.event(EventKind.DATA_FAULT, 460.0, files=["/data/a/one.png", "/data/b/two.png", "/data/c/three.png"], count=3)
    assert "3 images can't be used, one.png, two.png" in "\n".join(picture([shown(run)]))
