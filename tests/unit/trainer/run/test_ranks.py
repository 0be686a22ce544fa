from __future__ import annotations

import signal
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
