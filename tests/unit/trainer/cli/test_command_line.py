from __future__ import annotations

import ast
import errno
import inspect
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from ultralytics.engine.trainer import BaseTrainer

from trainmaster.trainer.arguments import split_arguments
from trainmaster.trainer.cli.help import HELP
from trainmaster.trainer.cli.main import CHECKPOINT_VERBS, main
from trainmaster.trainer.contract import ExitCode, RunLayout, read_json
from trainmaster.trainer.drill import Drill, DrillFault, parse_plan, request
from trainmaster.trainer.settings.guard_settings import GUARD_KEYS, GuardSettings
from trainmaster.trainer.settings.inputs import OPTIMIZERS, data_faults, parse_values

ROOT = Path(__file__).parents[4]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for split in ("train", "val"):
        (tmp_path / "images" / split).mkdir(parents=True)
        (tmp_path / "images" / split / "0.png").touch()
    (tmp_path / "torn.pt").write_bytes(b"no checkpoint")
    path = tmp_path / "data.yaml"
    path.write_text("train: images/train\nval: images/val\nnames: {0: digit}\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "resume RUN_DIR"),
        (["tran"], "did you mean 'train'"),
        (["drill", "run", "--batches"], "unknown flag: 'batches'\n"),
        (["resume", "run", "--from"], "unknown flag: 'from'\n"),
        (["plot", "run", "--epoch"], "--epoch has no value behind it"),
        (["train", "model=yolo11n.yaml", "data={data}", "epoch=3"], "did you mean 'epochs'"),
        (["train", "modle=yolo11n.yaml", "data={data}"], "did you mean 'model'"),
        (["train", "model=yolo11n.yaml", "data={data}", "level=hard"], "unknown level 'hard'"),
        (["train", "model=yolo11n.yaml", "data={data}", "lr0=fast"], "lr0"),
        (["train", "model=yolo11n.yaml", "data={data}", "imgsz=large"], "imgsz=large is no image size"),
        (["train", "model=yolo11n.yaml", "data={data}", "optimizer=SDG"], "did you mean 'SGD'"),
        (["train", "model=yolo11n.yaml", "data={data}", "device=cuda:99"], "device=99"),
        (["train", "model=yolo11n.yaml", "data={data}", "batch=-1", "device=0,1"], "on one GPU only. Hint: batch=16"),
        (["train", "model=yolo11n.yaml", "data={data}", "quarantine=nowhere.txt"], "nowhere.txt"),
        (["train", "model=yolo11n.yaml", "data={data}", "exact=true", "time=2"], "time= exclude each other"),
        (["train", "model=yolo11n.yaml", "data={data}", "exact=yes", "deterministic=false"], "needs deterministic"),
        (["train", "model=yolo11n.yaml", "data=nowhere/data.yaml"], "no such file"),
        (["train", "model=yolo11n.yaml", f"data={'long' * 99}"], "File name too long"),
        (["train", "model=yolo11n.yaml", "data={data}", f"name={'long' * 99}"], "File name too long"),
        (["train", "model=yolo11n.yaml", "data={data}", f"project={'long' * 99}"], "File name too long"),
        (
            ["train", "model=yolo11n.yaml", "data={data}", "pretrained=nowhere.pt"],
            "nowhere.pt: No such file",
        ),
        (["train", "data={data}"], "no model given"),
        (["train", "model=nowhere.pt", "data={data}"], "model=nowhere.pt: no such file"),
        (["train", "model={folder}/torn.pt", "data={data}"], "torn.pt cannot be loaded"),
        (["train", "model=yolo11n.yaml", "data={data}", "drill=nan-image@x"], "epoch 2 batch 5"),
        (["train", "model=yolo11n.yaml", "data={data}", "epochs=3", "extra"], "key=value"),
        (["train", "model=yolo11n.yaml", "data={data}", "epochs=3", "epochs=4"], "given twice"),
        (["resume", "nowhere"], "is no directory"),
        (["resume", "{folder}"], "is no run directory"),
        (["copy", "nowhere", "to={folder}/copies"], "nowhere is no run directory"),
        (["data", "nowhere"], "nowhere is no directory"),
        (["resume", "{folder}", "from=x"], "is no"),
        (["resume", "{run}", "from=²"], "from=² is no whole number from 1"),
        (["resume", "{run}", f"from={'9' * 5000}"], "is no whole number from 1"),
        (["train", "model=yolo11n.yaml", "data={data}", "drill=nan-image@²:1"], "epoch 2 batch 5"),
        (["resume", "{run}", "from=1", "lr0=fast"], "lr0"),
        (["resume", "{run}", "from=1", "level=next", "quarantine=nowhere.txt"], "nowhere.txt"),
        (["drill", "{folder}"], "is no run directory"),
        (["replay", "{folder}", "1"], "is no run directory"),
    ],
    ids=str,
)
def test_a_command_that_cannot_be_is_told_what_is_wrong(
    words: list[str], told: str, data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    last = tmp_path / "run" / "weights" / "last.pt"
    last.parent.mkdir(parents=True)
    last.write_bytes(b"untouched")
    filled = [word.format(data=data, folder=data.parent, run=tmp_path / "run") for word in words]
    assert main(filled) == ExitCode.BAD_ARGUMENTS
    captured = capsys.readouterr()
    assert told in captured.err + captured.out
    if words[1:2] in (["nowhere"], ["{folder}"]):
        assert "Hint: " in captured.err + captured.out, "what is to be named instead"
    assert not (tmp_path / "runs").exists()
    assert [path.name for path in (tmp_path / "run").rglob("*")] == ["weights", "last.pt"]


def test_the_optimizers_are_those_that_ultralytics_builds() -> None:
    (listed,) = re.findall(r"optimizers = (\{.+\})", inspect.getsource(BaseTrainer.build_optimizer))
    assert set(OPTIMIZERS) == ast.literal_eval(listed)


def test_all_faults_are_told_in_one_message(capsys: pytest.CaptureFixture[str]) -> None:
    main(["train", "data=nowhere.yaml", "level=hard", "epoch=3", "snapshot_s=soon"])
    told = capsys.readouterr().err
    assert all(part in told for part in ("nowhere.yaml", "hard", "epochs", "snapshot_s", "no model"))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("train: images/train\nnames: {0: a}\n", "lacks 'val'"),
        ("train: images/train\nval: images/other\nnames: {0: a}\n", "images/other does not exist"),
        ("train: images/train\nval: images/val\n", "lacks 'names'"),
        ("- a\n- b\n", "is no YAML"),
        ("train: [unclosed\n", "is no YAML"),
        ("train: images/train\nval: images/val\nnames: [a, b]\nnc: 3\n", "nc is 3, but there are 2 names"),
        ("train: images/train\nval: images/val\nnc: ten\n", "'ten' is no number of classes"),
        ("train: images/train\nval: images/val\nnames: digits\n", "is no list of classes"),
        ("train: images/train\nval: images/val\nnames: {1: a, 5: b}\n", "the numbers 1, 5; they must go from 0 up"),
        ("train: .\nval: images/none\nnames: [a]\n", "images/none holds no images"),
    ],
    ids=[
        *("no val", "nowhere", "no names", "a list", "torn", "other number of classes", "number in words", "one name"),
        *("gap", "no images"),
    ],
)
def test_a_data_set_description_is_checked(content: str, told: str, data: Path) -> None:
    data.write_text(content, encoding="utf-8")
    (data.parent / "images" / "none").mkdir()
    faults = data_faults(str(data), "detect")
    assert any(told in fault for fault in faults), faults


