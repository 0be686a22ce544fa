from __future__ import annotations

import enum
import random
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.unit.trainer.checkpoints.making import small_model, stepped_optimizer
from tests.unit.trainer.checkpoints.test_files import FULL, files_limited_to, names_in
from trainmaster.trainer.checkpoints.files import DigestError, HashingWriter, digest_of
from trainmaster.trainer.checkpoints.state import StateContentError, load_state, save_state


class Colour(enum.IntEnum):
    RED = 1


def full_state() -> dict:
    model = small_model()
    optimizer = stepped_optimizer(model)
    name, keys, *rest = np.random.RandomState(3).get_state()
    return {
        "epoch": 4,
        "fitness": 0.25,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "rng": {
            "torch": torch.get_rng_state(),
            "python": random.Random(1).getstate(),
            "numpy": (name, torch.from_numpy(keys.astype(np.int64)), *rest),
        },
        "nothing": None,
        "flags": [True, False],
        "nan": float("nan"),
        7: OrderedDict(a=1),
    }


def test_state_comes_back_bit_for_bit(tmp_path: Path) -> None:
    state = full_state()
    saved = save_state(tmp_path / "s.pt", state)
    loaded = load_state(tmp_path / "s.pt", expected_sha256=saved.sha256)
    for name, tensor in state["model"].items():
        assert torch.equal(tensor, loaded["model"][name])
        assert tensor.dtype == loaded["model"][name].dtype
    assert loaded["rng"]["python"] == state["rng"]["python"]
    assert torch.equal(loaded["rng"]["numpy"][1], state["rng"]["numpy"][1])
    assert list(loaded) == list(state)
    model = small_model(9)
    model.load_state_dict(loaded["model"])
    torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5).load_state_dict(loaded["optimizer"])


def test_digest_is_that_of_the_file(tmp_path: Path) -> None:
    assert save_state(tmp_path / "s.pt", full_state()) == digest_of(tmp_path / "s.pt")


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (np.float64(1.0), "numpy.float64"),
        (np.zeros(2), "numpy.ndarray"),
        (Colour.RED, "Colour"),
        (Path("x"), "Path"),
        ({1, 2}, "builtins.set"),
        (b"x", "builtins.bytes"),
        (torch.float16, "torch.dtype"),
        (len, "builtin_function"),
    ],
    ids=["numpy number", "array", "enum", "path", "set", "bytes", "dtype", "function"],
)
def test_what_could_not_be_loaded_is_refused_with_its_place(tmp_path: Path, value: object, named: str) -> None:
    with pytest.raises(StateContentError, match=r"state\['deep'\]\[1\]\['x'\]") as caught:
        save_state(tmp_path / "s.pt", {"deep": [0, {"x": value}]})
    assert named in str(caught.value)
    assert names_in(tmp_path) == []


def test_refused_state_leaves_the_old_file(tmp_path: Path) -> None:
    saved = save_state(tmp_path / "s.pt", {"a": 1})
    with pytest.raises(StateContentError):
        save_state(tmp_path / "s.pt", {"a": object()})
    assert digest_of(tmp_path / "s.pt") == saved


@pytest.mark.parametrize("limit", [10, 3000, 20_000], ids=lambda limit: f"full after {limit} bytes")
def test_full_disk_leaves_the_old_state_and_no_temporary(tmp_path: Path, limit: int) -> None:
    saved = save_state(tmp_path / "s.pt", {"a": 1})
    big = {"x": torch.zeros(100_000), "y": torch.zeros(100_000)}
    with files_limited_to(limit), pytest.raises(OSError, match=FULL):
        save_state(tmp_path / "s.pt", big)
    assert digest_of(tmp_path / "s.pt") == saved
    assert names_in(tmp_path) == ["s.pt"]


def test_other_bytes_than_attested_are_not_loaded(tmp_path: Path) -> None:
    saved = save_state(tmp_path / "s.pt", {"a": 1})
    save_state(tmp_path / "s.pt", {"a": 2})
    with pytest.raises(DigestError):
        load_state(tmp_path / "s.pt", expected_sha256=saved.sha256)
    assert load_state(tmp_path / "s.pt") == {"a": 2}


def test_a_save_that_fails_is_not_begun_again_behind_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ultralytics replaces torch.save by one that tries four times, into whatever it was given."""
    import ultralytics.utils  # noqa: F401 - replaces torch.save

    failed = []
    write = HashingWriter.write

    def write_but_once(writer: HashingWriter, data: bytes) -> int:
        if not failed:
            failed.append(len(data))
            raise RuntimeError("DataLoader worker (pid 1) is killed by signal: Terminated.")
        return write(writer, data)

    (tmp_path / "a").write_bytes(b"old")
    monkeypatch.setattr(HashingWriter, "write", write_but_once)
    with pytest.raises(RuntimeError):
        save_state(tmp_path / "a", full_state())
    assert failed
    assert (tmp_path / "a").read_bytes() == b"old"
    assert names_in(tmp_path) == ["a"]
