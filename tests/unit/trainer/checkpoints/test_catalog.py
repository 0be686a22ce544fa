from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
import torch

from tests.unit.trainer.checkpoints.making import (
    attest,
    checkpoint_dict,
    launder,
    make_run,
    save,
    stripped,
    tree,
    write_state,
)
from trainmaster.trainer.checkpoints import catalog as module
from trainmaster.trainer.checkpoints.catalog import catalog, last_clean, restorable_copy
from trainmaster.trainer.checkpoints.forensics import FileKind, judge
from trainmaster.trainer.checkpoints.ledger import CHECKS
from trainmaster.trainer.checkpoints.retention import ultralytics_copy
from trainmaster.trainer.contract import RunLayout, Verdict


@pytest.fixture
def layout(tmp_path: Path) -> RunLayout:
    return make_run(tmp_path / "run", epochs=3)


@pytest.fixture
def judged_files(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were read and judged, not taken at the word of their attestation."""
    files: list[str] = []

    def counting(path: Path, **kwargs):
        files.append(path.name)
        return judge(path, **kwargs)

    monkeypatch.setattr(module, "judge", counting)
    return files


def test_every_file_is_listed_by_epoch_with_what_is_known(layout: RunLayout) -> None:
    entries = catalog(layout)
    assert [(entry.epoch, entry.file) for entry in entries if entry.epoch == 3] == [
        (3, "guard/states/epoch0003.ultralytics.pt"),
        (3, "weights/last.pt"),
        (3, "weights/best.pt"),
        (3, "guard/states/epoch0003.pt"),
    ]
    assert [entry.epoch for entry in entries] == [1, 1, 2, 2, 3, 3, 3, 3]
    assert {entry.verdict for entry in entries} == {Verdict.CLEAN}
    assert all(entry.resumable and entry.attested for entry in entries)
    assert {entry.file: entry.kind for entry in entries}["guard/states/epoch0001.pt"] is FileKind.STATE


def test_attested_files_are_taken_at_their_word(layout: RunLayout, judged_files: list[str]) -> None:
    catalog(layout)
    assert judged_files == []


def as_of_an_older_trainer(layout: RunLayout, **changed: object) -> None:
    """The ledger's rows are as they were before they told which checks were made, and newer than what is on disk."""
    rows = [json.loads(line) for line in layout.checkpoints.read_text().splitlines()]
    older = [{key: value for key, value in row.items() if key != "checks"} | changed for row in rows]
    layout.checkpoints.write_text("".join(json.dumps({**row, "ts": time.time() + 5}) + "\n" for row in older))


def test_clean_by_an_older_trainer_is_looked_at(layout: RunLayout, judged_files: list[str]) -> None:
    as_of_an_older_trainer(layout)
    entries = catalog(layout)
    assert len(judged_files) == len(entries) == 8
    assert {entry.verdict for entry in entries} == {Verdict.CLEAN}
    assert all(entry.attested for entry in entries)


def test_what_an_older_trainer_doubted_needs_no_look(layout: RunLayout, judged_files: list[str]) -> None:
    as_of_an_older_trainer(layout, verdict="contaminated")
    entries = catalog(layout)
    assert {entry.verdict for entry in entries if entry.file not in {"weights/last.pt", "weights/best.pt"}} == {
        Verdict.CONTAMINATED
    }
    assert not {name for name in judged_files if name.startswith("epoch")}


def test_a_variance_below_zero_that_an_older_trainer_called_clean_is_not_offered(layout: RunLayout) -> None:
    path = layout.state_file(3)
    state = torch.load(path, weights_only=False)
    name = next(name for name in state["model"] if name.endswith("running_var"))
    state["model"][name].fill_(-1.0)
    torch.save(state, path)
    attest(layout, path, epoch=3, kind="state")
    as_of_an_older_trainer(layout)
    found = {entry.file: entry.verdict for entry in catalog(layout)}
    assert found["guard/states/epoch0003.pt"] is Verdict.CONTAMINATED
    clean = last_clean(layout)
    assert clean is not None
    assert clean.file != "guard/states/epoch0003.pt"


def signs_alone(state: dict[str, torch.Tensor]) -> None:
    name = next(name for name, value in state.items() if value.ndim == 4 and value.numel() > 64)
    state[name] = torch.where(state[name] < 0, -0.5, 0.5)


def beyond_its_layer(state: dict[str, torch.Tensor]) -> None:
    next(value for name, value in state.items() if name.endswith("running_var"))[-1] = 9e7


@pytest.mark.parametrize("ruin", [signs_alone, beyond_its_layer], ids=lambda one: one.__name__)
def test_what_an_older_trainer_did_not_look_for_is_not_offered_as_clean(layout: RunLayout, ruin) -> None:
    path = layout.state_file(3)
    state = torch.load(path, weights_only=False)
    ruin(state["model"])
    torch.save(state, path)
    attest(layout, path, epoch=3, kind="state")
    as_of_an_older_trainer(layout, checks=CHECKS - 1)
    found = {entry.file: entry for entry in catalog(layout)}["guard/states/epoch0003.pt"]
    assert found.verdict is Verdict.UNKNOWN
    assert "attested clean when it was saved, against what it holds" in found.reasons
    clean = last_clean(layout)
    assert clean is not None
    assert clean.file != found.file


def test_full_reads_every_file(layout: RunLayout, judged_files: list[str]) -> None:
    assert catalog(layout, full=True) == catalog(layout, full=True)
    assert len(judged_files) == 16


@pytest.mark.parametrize("how", ["larger", "newer"])
def test_file_that_changed_since_is_read(layout: RunLayout, judged_files: list[str], how: str) -> None:
    path = layout.state_file(2)
    if how == "larger":
        path.write_bytes(path.read_bytes() + b"x")
    else:
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime + 60))
    verdict = {entry.file: entry.verdict for entry in catalog(layout)}["guard/states/epoch0002.pt"]
    assert judged_files == ["epoch0002.pt"]
    assert verdict is (Verdict.CONTAMINATED if how == "larger" else Verdict.CLEAN)