def test_a_good_description_has_no_fault(data: Path) -> None:
    assert data_faults(str(data), "detect") == []
    assert data_faults(str(data.parent), "classify") == []


@pytest.mark.parametrize(
    "content",
    [
        "train: ../images/train\nval: ../images/val\nnames: [a]\n",
        "path: ../known/digits\ntrain: images/train\nval: images/val\nnames: [a]\n",
        "train: images/train\nvalidation: images/val\nnames: [a]\n",
        "train: images/train\nval: images/val\nnames: {'0': a, '1': b}\nnc: '2'\n",
        "train: images/train\nval: images/val\nnc: 2.0\n",
    ],
    ids=[
        "a Roboflow export",
        "below the folder of data sets",
        "validation",
        "numbers in quotes",
        "a count with a point",
    ],
)
def test_what_ultralytics_reads_has_no_fault(content: str, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = data.parent / "known"
    monkeypatch.setattr("ultralytics.utils.DATASETS_DIR", known)
    shutil.copytree(data.parent / "images", known / "digits" / "images")
    data.write_text(content, encoding="utf-8")
    assert data_faults(str(data), "detect") == []
    assert data_faults("digits", "classify") == []


@pytest.mark.parametrize("name", ["digits.zip", "DIGITS.TGZ", "digits.ndjson"])
def test_a_data_set_in_one_file_is_left_to_ultralytics(name: str, tmp_path: Path) -> None:
    assert data_faults(str(tmp_path / name), "") != []
    (tmp_path / name).touch()
    assert data_faults(str(tmp_path / name), "") == []


def test_a_data_set_that_ultralytics_knows_by_name_or_address_has_no_fault() -> None:
    assert [data_faults(data, "") for data in ("coco8", "coco8.yaml", "https://example.com/a.zip")] == [[], [], []]


def test_values_are_read_as_ultralytics_reads_them() -> None:
    given = {"a": "3", "b": "0.5", "c": "True", "d": "none", "e": "[1, 2]", "f": "yolo11n.yaml", "g": "1e-3"}
    assert parse_values(given) == {
        "a": 3,
        "b": 0.5,
        "c": True,
        "d": None,
        "e": [1, 2],
        "f": "yolo11n.yaml",
        "g": 0.001,
    }


def test_a_run_of_a_sweep_may_have_its_setting_in_its_name() -> None:
    split = split_arguments(["runs/lr0=0.01", "from=2", "--full"])
    assert (split.words, split.settings, split.flags) == (("runs/lr0=0.01",), {"from": "2"}, {"full"})


def test_a_drill_is_asked_for_taken_up_and_done(tmp_path: Path) -> None:
    layout = RunLayout(tmp_path)
    layout.guard.mkdir()
    request(layout, DrillFault.INF_LOSS, 2)
    drill = Drill(layout, "nan-image@1:2")
    faults = []
    for batch in range(1, 6):
        drill.next_batch(epoch=1, batch=batch)
        faults.append(drill.fault)
        drill.poll()
    assert faults == [None, DrillFault.NAN_IMAGE, DrillFault.INF_LOSS, DrillFault.INF_LOSS, None]
    assert read_json(layout.guard / "drill.json") is None


def test_the_name_of_a_run_rules_no_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = RunLayout(tmp_path / "a\x1b[2Jb")
    layout.guard.mkdir(parents=True)
    layout.run_json.write_text("{}")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["drill", str(layout.root)]) == 0
    for said in capsys.readouterr():
        assert "a⟨U+001B⟩[2Jb" in said
        assert "\x1b" not in said


