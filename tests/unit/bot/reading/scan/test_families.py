"""Tables of every task and of the forks: losses by the names their header gives, mAP from its own column."""

from __future__ import annotations

import io
from typing import Any

import pytest

from tests.unit.bot.reading.log_texts import start
from trainmaster.bot.reading.scan.scanner import scan_stream


def table(*cells: str) -> str:
    return "".join(f"{cell:>11}" for cell in cells)


def head(*losses: str) -> str:
    return "\n" + table("Epoch", "GPU_mem", *losses, "Instances", "Size") + "\n"


def row(name: str, *cells: str) -> str:
    return f"{name:>22}" + table(*cells)


BAR = ": 100% ━━━━━━━━━━━━ 9/9 2.5it/s 1.2s\n"
TQDM = ": 100%|██████████| 9/9 [00:10<00:00,  4.35it/s]\n"
BOXES = ("Images", "Instances", "Box(P", "R", "mAP50", "mAP50-95)")

FAMILIES: dict[str, tuple[str, tuple[int, int], dict[str, str], int, tuple[float | None, float | None]]] = {
    "yolov3_2019": (
        "\n     Epoch   gpu_mem      GIoU       obj       cls     total   targets  img_size\n"
        "     0/272     5.2G       nan       nan       nan       nan       116       416" + TQDM
        + row("Class", "Images", "Targets", "P", "R", "mAP@0.5", "F1") + TQDM
        + row("all", "120", "240", "0.1", "0.3", "0.173", "0.21") + "\n",
        (0, 272), {"GIoU": "nan", "obj": "nan", "cls": "nan", "total": "nan"}, 1, (0.173, None),
    ),
    "yolov5_segment": (
        head("box_loss", "seg_loss", "obj_loss", "cls_loss")
        + table("0/2", "5G", "0.1", "0.2", "0.03", "0.04", "63", "640") + TQDM
        + row("Class", *BOXES, "Mask(P", "R", "mAP50", "mAP50-95)") + TQDM
        + row("all", "23", "35", "0.9", "0.8", "0.7", "0.6", "0.5", "0.4", "0.3", "0.2") + "\n",
        (0, 2), {"box_loss": "0.1", "seg_loss": "0.2", "obj_loss": "0.03", "cls_loss": "0.04"}, 0, (0.7, 0.6),
    ),
    "yolov5_classify": (
        "\n     Epoch   GPU_mem  train_loss    val_loss    top1_acc    top5_acc\n"
        "       2/5    0.733G         nan         1.9       0.581       0.921" + TQDM,
        (2, 5), {"train_loss": "nan", "val_loss": "1.9"}, 1, (None, None),
    ),
    "yolov6": (
        "\n     Epoch  iou_loss   dfl_loss   cls_loss\n     0/399     1.214        nan       3.45" + TQDM,
        (0, 399), {"iou_loss": "1.214", "dfl_loss": "nan", "cls_loss": "3.45"}, 1, (None, None),
    ),
    "yolov6_with_rate": (
        "\n     Epoch        lr  iou_loss   dfl_loss   cls_loss\n     7/399  0.001234     1.214          0       3.45"
        + TQDM,
        (7, 399), {"iou_loss": "1.214", "dfl_loss": "0", "cls_loss": "3.45"}, 0, (None, None),
    ),
    "yolov7": (
        "\n     Epoch   gpu_mem       box       obj       cls     total    labels  img_size\n"
        "     0/149     13.6G   0.04854   0.00671    0.0135   0.06876        17       640" + TQDM
        + row("Class", "Images", "Labels", "P", "R", "mAP@.5", "mAP@.5:.95") + TQDM
        + row("all", "120", "240", "0.1", "0.3", "0.173", "0.0839") + "\n",
        (0, 149), {"box": "0.04854", "obj": "0.00671", "cls": "0.0135", "total": "0.06876"}, 0, (0.173, 0.0839),
    ),
    "yolov10": (
        head("box_om", "cls_om", "dfl_om", "box_oo", "cls_oo", "dfl_oo")
        + table("1/500", "2.6G", "1", "2", "3", "4", "5", "nan", "12", "640") + TQDM,
        (1, 500), {"box_om": "1", "cls_om": "2", "dfl_om": "3", "box_oo": "4", "cls_oo": "5", "dfl_oo": "nan"}, 1,
        (None, None),
    ),
    "rtdetr": (
        head("giou_loss", "cls_loss", "l1_loss")
        + "\r\x1b[K" + table("7/300", "4.59G", "0.4013", "inf", "0.214", "13", "640") + BAR,
        (7, 300), {"giou_loss": "0.4013", "cls_loss": "inf", "l1_loss": "0.214"}, 1, (None, None),
    ),
    "pose": (
        head("box_loss", "pose_loss", "kobj_loss", "cls_loss", "dfl_loss")
        + table("1/3", "4G", "0.4", "1", "0", "2", "3", "16", "640") + BAR
        + row("Class", *BOXES, "Pose(P", "R", "mAP50", "mAP50-95)") + BAR
        + row("all", "23", "35", "0.9", "0.8", "0.7", "0.6", "0.5", "0.4", "0.3", "0.2") + "\n",
        (1, 3), {"box_loss": "0.4", "pose_loss": "1", "kobj_loss": "0", "cls_loss": "2", "dfl_loss": "3"}, 0,
        (0.7, 0.6),
    ),
    "classify": (
        head("loss") + table("1/3", "4G", "0.4", "16", "224") + BAR
        + row("classes", "top1_acc", "top5_acc") + BAR + row("all", "0.9", "1") + "\n",
        (1, 3), {"loss": "0.4"}, 0, (None, None),
    ),
    "semantic": (
        head("ce_loss", "dice_loss", "aux_loss") + table("1/3", "4G", "0.4", "0.5", "0.2", "13", "512") + BAR
        + row("Class", "Images", "Pixels", "mIoU", "PixAcc") + BAR
        + row("all", "100", "1.2e+07", "0.513", "0.812") + "\n",
        (1, 3), {"ce_loss": "0.4", "dice_loss": "0.5", "aux_loss": "0.2"}, 0, (None, None),
    ),
    "depth": (
        head("dlog_loss", "dgrad_loss") + table("1/3", "4G", "0.4", "nan", "13", "512") + BAR
        + row("Class", "Images", "delta1", "abs_rel", "rmse", "silog") + BAR
        + row("all", "100", "0.9", "0.1", "0.513", "0.812") + "\n",
        (1, 3), {"dlog_loss": "0.4", "dgrad_loss": "nan"}, 1, (None, None),
    ),
    "wide_numbers": (
        start() + "10000/100000  1.02e+03G  1.234e+05      1e+04   -0.2231        267        640" + BAR,
        (10000, 100000), {"box_loss": "123400", "cls_loss": "10000", "dfl_loss": "-0.2231"}, 0, (None, None),
    ),
    "bar_with_words_behind": (
        start() + table("2/10", "2G", "1", "2", "3", "267", "640")
        + ": 100%|█████     | 9/9 [00:10<00:03,  4.35it/s, loss=nan]\n",
        (2, 10), {"box_loss": "1", "cls_loss": "2", "dfl_loss": "3"}, 0, (None, None),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("log", "epoch", "losses", "frames", "maps"), FAMILIES.values(), ids=FAMILIES.keys())
def test_every_family_is_read_by_its_own_header(
    log: str, epoch: tuple[int, int], losses: dict[str, str], frames: int, maps: tuple[Any, Any]
) -> None:
    report = scan_stream(io.BytesIO(log.encode()))
    assert (report.last_epoch, report.total_epochs, report.last_batch, report.total_batches) == (*epoch, 9, 9)
    assert {name: f"{value:g}" for name, value in (report.losses or {}).items()} == losses
    assert (report.nan_loss_frames, report.crashed) == (frames, False)
    assert (report.map50, report.map50_95) == maps


def test_a_line_like_yolov6_is_no_frame_below_another_header() -> None:
    report = scan_stream(io.BytesIO((start() + "1/4     1.2     nan     3.4" + TQDM).encode()))
    assert (report.last_epoch, report.nan_loss_frames) == (None, 0)