def test_silent_rot_is_found_by_full_only(layout: RunLayout) -> None:
    path = layout.state_file(2)
    content, before = bytearray(path.read_bytes()), path.stat()
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    name = "guard/states/epoch0002.pt"
    assert {entry.file: entry.verdict for entry in catalog(layout)}[name] is Verdict.CLEAN
    assert {entry.file: entry.verdict for entry in catalog(layout, full=True)}[name] is Verdict.CONTAMINATED


def test_unattested_files_of_an_unguarded_run_are_judged(tmp_path: Path) -> None:
    layout = RunLayout(tmp_path)
    save(layout.weights / "epoch0.pt", checkpoint_dict(1))
    poisoned = checkpoint_dict(2)
    launder(poisoned["ema"])
    save(layout.weights / "epoch1.pt", poisoned)
    save(layout.weights / "last.pt", stripped(checkpoint_dict(3)))
    (layout.weights / "torn.pt").write_bytes(b"PK\x03\x04")
    entries = catalog(layout)
    assert [(entry.file, entry.verdict, entry.resumable) for entry in entries] == [
        ("weights/epoch0.pt", Verdict.CLEAN, True),
        ("weights/epoch1.pt", Verdict.CONTAMINATED, False),
        ("weights/last.pt", Verdict.UNKNOWN, False),
        ("weights/torn.pt", Verdict.CONTAMINATED, False),
    ]
    assert (entry := last_clean(layout)) is not None
    assert entry.file == "weights/epoch0.pt"
    assert restorable_copy(layout, 1) == layout.weights / "epoch0.pt"


def test_stripped_last_is_listed_as_not_resumable_though_attested(layout: RunLayout) -> None:
    last = save(layout.weights / "last.pt", stripped(checkpoint_dict(3)))
    attest(layout, last, epoch=3)
    found = {entry.file: entry for entry in catalog(layout)}["weights/last.pt"]
    assert (found.verdict, found.resumable, found.epoch) == (Verdict.CLEAN, False, 3)


def test_empty_run_has_no_checkpoints(tmp_path: Path) -> None:
    assert catalog(RunLayout(tmp_path)) == []
    assert last_clean(RunLayout(tmp_path)) is None


class TestLastClean:
    def test_is_the_newest_full_state(self, layout: RunLayout) -> None:
        entry = last_clean(layout)
        assert entry is not None
        assert (entry.epoch, entry.file) == (3, "guard/states/epoch0003.pt")

    def test_obeys_the_bound(self, layout: RunLayout) -> None:
        entry = last_clean(layout, at_or_before_epoch=2)
        assert entry is not None
        assert entry.epoch == 2
        assert last_clean(layout, at_or_before_epoch=0) is None

    def test_passes_over_the_contaminated(self, layout: RunLayout) -> None:
        for path in (*layout.states.glob("epoch0003*"), *layout.weights.glob("*.pt")):
            attest(layout, path, epoch=3, verdict="contaminated", reasons=["nan"])
        entry = last_clean(layout)
        assert entry is not None
        assert entry.epoch == 2

    def test_is_no_stop_state(self, layout: RunLayout) -> None:
        write_state(layout, 5, fitness=0.1, name="stop.pt")
        assert 5 in {entry.epoch for entry in catalog(layout)}
        entry = last_clean(layout)
        assert entry is not None
        assert entry.epoch == 3


def test_looking_changes_nothing(layout: RunLayout) -> None:
    before = tree(layout.root)
    catalog(layout, full=True)
    last_clean(layout)
    assert tree(layout.root) == before


def test_copy_to_restore_from_is_ours_before_theirs(layout: RunLayout) -> None:
    save(layout.weights / "epoch1.pt", checkpoint_dict(2))
    assert restorable_copy(layout, 2) == ultralytics_copy(layout, 2)
    assert restorable_copy(layout, 9) is None
