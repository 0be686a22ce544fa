"""A resume is of the data that the run was trained on."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.trainer.runs import events
from trainmaster import GuardedDetectionTrainer
from trainmaster.trainer.__main__ import main
from trainmaster.trainer.contract import ExitCode, RunLayout
from trainmaster.trainer.data.inventory import DataVerdict, compare

pytestmark = pytest.mark.training


class Stopped(GuardedDetectionTrainer):
    """Asks itself to stop in the second epoch's third batch; runs are of a class that no resume can import."""

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        if self.guard.position.ni == 8:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().preprocess_batch(batch)


@pytest.fixture
def data(digits: Path, tmp_path: Path) -> Path:
    """A copy of the data set that a test may change."""
    root = tmp_path / "data"
    shutil.copytree(digits.parent, root)
    return root / digits.name


def stopped(settings: Callable[..., dict[str, Any]], data: Path, **changes: Any) -> Path:
    trainer = type("Run", (Stopped,), {})(overrides=settings(data=str(data), **changes))
    with pytest.raises(SystemExit) as end:
        trainer.train()
    assert end.value.code == ExitCode.STOPPED
    return Path(trainer.save_dir)


def rename_one(data: Path) -> None:
    image = sorted((data.parent / "images" / "train").iterdir())[3]
    label = data.parent / "labels" / "train" / f"{image.stem}.txt"
    image.rename(image.with_stem("zz"))
    label.rename(label.with_stem("zz"))


def relabel_one(data: Path, split: str = "train") -> None:
    label = next(path for path in sorted((data.parent / "labels" / split).iterdir()) if path.read_text().strip())
    first, *rest = label.read_text().splitlines()
    label.write_text("\n".join([f"{(int(first[0]) + 1) % 10}{first[1:]}x"[:-1], *rest]) + "\n")
    for cache in data.parent.rglob("*.cache"):
        cache.unlink()  # Ultralytics looks at sizes only, and would not see it


def notices(run: Path) -> str:
    return "\n".join(row["text"] for row in events(RunLayout(run), "notice"))


@pytest.mark.parametrize(
    ("change", "word"), [(rename_one, "other names"), (relabel_one, "the labels are other ones")], ids=["name", "label"]
)
def test_a_cut_epoch_over_other_data_starts_over_and_says_so(
    settings: Callable[..., dict[str, Any]], data: Path, change: Callable[[Path], None], word: str
) -> None:
    run = stopped(settings, data)
    assert compare(RunLayout(run)).verdict is DataVerdict.SAME
    change(data)
    assert compare(RunLayout(run)).verdict is DataVerdict.CHANGED, "told before anything is started"
    assert main(["resume", str(run)]) == ExitCode.FINISHED
    assert compare(RunLayout(run)).verdict is DataVerdict.SAME, "the attempt that went on with it knows it"
    assert word in notices(run)
    assert "starts over" in notices(run)


def test_the_same_data_goes_on_in_the_middle_and_says_nothing(
    settings: Callable[..., dict[str, Any]], data: Path
) -> None:
    run = stopped(settings, data)
    moved = data.parent.rename(data.parent.with_name("elsewhere"))
    text = (moved / data.name).read_text().replace(str(data.parent), str(moved))
    (moved / data.name).write_text(text)
    assert main(["resume", str(run), f"data={moved / data.name}"]) == ExitCode.FINISHED
    assert "starts over" not in notices(run)
    assert "other data" not in notices(run)


def test_an_exact_run_refuses_other_data(
    settings: Callable[..., dict[str, Any]], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = stopped(settings, data, exact=True)
    rename_one(data)
    assert main(["resume", str(run)]) == ExitCode.BAD_ARGUMENTS
    assert "exact=true can't go on with other data" in capsys.readouterr().err


@pytest.mark.parametrize("exact", [True, False])
def test_other_validation_labels_are_told_and_refused_where_exact(
    settings: Callable[..., dict[str, Any]], data: Path, capsys: pytest.CaptureFixture[str], exact: bool
) -> None:
    run = stopped(settings, data, exact=exact)
    relabel_one(data, "val")
    code = main(["resume", str(run)])
    if exact:
        assert code == ExitCode.BAD_ARGUMENTS
        assert "in the validation set, the labels are other ones" in capsys.readouterr().err
    else:
        assert code == ExitCode.FINISHED
        assert "fitness and patience are of other images from here on" in notices(run)
        assert "starts over" not in notices(run)


def test_other_class_names_are_refused_before_anything_is_moved(
    settings: Callable[..., dict[str, Any]], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = stopped(settings, data)
    text = data.read_text()
    lines = text.splitlines()
    (number,) = [index for index, line in enumerate(lines) if line.startswith("names")]
    lines[number:] = ["names: [one, two, three, four, five, six, seven, eight, nine, ten]"]
    data.write_text("\n".join(lines) + "\n")
    before = (run / "results.csv").read_text()
    assert main(["resume", str(run)]) == ExitCode.BAD_ARGUMENTS
    said = capsys.readouterr().err
    assert "has other classes than the run" in said
    assert "is 'one'" in said
    assert (run / "results.csv").read_text() == before