def test_a_run_that_does_not_train_is_not_asked_for_a_drill(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its next training would begin with a bad batch, days later and at whatever level."""
    layout = RunLayout(tmp_path)
    layout.guard.mkdir()
    layout.run_json.write_text('{"state":"finished"}')
    assert main(["drill", str(tmp_path)]) == 2
    assert "does not train: it is finished" in capsys.readouterr().err
    assert not layout.drill.exists()


def test_a_bad_gradient_waits_for_a_step_to_spoil(tmp_path: Path) -> None:
    model = torch.nn.Linear(1, 1)
    drill = Drill(RunLayout(tmp_path), "nan-gradient@1:2")
    faults = []
    for batch in range(1, 6):
        drill.next_batch(epoch=1, batch=batch)
        faults.append(drill.fault)
        if batch == 4:  # the first step of an accumulation window of four
            model(torch.ones(1, 1)).backward()
            drill.spoil_gradients(model)
    assert faults == [None, *[DrillFault.NAN_GRADIENT] * 3, None]
    assert not torch.isfinite(model.weight.grad).all()


def test_a_torn_drill_request_spoils_nothing(tmp_path: Path) -> None:
    layout = RunLayout(tmp_path)
    layout.guard.mkdir()
    (layout.guard / "drill.json").write_text('{"fault": "nan-')
    drill = Drill(layout, None)
    drill.poll()
    drill.next_batch(epoch=1, batch=1)
    assert drill.fault is None
    assert not (layout.guard / "drill.json").exists()


def test_a_disk_that_gives_no_answer_asks_for_no_drill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dead(*_: Any, **__: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    drill = Drill(RunLayout(tmp_path), None)
    monkeypatch.setattr(Path, "stat", dead)
    drill.poll()
    drill.next_batch(epoch=1, batch=1)
    assert drill.fault is None


def test_a_plan_names_epoch_and_batch() -> None:
    plan = parse_plan("nan-gradient@3:17")
    assert (plan.fault, plan.epoch, plan.batch) == (DrillFault.NAN_GRADIENT, 3, 17)


@pytest.mark.parametrize("words", [["verify", "nowhere.pt"], ["catalog", "nowhere"], ["--help"]], ids=" ".join)
def test_what_needs_no_torch_loads_none(words: list[str]) -> None:
    code = (
        "import sys; from trainmaster.trainer.__main__ import main; main(sys.argv[1:]); "
        "sys.exit('torch' in sys.modules or 'ultralytics' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("verb", [*CHECKPOINT_VERBS, "train", "resume", "drill", "replay"])
def test_every_command_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == ExitCode.FINISHED
    assert capsys.readouterr().out.startswith(f"trainmaster {verb} ")


@pytest.mark.parametrize("key", GUARD_KEYS)
def test_the_help_of_train_names_every_setting_of_the_guard_with_its_default(key: str) -> None:
    default = getattr(GuardSettings(), key)
    text = "" if default is None else f"{default:g}" if isinstance(default, float) else str(default).lower()
    value = "FILE" if key == "quarantine" else text
    assert any(line.split()[:1] == [f"{key}={value}"] for line in HELP["train"].splitlines())
