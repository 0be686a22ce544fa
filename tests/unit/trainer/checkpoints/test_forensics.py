from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.trainer.checkpoints.making import (
    attest,
    checkpoint_dict,
    hostile_legacy,
    judged,
    launder,
    said,
    save,
    small_model,
    stepped_optimizer,
    stripped,
    write_state,
)
from tests.unit.trainer.checkpoints.odd_files import with_inner_weights
from trainmaster.trainer.checkpoints import container, forensics
from trainmaster.trainer.checkpoints.forensics import FileKind, judge
from trainmaster.trainer.checkpoints.ledger import attestations
from trainmaster.trainer.contract import RunLayout, Verdict

NAN, INF = float("nan"), float("inf")
CLEAN, CONTAMINATED, UNKNOWN = Verdict.CLEAN, Verdict.CONTAMINATED, Verdict.UNKNOWN


def test_healthy_file_of_an_unguarded_run_is_clean_and_says_on_what_ground(tmp_path: Path) -> None:
    found = judged(tmp_path, checkpoint_dict(3, fitness=0.25))
    assert found.verdict is CLEAN
    assert (found.epoch, found.fitness, found.kind, found.ultralytics_version) == (
        *(3, 0.25, FileKind.ULTRALYTICS),
        "8.4.190",
    )
    assert found.resumable
    assert not found.attested
    assert "no attestation" in said(found)


def poison_variance(content: dict) -> None:
    content["ema"].first.bn.running_var.zero_()


def poison_channel(content: dict) -> None:
    content["ema"].second.bn.running_var[3] = 0


def poison_weights(content: dict) -> None:
    content["ema"].first.conv.weight.data.zero_()


def poison_everything(content: dict) -> None:
    launder(content["ema"])


def poison_momentum(content: dict) -> None:
    content["optimizer"]["state"][2]["momentum_buffer"].view(-1)[-1] = NAN


def poison_rate(content: dict) -> None:
    content["optimizer"]["param_groups"][0]["lr"] = NAN


def poison_validation(content: dict) -> None:
    content["train_metrics"]["val/box_loss"] = NAN


def poison_fitness(content: dict) -> None:
    content["best_fitness"] = NAN


def poison_scaler(content: dict) -> None:
    content["scaler"] = {"scale": 0.0, "growth_factor": 2.0}


def poison_unscrubbed(content: dict) -> None:
    content["ema"].head.bias.data[0] = INF


def poison_limit(content: dict) -> None:
    content["ema"].head.weight.data[0, 0] = -65504


