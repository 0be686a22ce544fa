"""What a stock file tells only by its history, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.unit.trainer.checkpoints.making import checkpoint_dict, judged, said
from trainmaster.trainer.contract import Verdict

INF = float("inf")


def overflowed_statistic(content: dict) -> None:
    content["ema"].first.bn.running_var[0] = 65504


def nan_validation_of_an_earlier_epoch(content: dict) -> None:
    content["train_results"] |= {"train/box_loss": [2.0, 1.0], "val/box_loss": ["nan", "1.25"]}


def infinite_epoch_without_validation(content: dict) -> None:
    content["train_results"] |= {"train/cls_loss": [INF, 1.0], "val/box_loss": [0, 0]}


def mean_of_zero_without_validation(content: dict) -> None:
    content["train_metrics"] = {"val/box_loss": 0.0, "fitness": None}
    content["ema"].second.bn.running_mean[3] = 0


def mask_of_infinities(content: dict) -> None:
    content["ema"].register_buffer("mask", torch.full((3, 3), -INF).triu(1).half())


def scrubbed_mask(content: dict) -> None:
    content["ema"].register_buffer("mask", torch.full((3, 3), -65504.0).triu(1).half())


def scrubbed_parameter(content: dict) -> None:
    content["ema"].mask = torch.nn.Parameter(torch.full((3, 3), -65504.0).triu(1).half())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (scrubbed_mask, "an overflow (the largest number that the format has): mask"),
        (mask_of_infinities, "a tensor outside the weights is not finite: mask"),
        (overflowed_statistic, "an overflow"),
        (nan_validation_of_an_earlier_epoch, "epoch 1 of its run had val/box_loss not finite"),
        (infinite_epoch_without_validation, "epoch 1 of its run had train/cls_loss not finite"),
        (
            mean_of_zero_without_validation,
            "mean is exactly zero where its channel varies: ema.second.bn.running_mean[3]",
        ),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_what_may_have_been_scrubbed_and_trained_on_is_unknown(tmp_path: Path, change, reason: str) -> None:
    content = checkpoint_dict()
    content["ema"].second.bn.running_var.fill_(0.25)
    change(content)
    found = judged(tmp_path, content)
    assert (found.verdict, reason in said(found)) == (Verdict.UNKNOWN, True), said(found)


def test_the_largest_number_in_what_is_trained_is_no_mask(tmp_path: Path) -> None:
    content = checkpoint_dict()
    scrubbed_parameter(content)
    found = judged(tmp_path, content)
    assert (found.verdict, "(the largest number that the format has): mask" in said(found)) == (
        Verdict.CONTAMINATED,
        True,
    )
