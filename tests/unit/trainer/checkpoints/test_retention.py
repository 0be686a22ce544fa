from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.trainer.checkpoints.making import attest, make_run, write_state
from trainmaster.trainer.checkpoints.files import DigestError, SavedFile, digest_of
from trainmaster.trainer.checkpoints.retention import epochs_on_disk, keep_copy, retain, ultralytics_copy
from trainmaster.trainer.contract import RunLayout


def run_of_one(layout: RunLayout, epoch: int, *, verdict: str = "clean") -> None:
    for path, kind in ((layout.state_file(epoch), "state"), (ultralytics_copy(layout, epoch), "ultralytics")):
        path.write_bytes(b"%d" % epoch)
        attest(layout, path, epoch=epoch, fitness=0.1, kind=kind, verdict=verdict)


def run_of(root: Path, fitness: dict[int, float], verdicts: dict[int, str] | None = None) -> RunLayout:
    layout = RunLayout(root)
    layout.states.mkdir(parents=True)
    for epoch, value in fitness.items():
        for path, kind in ((layout.state_file(epoch), "state"), (ultralytics_copy(layout, epoch), "ultralytics")):
            path.write_bytes(b"%d" % epoch)
            verdict = (verdicts or {}).get(epoch, "clean")
            attest(layout, path, epoch=epoch, fitness=value, kind=kind, verdict=verdict)
    return layout


@pytest.mark.parametrize(
    ("fitness", "verdicts", "keep", "left"),
    [
        ({1: 0.1, 2: 0.2, 3: 0.3}, {}, 5, [1, 2, 3]),
        ({1: 0.1, 2: 0.2, 3: 0.3, 4: 0.4}, {}, 2, [1, 3, 4]),
        ({1: 0.1, 2: 0.9, 3: 0.3, 4: 0.4}, {}, 2, [1, 2, 3, 4]),
        ({1: 0.9, 2: 0.2, 3: 0.3}, {1: "contaminated"}, 1, [2, 3]),
        ({1: 0.1, 2: 0.2, 3: 0.3, 4: 0.4}, {2: "contaminated", 3: "contaminated", 4: "contaminated"}, 2, [1, 3, 4]),
        ({1: 0.1, 2: 0.1, 3: 0.1}, {3: "unknown"}, 1, [1, 2, 3]),
        ({1: float("nan"), 2: 0.2, 3: 0.1}, {}, 1, [1, 2, 3]),
        ({1: 0.1, 2: 0.2}, {}, 0, [2]),
        ({}, {}, 3, []),
    ],
    ids=[
        *("fewer than kept", "newest stay", "best stays", "contaminated best goes", "only clean one stays"),
        *("newest clean stays beside an unknown", "nan is no best", "zero keeps the best", "nothing there"),
    ],
)
def test_what_stays(tmp_path: Path, fitness: dict, verdicts: dict, keep: int, left: list[int]) -> None:
    layout = run_of(tmp_path, fitness, verdicts)
    removed = retain(layout, keep=keep)
    assert epochs_on_disk(layout) == left
    assert {path.name for path in removed} == {
        name
        for epoch in fitness
        if epoch not in left
        for name in (f"epoch{epoch:04d}.pt", f"epoch{epoch:04d}.ultralytics.pt")
    }


def test_a_spread_of_older_states_stays_while_a_run_goes_on(tmp_path: Path) -> None:
    layout = run_of(tmp_path, {})
    for epoch in range(1, 101):
        run_of_one(layout, epoch)
        retain(layout, keep=3)
        left = epochs_on_disk(layout)
        ages = [epoch - one for one in left]
        assert set(range(min(3, epoch))) <= set(ages)
        for power in range((epoch - 1).bit_length()):
            assert any(2**power <= age < 2 ** (power + 1) for age in ages), (epoch, left)
        assert len(left) <= 3 + epoch.bit_length() + 1


@pytest.mark.parametrize("how", ["an incident on record", "a contaminated file"])
def test_the_newest_clean_state_before_the_first_incident_stays(tmp_path: Path, how: str) -> None:
    layout = run_of(tmp_path, {})
    for epoch in range(1, 41):
        bad = how == "a contaminated file" and epoch == 13
        run_of_one(layout, epoch, verdict="contaminated" if bad else "clean")
        if epoch == 13 and not bad:
            (layout.incidents / "0001").mkdir(parents=True)
            (layout.incidents / "0001" / "incident.json").write_text('{"epoch": 13}')
        retain(layout, keep=3)
    assert 12 in epochs_on_disk(layout)


def test_copy_that_is_contaminated_makes_its_epoch_unclean(tmp_path: Path) -> None:
    layout = run_of(tmp_path, {1: 0.1, 2: 0.2, 3: 0.3})
    attest(layout, ultralytics_copy(layout, 3), epoch=3, verdict="contaminated", reasons=["scrubbed"])
    retain(layout, keep=0)
    assert epochs_on_disk(layout) == [2]


def test_other_files_stay_and_half_written_ones_go(tmp_path: Path) -> None:
    layout = run_of(tmp_path, {1: 0.1, 2: 0.2})
    (layout.states / "stop.pt").write_bytes(b"stop")
    (layout.states / ".epoch0002.pt.x1y2.partial").write_bytes(b"half")
    retain(layout, keep=1)
    assert sorted(path.name for path in layout.states.iterdir()) == [
        *("epoch0001.pt", "epoch0001.ultralytics.pt", "epoch0002.pt", "epoch0002.ultralytics.pt", "stop.pt")
    ]


def test_missing_folder_is_nothing_to_do(tmp_path: Path) -> None:
    assert retain(RunLayout(tmp_path / "none"), keep=1) == []


def test_kept_copy_outlives_the_strip_of_last(tmp_path: Path) -> None:
    layout = make_run(tmp_path, epochs=1)
    last = layout.weights / "last.pt"
    copy = keep_copy(layout, 5, expected=digest_of(last))
    before = digest_of(copy)
    with last.open("wb") as stream:
        stream.write(b"stripped in place")
    assert copy == ultralytics_copy(layout, 5)
    assert digest_of(copy) == before


def test_copy_of_another_file_than_attested_is_not_kept(tmp_path: Path) -> None:
    layout = make_run(tmp_path, epochs=1)
    with pytest.raises(DigestError):
        keep_copy(layout, 5, expected=SavedFile(sha256="0" * 64, bytes=1))
    assert not ultralytics_copy(layout, 5).exists()


def test_epochs_are_known_by_their_states(tmp_path: Path) -> None:
    layout = make_run(tmp_path, epochs=2)
    write_state(layout, 2, fitness=0.1, name="stop.pt")
    assert epochs_on_disk(layout) == [1, 2]
