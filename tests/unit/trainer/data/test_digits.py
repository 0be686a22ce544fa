from __future__ import annotations

import threading
from pathlib import Path

import pytest

from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.data.digits import main as make_digits
from trainmaster.trainer.data.digits import make


def test_every_digit_is_used_once_within_its_canvas(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    data = make(tmp_path / "digits", images=20, imgsz=96, digits=90, progress=False)
    labels = [line.split() for path in data.parent.glob("labels/*/*.txt") for line in path.read_text().splitlines()]
    assert len(labels) == 90
    for _, x, y, w, h in labels:
        assert -1e-5 <= float(x) - float(w) / 2 <= float(x) + float(w) / 2 <= 1 + 1e-5
        assert -1e-5 <= float(y) - float(h) / 2 <= float(y) + float(h) / 2 <= 1 + 1e-5
    assert len(list((data.parent / "images" / "val").iterdir())) == 4
    assert len(list((data.parent / "images" / "train").iterdir())) == 16


def test_it_is_made_once_and_the_same_for_the_same_seed(tmp_path: Path) -> None:
    first = make(tmp_path / "a", images=4, digits=8, progress=False)
    second = make(tmp_path / "b", images=4, digits=8, progress=False)
    image = Path("images") / "train" / "0003.png"
    assert (first.parent / image).read_bytes() == (second.parent / image).read_bytes()
    stamp = first.stat().st_mtime_ns
    assert make(tmp_path / "a", images=4, digits=8, progress=False).stat().st_mtime_ns == stamp
    with pytest.raises(ArgumentsError, match="made with"):
        make(tmp_path / "a", images=5, digits=8, progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_two_makers_at_once_leave_one_whole_set(tmp_path: Path) -> None:
    makers = [
        threading.Thread(target=make, args=(tmp_path / "set",), kwargs={"images": 4, "digits": 8, "progress": False})
        for _ in range(3)
    ]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    assert len(list((tmp_path / "set").rglob("*.png"))) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize("words", [[], ["out", "images=x"], ["out", "image=3"], ["out", "images=1"]], ids=str)
def test_digits_refuses_what_it_cannot_make(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert make_digits(words) == 2
    assert capsys.readouterr().err
