from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from tests.unit.trainer.checkpoints.test_files import FULL, files_limited_to
from trainmaster.trainer.contract import RunLayout, read_json
from trainmaster.trainer.incidents.incident import MAX_INCIDENTS, Cause, Incidents, diagnose, first_bad_module

NAN = float("nan")


def test_an_incident_keeps_batch_and_images(tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    image.write_bytes(b"png")
    incidents = Incidents(RunLayout(tmp_path))
    name = incidents.record({"reason": "x"}, {"img": torch.ones(2, 3), "im_file": ["a"]}, [str(image), "gone.png"])

    folder = RunLayout(tmp_path).incidents / "0001"
    assert name == "0001"
    assert (read_json(folder / "incident.json") or {})["copied"] == [str(image)]
    kept = torch.load(folder / "batch.pt", weights_only=True)
    assert torch.equal(kept["img"], torch.ones(2, 3))
    assert Incidents(RunLayout(tmp_path)).record({}, {}, []) == "0002"


def test_a_full_disk_keeps_what_was_whole_and_no_part_of_a_file(tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    image.write_bytes(bytes(5000))
    layout = RunLayout(tmp_path)
    with files_limited_to(1000), pytest.raises(OSError, match=FULL):
        Incidents(layout).record({"reason": "x"}, {"img": torch.ones(2, 3, 64, 64)}, [str(image)])
    kept = [path.relative_to(layout.incidents).as_posix() for path in layout.incidents.rglob("*") if path.is_file()]
    assert kept == ["0001/incident.json"]
    assert (read_json(layout.incidents / kept[0]) or {})["copied"] == []


def test_an_incident_of_which_nothing_could_be_written_takes_no_number(tmp_path: Path) -> None:
    incidents = Incidents(RunLayout(tmp_path))
    with files_limited_to(0), pytest.raises(OSError, match=FULL):
        incidents.record({"reason": "x"}, {}, [])
    assert incidents.record({"reason": "x"}, {}, []) == "0001"


def test_the_number_of_incidents_is_bounded(tmp_path: Path) -> None:
    layout = RunLayout(tmp_path)
    (layout.incidents / f"{MAX_INCIDENTS:04d}").mkdir(parents=True)
    assert Incidents(layout).record({}, {}, []) is None


def test_a_large_batch_keeps_as_many_images_as_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainmaster.trainer.incidents.incident.MAX_BATCH_BYTES", 100)
    Incidents(RunLayout(tmp_path)).record({}, {"img": torch.ones(10, 5)}, [])
    kept = torch.load(RunLayout(tmp_path).incidents / "0001" / "batch.pt", weights_only=True)
    assert kept["img"].shape == (5, 5)


@pytest.mark.parametrize("masks_of", [3, 5], ids=["a mask an image", "a mask a box"])
def test_what_is_kept_of_a_large_batch_belongs_to_the_images_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, masks_of: int
) -> None:
    monkeypatch.setattr("trainmaster.trainer.incidents.incident.MAX_BATCH_BYTES", 2400)
    index = torch.tensor([0.0, 0.0, 1.0, 2.0, 2.0])
    batch = {"img": torch.ones(3, 256), "batch_idx": index, "cls": torch.ones(5, 1), "masks": torch.ones(masks_of, 2)}
    Incidents(RunLayout(tmp_path)).record({}, batch, [])
    kept = torch.load(RunLayout(tmp_path).incidents / "0001" / "batch.pt", weights_only=True)
    assert (len(kept["img"]), kept["batch_idx"].tolist(), len(kept["cls"])) == (2, [0, 0, 1], 3)
    assert len(kept["masks"]) == (2 if masks_of == 3 else 3)


@pytest.mark.parametrize(
    ("where", "cause"),
    [
        ("image", Cause.DATA),
        ("far beyond any picture", Cause.DATA),
        ("label", Cause.DATA),
        ("class", Cause.DATA),
        ("mask", Cause.DATA),
        ("weight", Cause.MODEL),
        ("", Cause.TRANSIENT),
    ],
)
def test_the_cause_is_where_the_first_bad_value_is(where: str, cause: Cause) -> None:
    model = nn.Linear(3, 1)
    model.nc = 2
    batch = {
        "img": torch.ones(2, 3),
        "cls": torch.ones(3, 1),
        "batch_idx": torch.tensor([0.0, 0.0, 1.0]),
        "masks": torch.ones(2, 4, 4),
    }
    match where:
        case "image":
            batch["img"][1, 0] = NAN
        case "far beyond any picture":
            batch["img"][1, 0] = -1e30
        case "label":
            batch["cls"][2] = NAN
        case "class":
            batch["cls"][2] = 2
        case "mask":
            batch["masks"][1, 0] = NAN
        case "weight":
            with torch.no_grad():
                model.weight[0, 0] = NAN
    found = diagnose(model, batch, labels_bad=where == "class")
    assert found["cause"] == cause
    assert found["bad_images"] == ([1] if where in {"image", "far beyond any picture"} else [])
    assert found["badly_labelled"] == ([1] if where in {"label", "class", "mask"} else [])


def test_the_first_module_with_a_bad_output_is_named() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    batch = {"img": torch.ones(1, 2)}
    assert first_bad_module(model, batch) is None
    with torch.no_grad():
        model[2].bias[0] = NAN
    assert first_bad_module(model, batch) == "2 (Linear)"
