from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from trainmaster.trainer.contract import RunLayout
from trainmaster.trainer.run.ranks import launch


@pytest.mark.parametrize("in_thread", [False, True], ids=["main thread", "another thread"])
def test_ranks_are_launched_and_signals_are_the_old_ones_afterwards(tmp_path: Path, in_thread: bool) -> None:
    before = signal.getsignal(signal.SIGTERM)
    handlers: list[object] = []

    def start() -> None:
        handlers.append(signal.getsignal(signal.SIGTERM))

    def launched() -> None:
        launch(RunLayout(tmp_path), {}, start)

    if in_thread:
        thread = threading.Thread(target=launched)
        thread.start()
        thread.join()
    else:
        launched()
    assert [handler == before for handler in handlers] == [in_thread]
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("before", [None, "", "1"])
def test_no_file_of_the_current_folder_hides_a_module_of_the_launcher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    if before is None:
        monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    else:
        monkeypatch.setenv("PYTHONSAFEPATH", before)
    (tmp_path / "json.py").write_text("raise SystemExit(9)\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    command = [sys.executable, "-m", "json.tool", "--help"]  # -m, as Ultralytics starts torch.distributed.run

    def start() -> int:
        return subprocess.run(command, check=False, capture_output=True).returncode

    assert launch(RunLayout(tmp_path), {}, start) == 0
    assert os.environ.get("PYTHONSAFEPATH") == before


def test_an_interrupt_of_the_terminal_reaches_the_launcher_through_this_process_alone(tmp_path: Path) -> None:
    """Its group is another one; with two interrupts for one, the ranks would leave without saving."""
    before, groups = subprocess.run, []

    def start() -> None:
        command = [sys.executable, "-I", "-S", "-c", "import os; print(os.getpgid(0))"]
        groups.append(int(subprocess.run(command, check=True, capture_output=True).stdout))

    launch(RunLayout(tmp_path), {}, start)
    assert groups[0] != os.getpgid(0)
    assert subprocess.run is before
