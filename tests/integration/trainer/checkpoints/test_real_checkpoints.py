from __future__ import annotations

import os
from copy import deepcopy
from pathlib import Path

import pytest
import torch

from trainmaster.trainer.checkpoints.attest import examine
from trainmaster.trainer.checkpoints.catalog import catalog, last_clean
from trainmaster.trainer.checkpoints.files import AttestedPath
from trainmaster.trainer.checkpoints.forensics import judge
from trainmaster.trainer.checkpoints.restore import restore
from trainmaster.trainer.contract import RunLayout, Verdict

NAN = float("nan")


def altered(source: Path, target: Path, change) -> Path:
    """A copy of a checkpoint that this test made itself, so unpickling it is safe."""
    content = torch.load(source, weights_only=False)
    change(content)
    torch.save(content, target)
    return target


@pytest.mark.training
class TestStockRuns:
    def test_clean_checkpoints_are_clean_and_resumable(self, clean_run: Path) -> None:
        for number in (0, 1):
            found = judge(clean_run / "weights" / f"epoch{number}.pt")
            assert (found.verdict, found.resumable, found.epoch) == (Verdict.CLEAN, True, number + 1), found.reasons

    @pytest.mark.parametrize("name", ["last", "best"])
    def test_stripped_checkpoints_are_unknown_and_not_resumable(self, clean_run: Path, name: str) -> None:
        found = judge(clean_run / "weights" / f"{name}.pt")
        assert (found.verdict, found.resumable, found.stripped) == (Verdict.UNKNOWN, False, True)

    @pytest.mark.parametrize("name", ["epoch0", "last", "best"])
    def test_scrubbed_checkpoints_are_contaminated_though_all_their_numbers_are_finite(
        self, poisoned_run: Path, name: str
    ) -> None:
        path = poisoned_run / "weights" / f"{name}.pt"
        content = torch.load(path, weights_only=False)
        model = content["ema"] or content["model"]
        assert all(bool(torch.isfinite(tensor).all()) for tensor in model.state_dict().values()), "nothing was scrubbed"
        found = judge(path)
        assert found.verdict is Verdict.CONTAMINATED
        assert "81 of 81 batch-norm variances are zero everywhere" in "; ".join(found.reasons)

    def test_single_scrubbed_buffer_number_is_found_without_validation(self, poisoned_buffer_run: Path) -> None:
        found = judge(poisoned_buffer_run / "weights" / "epoch0.pt")
        assert found.verdict is Verdict.CONTAMINATED
        assert "model.0.bn.running_var[2]" in "; ".join(found.reasons)

    def test_live_tensors_tell_before_scrubbing(self, clean_run: Path) -> None:
        content = torch.load(clean_run / "weights" / "epoch1.pt", weights_only=False)
        tensors = content["ema"].float().state_dict()
        assert examine({"model": tensors, "ema": tensors}).verdict is Verdict.CLEAN
        tensors["model.0.bn.running_mean"][0] = NAN
        assert examine({"ema": tensors}).verdict is Verdict.CONTAMINATED

    def test_nan_in_momentum_is_contaminated(self, clean_run: Path, tmp_path: Path) -> None:
        def poison(content: dict) -> None:
            content["optimizer"]["state"][7]["momentum_buffer"].view(-1)[0] = NAN

        found = judge(altered(clean_run / "weights" / "epoch1.pt", tmp_path / "x.pt", poison))
        assert found.verdict is Verdict.CONTAMINATED
        assert "state.7.momentum_buffer" in "; ".join(found.reasons)

    def test_hostile_addition_is_told_and_not_run(self, clean_run: Path, tmp_path: Path) -> None:
        victim = tmp_path / "victim"

        class Touch:
            def __reduce__(self):
                return os.system, (f"touch {victim}",)

        found = judge(
            altered(clean_run / "weights" / "epoch1.pt", tmp_path / "x.pt", lambda content: content.update(x=Touch()))
        )
        assert found.verdict is Verdict.CONTAMINATED
        assert "would run code" in found.reasons[0]
        assert not victim.exists()

    def test_truncated_and_flipped_files_are_contaminated(self, clean_run: Path, tmp_path: Path) -> None:
        whole = (clean_run / "weights" / "epoch1.pt").read_bytes()
        (tmp_path / "cut.pt").write_bytes(whole[:-1000])
        assert judge(tmp_path / "cut.pt").verdict is Verdict.CONTAMINATED
        flipped = bytearray(whole)
        flipped[len(whole) // 2] ^= 0x10
        (tmp_path / "flipped.pt").write_bytes(flipped)
        assert judge(tmp_path / "flipped.pt").verdict is Verdict.CONTAMINATED

    def test_unguarded_run_can_be_taken_back(self, clean_run: Path, tmp_path: Path) -> None:
        import shutil

        layout = RunLayout(tmp_path / "run")
        shutil.copytree(clean_run, layout.root)
        entry = last_clean(layout)
        assert entry is not None
        assert entry.epoch == 2
        restored = restore(layout, 1)
        assert restored.source == "weights/epoch0.pt"
        assert layout.results_csv.read_text().splitlines()[-1].strip().startswith("1,")
        found = judge(layout.weights / "last.pt")
        assert (found.verdict, found.resumable, found.epoch) == (Verdict.CLEAN, True, 1)
        assert {entry.epoch for entry in catalog(layout)} == {1}

    def test_attested_path_serves_as_last_and_best(
        self, data_yaml: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        from ultralytics.models.yolo.detect import DetectionTrainer

        from tests.integration.trainer.checkpoints.conftest import train

        seen = []

        class AttestingTrainer(DetectionTrainer):
            def save_model(self):
                self.last, self.best = AttestedPath(self.last), AttestedPath(self.best)
                result = super().save_model()
                seen.append((self.last.written, judge(Path(self.last)).sha256))
                return result

        train(data_yaml, tmp_path_factory.mktemp("runs"), "attested", AttestingTrainer, epochs=1)
        assert [written.sha256 for written, _ in seen] == [digest for _, digest in seen]


MODELS = {
    "detect": ("yolo11n.yaml", "DetectionModel"),
    "segment": ("yolo11n-seg.yaml", "SegmentationModel"),
    "pose": ("yolo26n-pose.yaml", "PoseModel"),
    "obb": ("yolo11n-obb.yaml", "OBBModel"),
    "classify": ("yolo11n-cls.yaml", "ClassificationModel"),
    "v10": ("yolov10n.yaml", "DetectionModel"),
    "attention": ("yolo12n.yaml", "DetectionModel"),
}


@pytest.mark.parametrize(("yaml", "kind"), MODELS.values(), ids=MODELS)
def test_every_task_is_judged_both_ways(
    yaml: str, kind: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    os.environ.setdefault("YOLO_CONFIG_DIR", str(tmp_path_factory.mktemp("config")))
    from ultralytics.cfg import get_cfg
    from ultralytics.nn import tasks

    model = getattr(tasks, kind)(yaml, verbose=False)
    model.args = get_cfg()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    content = {
        "epoch": 0,
        "best_fitness": 0.0,
        "model": None,
        "ema": deepcopy(model).half(),
        "updates": 1,
        "scaler": {},
        "optimizer": optimizer.state_dict(),
        "train_args": vars(get_cfg()),
        "version": "8.4.190",
        "train_metrics": {"val/loss": 1.0, "fitness": 0.0},
    }
    torch.save(content, tmp_path / "x.pt")
    found = judge(tmp_path / "x.pt")
    assert (found.verdict, found.resumable) == (Verdict.CLEAN, True), found.reasons
    for tensor in content["ema"].state_dict().values():
        if tensor.is_floating_point():
            torch.nan_to_num_(tensor.fill_(NAN))
    torch.save(content, tmp_path / "x.pt")
    assert judge(tmp_path / "x.pt").verdict is Verdict.CONTAMINATED
