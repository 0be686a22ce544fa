from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from trainmaster.trainer.records import stacks


def test_stacks_go_where_they_were_asked_for_last_and_then_where_they_went_before(tmp_path: Path) -> None:
    outer, inner = tmp_path / "outer.txt", tmp_path / "guard" / "inner.txt"
    with stacks.shown(outer):
        with stacks.shown(inner):
            here_in_the_inner()
        here_in_the_outer()

    assert "here_in_the_inner" in inner.read_text(encoding="utf-8")
    assert "here_in_the_outer" in (text := outer.read_text(encoding="utf-8"))
    assert "here_in_the_inner" not in text


def here_in_the_inner() -> None:
    os.kill(os.getpid(), signal.SIGUSR1)


def here_in_the_outer() -> None:
    os.kill(os.getpid(), signal.SIGUSR1)


@pytest.mark.parametrize("where", [None, "stacks.txt/of_a_file"], ids=["no file yet", "a file that can't be opened"])
def test_without_a_file_stacks_go_to_standard_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], where: str | None
) -> None:
    (tmp_path / "stacks.txt").touch()
    with stacks.shown(tmp_path / where if where else None):
        here_in_the_outer()

    assert "here_in_the_outer" in capfd.readouterr().err


def test_afterwards_the_signal_is_nobody_s(tmp_path: Path) -> None:
    with stacks.shown(tmp_path / "stacks.txt"):
        pass

    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
