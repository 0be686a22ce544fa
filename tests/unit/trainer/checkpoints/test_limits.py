"""What has more of something than any checkpoint is judged, or said not to be, within the time of any other."""

from __future__ import annotations

import struct
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.unit.trainer.checkpoints.hidden_files import entries_of, written
from tests.unit.trainer.checkpoints.making import checkpoint_dict, judged, said, save
from trainmaster.trainer.checkpoints import container, module_settings, pickle_walk, single_numbers, tensors
from trainmaster.trainer.checkpoints.attest import shown_by
from trainmaster.trainer.checkpoints.forensics import judge
from trainmaster.trainer.contract import Verdict

LIMIT_S = 2.0


def _shared_lists(content: dict[str, Any]) -> None:
    """Ten to the twelve numbers, if anybody writes them out."""
    content["git"] = [1] * 1000
    for _ in range(3):
        content["git"] = [content["git"]] * 1000


def _shared_groups(content: dict[str, Any]) -> None:
    group = {**content["optimizer"]["param_groups"][0], **{f"setting{number}": 0.5 for number in range(1000)}}
    content["optimizer"]["param_groups"] = [group] * 9900


def _shared_setting(content: dict[str, Any]) -> None:
    numbers = [0.5] * 5000
    content["optimizer"]["param_groups"][0].update({f"setting{number}": numbers for number in range(5000)})


def _shared_history(content: dict[str, Any]) -> None:
    column = [1.0] * 10_000
    content["train_results"] = {f"train/{number}": column for number in range(2000)}


def _shared_by_modules(content: dict[str, Any]) -> None:
    content["ema"].words = ["a"] * 10_000
    for number in range(200):
        layer = torch.nn.Identity()
        layer.words = content["ema"].words
        content["ema"].add_module(str(number), layer)


def _shared_array(content: dict[str, Any]) -> None:
    held = np.ones(130_000)
    for number in range(300):
        layer = torch.nn.Identity()
        layer.class_weights = held
        content["ema"].add_module(str(number), layer)


def _shared_arguments(content: dict[str, Any]) -> None:
    words = ["a"] * 9000
    content["train_args"] = {f"argument{number}": words for number in range(5000)}


SHARED = (
    *(_shared_lists, _shared_arguments, _shared_groups, _shared_setting, _shared_history, _shared_by_modules),
    _shared_array,
)


@pytest.mark.parametrize("spoil", SHARED, ids=lambda spoil: spoil.__name__)
def test_what_hangs_in_ten_thousand_places_is_looked_at_once(
    tmp_path: Path, spoil: Callable[[dict[str, Any]], None]
) -> None:
    content = checkpoint_dict()
    spoil(content)
    path = save(tmp_path / "last.pt", content)
    began = time.process_time()
    assert judge(path).verdict is not Verdict.CONTAMINATED
    assert time.process_time() - began < LIMIT_S


LIMITS = {
    "steps": (pickle_walk, "MAX_STEPS", "steps"),
    "names": (pickle_walk, "MAX_NAMES", "classes and functions"),
    "tensors": (tensors, "MAX_TENSORS", "tensors"),
    "numbers one by one": (tensors, "MAX_SINGLE_NUMBERS", "numbers"),
    "modules": (module_settings, "MAX_MODULES", "modules"),
    "settings": (module_settings, "MAX_SETTINGS", "numbers"),
    "groups": (single_numbers, "MAX_GROUPS", "groups of parameters"),
    "entries": (container, "MAX_DIRECTORY_BYTES", "the directory of its entries"),
}


@pytest.mark.parametrize(("where", "limit", "reason"), LIMITS.values(), ids=LIMITS)
def test_what_has_more_than_is_looked_at_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: Any, limit: str, reason: str
) -> None:
    monkeypatch.setattr(where, limit, 0)
    found = judged(tmp_path, checkpoint_dict())
    assert (found.verdict, found.doubt_stands) == (Verdict.UNKNOWN, False)
    assert said(found).startswith("not judged: ")
    assert reason in said(found)


NUM_CHANNELS = 10_000
"""Of one layer: few numbers, each of which is looked at by itself."""


