"""Whether a job that was over at once had begun: what its log says since it was submitted."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainmaster.bot.operations.start.last_words import is_mute


@pytest.mark.parametrize(
    ("said", "mute"),
    [
        pytest.param("", True, id="nothing"),
        pytest.param("\n \n", True, id="empty lines"),
        pytest.param("NOTICE\nslurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-11-29 ***\n", True, id="Slurm"),
        pytest.param("/usr/bin/python: No module named trainmaster\n", False, id="Python"),
    ],
)
def test_start_that_nothing_is_written_of_had_not_begun(tmp_path: Path, said: str, mute: bool) -> None:
    log = tmp_path / "train.log"
    before = "epoch 3 of 9\nValueError: of the attempt before\n"
    log.write_text(before + said)
    assert is_mute(log, since=len(before)) is mute


def test_log_that_is_not_there_says_nothing_and_one_that_cannot_be_read_may_say_anything(tmp_path: Path) -> None:
    assert is_mute(tmp_path / "none.log", since=0)
    assert not is_mute(tmp_path, since=0)
