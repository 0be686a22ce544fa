from __future__ import annotations

from pathlib import Path

import pytest

from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.contract import RunLayout
from trainmaster.trainer.data.quarantine import listed, note_offence, training_list


def test_an_image_is_an_offender_from_its_second_bad_batch(tmp_path: Path) -> None:
    layout = RunLayout(tmp_path)
    layout.guard.mkdir()
    assert note_offence(layout, ["a.png", "b.png"], "0001") == []
    assert note_offence(layout, ["b.png", "c.png"], "0002") == ["b.png"]
    assert listed(layout.guard / "offenders.json") == {"b.png"}


@pytest.mark.parametrize("edited", ['{"offenders": ["a.png"]}', '{"seen": ["a.png"]}', '{"seen": {"a.png": 2}}', "{"])
def test_an_edited_list_of_offenders_is_begun_anew(tmp_path: Path, edited: str) -> None:
    layout = RunLayout(tmp_path)
    layout.guard.mkdir()
    (layout.guard / "offenders.json").write_text(edited, encoding="utf-8")
    assert note_offence(layout, ["a.png"], "0001") == []
    assert note_offence(layout, ["a.png"], "0002") == ["a.png"]


def test_quarantine_leaves_out_what_it_names(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "im[a]ges", tmp_path / "elsewhere"
    for path in (folder / "a.png", folder / "b.png", folder / "c.txt", elsewhere / "d.jpg"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    (folder / "linked").symlink_to(elsewhere)
    path, num_left_out = training_list(str(folder), frozenset({"a.png"}), tmp_path / "list.txt")
    assert num_left_out == 1
    whole = f"{folder / 'b.png'}\n{folder / 'linked' / 'd.jpg'}\n"
    with Path(path).open() as read:  # by one rank, while another makes the list
        training_list(str(folder), frozenset({"a.png", "b.png"}), tmp_path / "list.txt")
        assert read.read() == whole
    training_list(str(folder), frozenset({"a.png"}), tmp_path / "list.txt")
    assert Path(path).read_text() == whole
    with pytest.raises(ArgumentsError, match="leaves none"):
        training_list(str(folder), frozenset({"a.png", "b.png", "d.jpg"}), tmp_path / "list.txt")


def test_a_quarantine_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(ArgumentsError, match="quarantine="):
        listed(tmp_path / "missing.txt")
    (tmp_path / "offenders.json").write_text("[]")
    with pytest.raises(ArgumentsError, match="no list"):
        listed(tmp_path / "offenders.json")
