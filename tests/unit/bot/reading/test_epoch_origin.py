"""Console and results.csv count epochs from different numbers; which is found from what they hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.run_dirs import START_TS
from trainmaster.bot.core.run.adoption import Adoption
from trainmaster.bot.core.run.epoch_report import metrics_text
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.reading.adopted import AdoptedReader
from trainmaster.bot.reading.results_csv import parse_results

HEADER = "\n      Epoch    GPU_mem   box_loss   obj_loss   cls_loss  Instances       Size\n"
ULTRALYTICS = "Ultralytics YOLOv8.0.100 🚀 Python-3.10 torch-2.0 CUDA:0 (A100, 81920MiB)\n"
YOLOV5 = "YOLOv5 🚀 v7.0-72-g064365d Python-3.8.10 torch-1.13.1 CUDA:0 (A100, 81920MiB)\n"
START = "Starting training for 3 epochs...\n"
CSV = "epoch,train/box_loss,metrics/mAP50(B),val/box_loss,lr/pg0\n"
CSV_V5 = (
    "               epoch,      train/box_loss,      train/obj_loss,      train/cls_loss,   metrics/precision,"
    "      metrics/recall,     metrics/mAP_0.5,metrics/mAP_0.5:0.95,        val/box_loss,               x/lr0\n"
)


def frame(epoch: int, batch: int, last: int) -> str:
    return (
        f"\r{f'{epoch}/{last}':>11}{'2.1G':>11}{'1.5':>11}{'2.5':>11}{'1.25':>11}{12:>11}{640:>11}: "
        f"{batch * 10}%|██        | {batch}/10 [00:10<00:03,  4.35it/s]"
    )


def looked(tmp_path: Path, log: str, csv: str) -> RunView:
    (tmp_path / "exp").mkdir()
    (tmp_path / "log").write_text(log, encoding="utf-8")
    (tmp_path / "exp" / "results.csv").write_text(csv, encoding="utf-8")
    adoption = Adoption(name="exp", directory=tmp_path / "exp", log=tmp_path / "log", process=None, adopted_ts=START_TS)
    return AdoptedReader(adoption, first_seen_ts=START_TS).read(START_TS + 10)


def finished(view: RunView) -> list[tuple[int, float | None]]:
    return [(one.epoch, one.losses.get("box_loss")) for one in view.story() if one.finished]


def rows(first: int, count: int) -> str:
    return "".join(f"{first + number},0.{number + 1},0.4,0.9,0.01\n" for number in range(count))


def rows_v5(first: int, count: int) -> str:
    cells = ",".join(f"{cell:>20}" for cell in ("0.2", "0.3", "0.5", "0.6", "0.7", "0.35", "0.9", "0.01"))
    return "".join(f"{first + number:>20},{f'0.{number + 1}':>20},{cells}\n" for number in range(count))


@pytest.mark.parametrize("banner", [ULTRALYTICS, ""], ids=["banner", "no banner"])
@pytest.mark.parametrize("first", [0, 1], ids=["csv from 0", "csv from 1"])
def test_a_console_from_1_names_the_rows(tmp_path: Path, banner: str, first: int) -> None:
    log = f"{banner}{START}{HEADER}{frame(1, 10, 3)}\n{HEADER}{frame(2, 10, 3)}\n{HEADER}{frame(3, 1, 3)}\r"
    assert finished(looked(tmp_path, log, CSV + rows(first, 2))) == [(1, 0.1), (2, 0.2)]


@pytest.mark.parametrize(("version", "first"), [("8.0.100", 2), ("8.0.163", 2), ("8.0.164", 3), ("8.1.0", 3)])
def test_rows_that_a_resume_began_are_counted_as_their_version_does(tmp_path: Path, version: str, first: int) -> None:
    log = f"{ULTRALYTICS.replace('8.0.100', version)}{START}{HEADER}{frame(3, 10, 4)}\n{HEADER}{frame(4, 10, 4)}\n"
    assert finished(looked(tmp_path, log, CSV + rows(first, 2))) == [(3, 0.1), (4, 0.2)]


@pytest.mark.parametrize("banner", [YOLOV5, ""], ids=["banner", "no banner"])
def test_yolov5_counts_from_0_in_both(tmp_path: Path, banner: str) -> None:
    log = f"{banner}{START}{HEADER}{frame(0, 10, 2)}\n{HEADER}{frame(1, 10, 2)}\n{HEADER}{frame(2, 1, 2)}\r"
    view = looked(tmp_path, log, CSV_V5 + rows_v5(0, 2))
    assert finished(view) == [(0, 0.1), (1, 0.2)]
    assert [(one.epoch, one.finished) for one in view.story()] == [(0, True), (1, True), (2, False)]


def test_a_yolov5_log_that_begins_late_is_known_by_its_total(tmp_path: Path) -> None:
    log = f"{START}{HEADER}{frame(1, 10, 2)}\n{HEADER}{frame(2, 1, 2)}\r"
    assert finished(looked(tmp_path, log, CSV_V5 + rows_v5(0, 2))) == [(1, 0.2)]


def test_epoch_0_is_an_epoch(tmp_path: Path) -> None:
    view = looked(tmp_path, f"{YOLOV5}{START}{HEADER}{frame(0, 3, 2)}\r", CSV_V5)
    assert view.beat is not None
    assert (view.beat.epoch, view.total_epochs) == (0, 2)
    assert view.epoch(0) is view.current is not None


def test_a_finished_run_says_how_many_epochs_it_had(tmp_path: Path) -> None:
    log = f"{YOLOV5}{START}{HEADER}{frame(2, 10, 2)}\n\n3 epochs completed in 0.1 hours.\n"
    (event,) = [one for one in looked(tmp_path, log, CSV_V5).notable if one.kind == "run_finished"]
    assert event.integer("epochs") == 3


def test_the_columns_of_yolov5_have_the_names_of_ultralytics(tmp_path: Path) -> None:
    results = parse_results((CSV_V5 + rows_v5(0, 1)).encode())
    assert results.columns == (
        "epoch", "train/box_loss", "train/obj_loss", "train/cls_loss", "metrics/precision(B)", "metrics/recall(B)",
        "metrics/mAP50(B)", "metrics/mAP50-95(B)", "val/box_loss", "lr/pg0",
    )  # fmt: skip
    view = looked(tmp_path, f"{YOLOV5}{START}{HEADER}{frame(0, 10, 2)}\n", CSV_V5 + rows_v5(0, 1))
    epoch = view.epoch(0)
    assert epoch is not None
    assert (metrics_text(epoch), epoch.lr) == ("mAP50 0.700, mAP50-95 0.350", 0.01)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("metrics/mAP_0.5(M)", "metrics/mAP50(M)"),
        ("metrics/mAP_0.5:0.95(B)", "metrics/mAP50-95(B)"),
        ("lr/0", "lr/pg0"),
        ("metrics/accuracy_top1", "metrics/accuracy_top1"),
        ("metrics/mAP50(B)", "metrics/mAP50(B)"),
    ],
)
def test_each_name_is_put_once(name: str, known: str) -> None:
    assert parse_results(f"epoch,{name}\n1,0.5\n".encode()).rows[0].values == {known: 0.5}
