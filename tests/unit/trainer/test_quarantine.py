from __future__ import annotations

from pathlib import Path

import pytest

from trainer.arguments import ArgumentsError
from trainer.contract import RunLayout
from trainer.quarantine import listed, note_offence, training_list


def test_an_image_is_an_offender_from_its_second_bad_batch(tmp_path: Path) -> None:
    layout = RunLayout(tmp_path)
    layout.guard.mkdir()
    assert note_offence(layout, ["a.png", "b.png"], "0001") == []
    assert note_offence(layout, ["b.png", "c.png"], "0002") == ["b.png"]
    assert listed(layout.guard / "offenders.json") == {"b.png"}


def test_quarantine_leaves_out_what_it_names(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.txt"):
        (tmp_path / name).write_text("")
    path, num_left_out = training_list(str(tmp_path), frozenset({"a.png"}), tmp_path / "list.txt")
    assert num_left_out == 1
    assert Path(path).read_text() == f"{tmp_path / 'b.png'}\n"
    with pytest.raises(ArgumentsError, match="leaves none"):
        training_list(str(tmp_path), frozenset({"a.png", "b.png"}), tmp_path / "list.txt")


def test_a_quarantine_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(ArgumentsError, match="quarantine="):
        listed(tmp_path / "missing.txt")
    (tmp_path / "offenders.json").write_text("[]")
    with pytest.raises(ArgumentsError, match="no list"):
        listed(tmp_path / "offenders.json")