def _zero_variances(content: dict[str, Any]) -> None:
    layer = content["ema"].second
    layer.conv.weight = torch.nn.Parameter(torch.full((NUM_CHANNELS, 1, 1, 1), 1e-3).half())
    layer.bn.running_var = torch.zeros(NUM_CHANNELS).half().index_fill_(0, torch.tensor(0), 1.0)


def _zero_biases(content: dict[str, Any]) -> None:
    content["ema"].head.weight = torch.nn.Parameter(torch.ones(NUM_CHANNELS, 1).half())
    content["ema"].head.bias = torch.nn.Parameter(torch.eye(1, NUM_CHANNELS)[0].half())


@pytest.mark.parametrize("spoil", [_zero_variances, _zero_biases], ids=lambda spoil: spoil.__name__)
def test_a_great_many_channels_are_not_looked_at_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[dict[str, Any]], None]
) -> None:
    monkeypatch.setattr(tensors, "MAX_SINGLE_NUMBERS", 20 * NUM_CHANNELS)
    content = checkpoint_dict()
    spoil(content)
    assert said(judged(tmp_path, content)).startswith("not judged: its statistics and biases")


def test_an_optimizer_of_more_groups_than_are_looked_at_ends_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(single_numbers, "MAX_GROUPS", 0)
    assert shown_by(save(tmp_path / "last.pt", checkpoint_dict())).verdict is Verdict.UNKNOWN


def test_names_that_grow_with_each_level_are_not_written_out(tmp_path: Path) -> None:
    content = checkpoint_dict()
    inner = torch.nn.Sequential(OrderedDict((str(number), torch.nn.Identity()) for number in range(3)))
    for _ in range(4):
        inner = torch.nn.Sequential(OrderedDict({"n" * 300: inner}))
    content["ema"].add_module("more", inner)
    found = judged(tmp_path, content)
    assert (found.verdict, "a name of" in said(found)) == (Verdict.UNKNOWN, True)


def test_a_directory_of_a_hundred_thousand_entries_is_not_read(tmp_path: Path) -> None:
    number = 100_000
    local = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 0, 0, 0, 0, 0, 0, 1, 0) + b"a"
    entry = struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    size = len(entry) * number
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 65535, 65535, size, len(local), 0)
    path = tmp_path / "last.pt"
    path.write_bytes(local + entry * number + end)
    began = time.process_time()
    found = judge(path)
    assert (found.verdict, "the directory of its entries" in said(found)) == (Verdict.UNKNOWN, True)
    assert time.process_time() - began < LIMIT_S / 10


def test_a_file_that_writes_another_on_loading_is_not_called_clean(tmp_path: Path) -> None:
    entries = entries_of(checkpoint_dict())
    writer = (
        b"cultralytics.utils\nJSONDict\n)\x81}X\x09\x00\x00\x00file_pathX\x01\x00\x00\x00xsbX\x01\x00\x00\x00aK\x01s"
    )
    pickled = entries["data.pkl"]
    assert pickled.endswith(b"u.")
    written(tmp_path / "x.pt", {**entries, "data.pkl": pickled[:-1] + b"X\x03\x00\x00\x00git" + writer + b"s."})
    found = judge(tmp_path / "x.pt")
    assert (found.verdict, "JSONDict" in said(found)) == (Verdict.UNKNOWN, True)


def test_a_tensor_with_attributes_of_its_own_is_no_code_and_no_doubt(tmp_path: Path) -> None:
    content = checkpoint_dict()
    marked = torch.rand(3).half()
    marked.learned = True  # type: ignore[attr-defined]
    content["ema"].register_buffer("marks", marked)
    content["ema"].head.weight.learned = True
    assert b"_rebuild_from_type_v2" in entries_of(content)["data.pkl"]
    assert judged(tmp_path, content).verdict is Verdict.CLEAN


def test_an_ordered_dict_of_python_2_is_read() -> None:
    content = b"ccollections\nOrderedDict\n(]]S'a'\naI1\naatR."
    assert pickle_walk.walk(content).value == {"a": 1}