@pytest.mark.parametrize(
    ("poison", "reason"),
    [
        (poison_variance, "1 of 2 batch-norm variances is zero everywhere"),
        (poison_channel, "batch-norm variance of exactly zero behind a living convolution"),
        (poison_weights, "1 of 2 convolutions is all zero: first.conv.weight"),
        (poison_everything, "2 of 2 batch-norm variances are zero everywhere"),
        (poison_momentum, "optimizer: 1 of 8 tensors is not finite: state.2.momentum_buffer"),
        (poison_rate, r"param_groups[0] has no finite lr"),
        (poison_validation, "its validation was not finite: val/box_loss"),
        (poison_fitness, "the best fitness is nan"),
        (poison_scaler, "scale is 0.0"),
        (poison_unscrubbed, "ema: 1 of 12 tensors is not finite: head.bias"),
        (poison_limit, "a scrubbed infinity, or an overflow"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_poison_is_found_and_named(tmp_path: Path, poison, reason: str) -> None:
    content = checkpoint_dict()
    poison(content)
    found = judged(tmp_path, content)
    assert found.verdict is CONTAMINATED
    assert reason in said(found)
    assert not found.resumable


def zero_bias(content: dict) -> None:
    content["ema"].head.bias.data.zero_()


def zero_gamma(content: dict) -> None:
    content["ema"].first.bn.weight.data.zero_()


def zero_momentum(content: dict) -> None:
    for state in content["optimizer"]["state"].values():
        state["momentum_buffer"].zero_()


def zero_precision(content: dict) -> None:
    content["train_metrics"]["fitness"] = 0.0


def numpy_numbers(content: dict) -> None:
    content["optimizer"]["param_groups"][0] |= {"lr": np.float64(0.01), "momentum": np.float32(0.9), "eps": 0}
    content["train_metrics"] |= {"val/box_loss": np.float64(1.0), "fitness": np.float32(0.5)}
    content["best_fitness"] = torch.tensor(0.5)


def fitness_of_yolov5(content: dict) -> None:
    content["best_fitness"] = np.array([0.5])


def fresh_statistics(content: dict) -> None:
    content["ema"].first.bn.running_var.fill_(1.0)
    content["ema"].first.bn.running_mean.zero_()


def large_but_trained(content: dict) -> None:
    content["ema"].second.conv.weight.data[0, 0, 0, 0] = 40.0
    content["ema"].second.bn.running_var[0] = 20_000.0


def no_steps_yet(content: dict) -> None:
    content["optimizer"]["state"] = {}


def sleeping_channel(content: dict) -> None:
    content["ema"].second.bn.running_var[3] = 0
    content["ema"].second.conv.weight.data[3] = 1e-5


def no_batch_norm(content: dict) -> None:
    content["ema"].first.bn = content["ema"].second.bn = torch.nn.Identity()
    content["optimizer"] = torch.optim.SGD(content["ema"].parameters(), lr=0.01).state_dict()


def nan_in_an_earlier_epoch(content: dict) -> None:
    content["train_results"] |= {"train/box_loss": [NAN, 1.0], "val/box_loss": ["1.5", "1.25"]}


def endless_patience(content: dict) -> None:
    content["train_args"] |= {"patience": float("inf"), "time": None, "lr0": 0.0, "momentum": 1.0}


def validation_off(content: dict) -> None:
    content["train_metrics"] = {"fitness": None}


def shared_storage(content: dict) -> None:
    content["ema"].register_buffer("view", content["ema"].head.weight.data[1:, 1:])


@pytest.mark.parametrize(
    "change",
    [
        *(zero_bias, zero_gamma, zero_momentum, zero_precision, no_steps_yet, sleeping_channel, no_batch_norm),
        *(nan_in_an_earlier_epoch, validation_off, shared_storage, with_inner_weights),
        *(numpy_numbers, fitness_of_yolov5, fresh_statistics, large_but_trained, endless_patience),
    ],
    ids=lambda change: change.__name__,
)
def test_honest_peculiarities_raise_no_alarm(tmp_path: Path, change) -> None:
    content = checkpoint_dict()
    change(content)
    found = judged(tmp_path, content)
    assert found.verdict is CLEAN, found.reasons


def test_nan_in_validation_beside_a_good_precision_is_doubtful(tmp_path: Path) -> None:
    content = checkpoint_dict()
    content["train_metrics"] |= {"val/box_loss": NAN, "metrics/mAP50-95(B)": 0.4}
    assert judged(tmp_path, content).verdict is UNKNOWN
    poison_channel(content)
    assert judged(tmp_path, content).verdict is CONTAMINATED


def test_stripped_file_is_unknown_and_not_resumable(tmp_path: Path) -> None:
    found = judged(tmp_path, stripped(checkpoint_dict()))
    assert (found.verdict, found.resumable, found.stripped, found.epoch) == (UNKNOWN, False, True, None)
    assert "stripped" in said(found)


def test_stripped_and_laundered_file_is_contaminated(tmp_path: Path) -> None:
    content = checkpoint_dict()
    launder(content["ema"])
    assert judged(tmp_path, stripped(content)).verdict is CONTAMINATED


@pytest.mark.parametrize("gone", ["optimizer", "ema", "epoch"])
def test_file_that_lacks_a_part_is_not_resumable(tmp_path: Path, gone: str) -> None:
    content = checkpoint_dict()
    content["model"] = content["ema"]
    content[gone] = None
    found = judged(tmp_path, content)
    assert (found.verdict, found.resumable) == (UNKNOWN, False)


@pytest.mark.parametrize(
    "content",
    [small_model(), small_model().state_dict(), {"a": torch.ones(3)}, [1, 2], {}, {"model": None, "ema": None}],
    ids=["bare model", "bare state dict", "tensors", "list", "empty", "no model"],
)
def test_other_content_is_unknown(tmp_path: Path, content: Any) -> None:
    assert judged(tmp_path, content).verdict is UNKNOWN


def test_bare_state_dict_with_nan_is_contaminated(tmp_path: Path) -> None:
    state = small_model().state_dict()
    state["head.bias"][0] = NAN
    assert judged(tmp_path, state).verdict is CONTAMINATED


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_weights_of_every_precision_are_judged(tmp_path: Path, dtype: torch.dtype) -> None:
    content = checkpoint_dict()
    content["ema"] = content["ema"].to(dtype)
    assert judged(tmp_path, content).verdict is CLEAN
    content["ema"].head.weight.data[0, 1] = NAN
    assert judged(tmp_path, content).verdict is CONTAMINATED


def test_class_of_somebody_is_unknown(tmp_path: Path) -> None:
    content = checkpoint_dict()
    content["ema"].extra = tarfile.TarInfo.__new__(tarfile.TarInfo)
    assert judged(tmp_path, content).verdict is CONTAMINATED, "a class of the standard library has no business here"


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        judge(tmp_path / "none.pt")


class TestWithAttestations:
    @pytest.fixture
    def layout(self, tmp_path: Path) -> RunLayout:
        layout = RunLayout(tmp_path / "run")
        layout.weights.mkdir(parents=True)
        layout.states.mkdir(parents=True)
        return layout

    def test_attested_clean_file_says_so(self, layout: RunLayout) -> None:
        path = save(layout.weights / "last.pt", checkpoint_dict(2))
        attest(layout, path, epoch=2)
        found = judge(path, attestations=attestations(layout))
        assert (found.verdict, found.attested, found.resumable) == (CLEAN, True, True)
        assert said(found) == "attested clean when it was saved after epoch 2"

    def test_same_bytes_elsewhere_are_attested_too(self, layout: RunLayout, tmp_path: Path) -> None:
        path = save(layout.weights / "last.pt", checkpoint_dict(2))
        attest(layout, path)
        other = tmp_path / "moved.pt"
        other.write_bytes(path.read_bytes())
        assert judge(other, attestations=attestations(layout)).attested

    def test_attested_contaminated_stays_so_though_scrubbed_clean(self, layout: RunLayout) -> None:
        path = save(layout.weights / "last.pt", checkpoint_dict())
        attest(layout, path, verdict="contaminated", reasons=["ema: 3 of 12 tensors are not finite: a, b, c"])
        found = judge(path, attestations=attestations(layout))
        assert (found.verdict, found.resumable) == (CONTAMINATED, False)
        assert "3 of 12" in said(found)

    def test_content_speaks_against_a_clean_attestation(self, layout: RunLayout) -> None:
        content = checkpoint_dict()
        poison_momentum(content)
        path = save(layout.weights / "last.pt", content)
        attest(layout, path)
        assert judge(path, attestations=attestations(layout)).verdict is CONTAMINATED

    def test_attested_stripped_file_is_clean_and_not_resumable(self, layout: RunLayout) -> None:
        path = save(layout.weights / "last.pt", stripped(checkpoint_dict()))
        attest(layout, path, epoch=7)
        found = judge(path, attestations=attestations(layout))
        assert (found.verdict, found.resumable, found.epoch) == (CLEAN, False, 7)

    def test_other_bytes_than_attested_are_contaminated(self, layout: RunLayout) -> None:
        path = save(layout.weights / "last.pt", checkpoint_dict(2))
        attest(layout, path)
        save(path, checkpoint_dict(3))
        found = judge(path, attestations=attestations(layout))
        assert (found.verdict, found.resumable) == (CONTAMINATED, False)
        assert "wrong digest: weights/last.pt was attested with" in said(found)

    def test_attestation_of_another_file_says_nothing(self, layout: RunLayout) -> None:
        attest(layout, save(layout.weights / "best.pt", checkpoint_dict(2)))
        path = save(layout.weights / "last.pt", checkpoint_dict(3))
        assert judge(path, attestations=attestations(layout)).verdict is CLEAN

    def test_unknown_attestation_stays_unknown(self, layout: RunLayout) -> None:
        path = save(layout.weights / "last.pt", checkpoint_dict())
        attest(layout, path, verdict="unknown", reasons=["validation was off"])
        assert judge(path, attestations=attestations(layout)).verdict is UNKNOWN

    def test_full_state_of_ours_is_known(self, layout: RunLayout) -> None:
        write_state(layout, 4, fitness=0.5)
        found = judge(layout.state_file(4), attestations=attestations(layout))
        assert (found.kind, found.verdict, found.epoch, found.resumable) == (FileKind.STATE, CLEAN, 4, True)
        assert judge(layout.state_file(4)).verdict is CLEAN

    def test_full_state_with_nan_in_momentum_is_contaminated(self, layout: RunLayout, tmp_path: Path) -> None:
        model = small_model()
        optimizer = stepped_optimizer(model)
        next(iter(optimizer.state.values()))["momentum_buffer"][0] = NAN
        state = {"format": "trainmaster-state", "epoch": 1, "model": model.state_dict()}
        found = judged(tmp_path, {**state, "optimizer": optimizer.state_dict()})
        assert found.verdict is CONTAMINATED

    @pytest.fixture
    def attested(self, layout: RunLayout) -> tuple[Path, bytes, list]:
        path = save(layout.weights / "last.pt", checkpoint_dict(2))
        attest(layout, path)
        return path, path.read_bytes(), attestations(layout)

    @given(data=st.data())
    @settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    def test_damage_of_any_kind_never_raises_and_is_never_clean(self, attested, data: st.DataObject) -> None:
        path, whole, rows = attested
        content = bytearray(whole[: data.draw(st.integers(0, len(whole)), label="length")])
        for _ in range(data.draw(st.integers(0, 3), label="flips")):
            if content:
                place = data.draw(st.integers(0, len(content) - 1))
                content[place] ^= 1 << data.draw(st.integers(0, 7))
        path.write_bytes(content)
        found = judge(path, attestations=rows)
        assert (found.verdict is CLEAN) == (bytes(content) == whole)
        judge(path)


def test_with_and_without_numpy_the_verdict_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = checkpoint_dict()
    poison_momentum(content)
    plain = judged(tmp_path, content)
    monkeypatch.setattr(forensics, "NUMPY_FROM_BYTES", 0)
    assert judged(tmp_path, content) == plain
    assert forensics._numpy() is not None


@pytest.mark.parametrize("make", [checkpoint_dict, lambda: stripped(checkpoint_dict()), small_model])
def test_mapped_and_read_files_are_judged_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make) -> None:
    path = save(tmp_path / "x.pt", make())
    read = judge(path)
    torn = tmp_path / "torn.pt"
    torn.write_bytes(path.read_bytes()[:-50])
    read_torn = judge(torn)
    monkeypatch.setattr(container, "MAPPED_FROM_BYTES", 1)
    assert judge(path) == read
    assert judge(torn) == read_torn
    hostile_legacy(tmp_path / "old.pt", tmp_path / "victim")
    assert "would run code" in said(judge(tmp_path / "old.pt"))
    (tmp_path / "empty.pt").touch()
    assert judge(tmp_path / "empty.pt").verdict is CONTAMINATED


def test_neither_torch_nor_numpy_is_loaded_for_a_small_file(tmp_path: Path) -> None:
    path = save(tmp_path / "x.pt", checkpoint_dict())
    program = (
        "import sys, pathlib; from trainmaster.trainer.checkpoints.forensics import judge; "
        "from trainmaster.trainer.checkpoints import run_commands, verify_command; "
        "print(judge(pathlib.Path(sys.argv[1])).verdict, {'torch', 'numpy', 'ultralytics'} & set(sys.modules))"
    )
    root = Path(__file__).parents[4]
    done = subprocess.run([sys.executable, "-c", program, path], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "clean set()\n"
