from __future__ import annotations

import io
import json
import logging
from pathlib import Path

import pytest
from ultralytics.utils import LOGGER

from trainmaster.trainer.contract import RunLayout
from trainmaster.trainer.data.data_faults import DataFaults, LeftOut, collecting
from trainmaster.trainer.records.recorder import Recorder


@pytest.mark.parametrize("level", [logging.INFO, logging.ERROR], ids=["as it is", "silenced"])
def test_what_is_left_out_is_collected_and_the_console_stays_as_it_was(level: int) -> None:
    console = io.StringIO()
    handler, before = logging.StreamHandler(console), LOGGER.level
    LOGGER.addHandler(handler)
    LOGGER.setLevel(level)
    try:
        with collecting() as found:
            LOGGER.info("\x1b[34mtrain: \x1b[0m/data/a: b.png: ignoring corrupt image/label: cannot identify\nscanned")
            LOGGER.info("train: 24 images, 0 corrupt")
        assert (LOGGER.level, handler.level) == (level, logging.NOTSET)
    finally:
        LOGGER.setLevel(before)
        LOGGER.removeHandler(handler)

    assert found == [LeftOut(file="/data/a: b.png", why="corrupt image/label: cannot identify")]
    assert bool(console.getvalue()) is (level == logging.INFO)


def test_each_file_is_told_once(tmp_path: Path) -> None:
    layout = RunLayout(tmp_path)
    layout.guard.mkdir()
    faults = DataFaults(layout, Recorder(layout, warn=lambda _: None))
    faults.scanned("train", [LeftOut(file="a.png", why="cut")])
    faults.scanned("train", [LeftOut(file="a.png", why="cut")])
    faults.batch({"unreadable_files": ["", "a.png\tgone", "b.png\tgone\nc.png\tgone"]})
    faults.batch({"unreadable_files": ["c.png\tgone"]})
    faults.batch({})

    rows = [json.loads(line) for line in layout.events.read_text(encoding="utf-8").splitlines()]
    assert [(row["where"], row["files"]) for row in rows] == [("train", ["a.png"]), ("batch", ["b.png", "c.png"])]


def test_what_another_rank_could_not_read_is_told_once(tmp_path: Path) -> None:
    layout = RunLayout(tmp_path)
    layout.guard.mkdir()
    first = DataFaults(layout, Recorder(layout, warn=lambda _: None))
    other = DataFaults(layout, Recorder(layout, warn=lambda _: None, silent=True))
    first.batch({"unreadable_files": ["a.png\tgone"]})
    for _ in range(2):
        other.batch({"unreadable_files": ["a.png\tgone\nb.png\tgone"]})
        other.batch({"unreadable_files": ["c.png\tgone"]}, validating=True)
        first.tell([*first.taken(), *other.taken()])

    rows = [json.loads(line) for line in layout.events.read_text(encoding="utf-8").splitlines()]
    told = [(row["where"], row["files"]) for row in rows]
    assert told == [("batch", ["a.png"]), ("batch", ["b.png"]), ("val_batch", ["c.png"])]
