from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.trainer.checkpoints.making import attest, checkpoint_dict, launder, make_run, save, tree
from trainmaster.trainer.checkpoints.cli import VERBS, main
from trainmaster.trainer.checkpoints.files import digest_of
from trainmaster.trainer.checkpoints.retention import ultralytics_copy
from trainmaster.trainer.contract import RunLayout


@pytest.fixture
def layout(tmp_path: Path) -> RunLayout:
    return make_run(tmp_path / "runs" / "digits", epochs=3)


def asked(capsys: pytest.CaptureFixture[str], verb: str, *argv: object) -> tuple[int, dict, str]:
    """Exit code, the JSON on stdout, and stderr."""
    code = main(verb, [*map(str, argv), "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out), err


class TestVerify:
    def test_clean_file(self, layout: RunLayout, capsys: pytest.CaptureFixture[str]) -> None:
        path = layout.weights / "last.pt"
        code, answer, err = asked(capsys, "verify", path)
        assert (code, err) == (0, "")
        assert answer == {
            "file": str(path),
            "verdict": "clean",
            "epoch": 3,
            "resumable": True,
            "attested": True,
            "reasons": ["attested clean when it was saved after epoch 3"],
            "sha256": digest_of(path).sha256,
            "bytes": path.stat().st_size,
            "fitness": pytest.approx(0.3),
            "kind": "ultralytics",
            "stripped": False,
            "ultralytics_version": "8.4.190",
            "tensors": 22,
        }

    def test_contaminated_file(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        content = checkpoint_dict()
        launder(content["ema"])
        code, answer, _ = asked(capsys, "verify", save(tmp_path / "x.pt", content))
        assert (code, answer["verdict"], answer["resumable"]) == (5, "contaminated", False)
        assert any("zero everywhere" in reason for reason in answer["reasons"])

    def test_unknown_file(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "x.pt").write_text("hello")
        assert asked(capsys, "verify", tmp_path / "x.pt")[:1] == (5,)

    def test_text_for_people(self, layout: RunLayout, capsys: pytest.CaptureFixture[str]) -> None:
        path = layout.weights / "last.pt"
        assert main("verify", [str(path)]) == 0
        assert capsys.readouterr().out.splitlines() == [
            f"{path}: clean",
            "  + attested clean when it was saved after epoch 3",
            "  epoch 3, fitness 0.30000, 0.0 MB, resumable, Ultralytics 8.4.190",
            f"  sha256 {digest_of(path).sha256}",
        ]

    def test_not_finite_fitness_is_still_json(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = save(tmp_path / "x.pt", checkpoint_dict(fitness=float("nan")))
        assert asked(capsys, "verify", path)[1]["fitness"] == "nan"

    def test_archived_file_is_judged_with_its_runs_attestations(
        self, layout: RunLayout, capsys: pytest.CaptureFixture[str]
    ) -> None:
        _, answer, _ = asked(capsys, "archive", layout.root, "after=1")
        archived = Path(answer["folder"]) / "weights" / "last.pt"
        assert asked(capsys, "verify", archived)[1]["attested"]


def test_catalog_lists_and_names_the_last_clean(layout: RunLayout, capsys: pytest.CaptureFixture[str]) -> None:
    attest(layout, layout.state_file(3), epoch=3, verdict="contaminated", reasons=["nan"], kind="state")
    attest(layout, ultralytics_copy(layout, 3), epoch=3, verdict="contaminated", reasons=["nan"])
    for name in ("last", "best"):
        attest(layout, layout.weights / f"{name}.pt", epoch=3, verdict="contaminated", reasons=["nan"])
    code, answer, _ = asked(capsys, "catalog", layout.root)
    assert code == 0
    assert answer["run"] == "digits"
    assert len(answer["checkpoints"]) == 8
    assert answer["last_clean"]["file"] == "guard/states/epoch0002.pt"
    assert main("catalog", [str(layout.root), "--full"]) == 0
    text = capsys.readouterr().out
    assert "last clean: epoch 2, guard/states/epoch0002.pt" in text
    assert "contaminated" in text


def test_archive_restore_and_unarchive_tell_what_they_did(
    layout: RunLayout, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree(layout.root)
    code, archived, _ = asked(capsys, "archive", layout.root, "after=2")
    assert (code, archived["state"], archived["after_epoch"]) == (0, "archived", 2)
    code, listed, _ = asked(capsys, "archive", layout.root)
    assert (code, [one["name"] for one in listed["archives"]]) == (0, ["after-epoch-0002"])
    code, restored, _ = asked(capsys, "restore", layout.root, "epoch=2")
    assert (code, restored["epoch"], restored["best_epoch"]) == (0, 2, 2)
    code, returned, _ = asked(capsys, "unarchive", layout.root, archived["name"])
    assert (code, returned["state"]) == (0, "returned")
    assert tree(layout.root) == before


@pytest.mark.parametrize(
    ("verb", "words", "message"),
    [
        ("verify", [], "wanted is a checkpoint file; given is nothing"),
        ("verify", ["a.pt", "b.pt"], "given is a.pt b.pt"),
        ("verify", ["{run}/none.pt"], "there is no file"),
        ("verify", ["{run}"], "is a folder"),
        ("verify", ["a.pt", "--jsn"], "did you mean 'json'?"),
        ("verify", ["a.pt", "epoch=1"], "unknown setting"),
        ("catalog", ["{run}/none"], "is no run directory"),
        ("archive", ["{run}", "after=x"], "after=x is no epoch"),
        ("archive", ["{run}", "after=-1"], "after=-1 is less than 0"),
        ("archive", ["{run}", "befor=1"], "unknown setting"),
        ("restore", ["{run}"], "which epoch is meant?"),
        ("restore", ["{run}", "epoch=0"], "epoch=0 is less than 1"),
        ("unarchive", ["{run}"], "the name of one of its archives"),
        ("unarchive", ["{run}", "nope"], "has no archive 'nope'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_arguments_are_told_with_exit_2(
    layout: RunLayout, capsys: pytest.CaptureFixture[str], verb: str, words: list[str], message: str
) -> None:
    before = tree(layout.root.parent)
    words = [word.format(run=layout.root) for word in words]
    assert main(verb, words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    code, answer, _ = asked(capsys, verb, *words)
    assert (code, answer["exit_code"]) == (2, 2)
    assert message in answer["error"]
    assert answer["hint"]
    assert tree(layout.root.parent) == before


def test_refusal_has_exit_5_and_says_what_to_take(layout: RunLayout, capsys: pytest.CaptureFixture[str]) -> None:
    code, answer, err = asked(capsys, "restore", layout.root, "epoch=9")
    assert code == 5
    assert answer["hint"] == f"the nearest clean one is epoch 3: trainmaster restore {layout.root} epoch=3"
    assert "Hint: " in err


def test_trainer_at_work_is_a_refusal(layout: RunLayout, capsys: pytest.CaptureFixture[str]) -> None:
    with layout.lock.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert asked(capsys, "archive", layout.root, "after=1")[0] == 5


def test_full_disk_has_exit_1(
    layout: RunLayout, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    code, answer, _ = asked(capsys, "archive", layout.root, "after=1")
    assert code == 1
    assert "are needed" in answer["error"]


@pytest.mark.parametrize("verb", VERBS)
def test_no_command_loads_torch(layout: RunLayout, verb: str) -> None:
    words = {
        "verify": [str(layout.weights / "last.pt")],
        "catalog": [str(layout.root)],
        "archive": [str(layout.root), "after=2"],
        "restore": [str(layout.root), "epoch=2"],
        "unarchive": [str(layout.root), "none"],
    }[verb]
    program = (
        "import sys; from trainmaster.trainer.checkpoints.cli import main; code = main(sys.argv[1], sys.argv[2:]); "
        "print(code, {'torch', 'ultralytics', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, verb, *words],
        cwd=Path(__file__).parents[4],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == f"{2 if verb == 'unarchive' else 0} set()"
