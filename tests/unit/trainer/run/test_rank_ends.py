"""Of several ranks the first keeps the records, and tells what ended another."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trainmaster.trainer.contract import RunLayout
from trainmaster.trainer.run import ending, rank_ends
from trainmaster.trainer.run.rank_ends import RankEnd
from trainmaster.trainer.stop import GaveUp, RunEnded, StopRequested

CLOSED = RuntimeError("[gloo/transport/tcp/pair.cc:561] Connection closed by peer [127.0.0.1]:55686")


def end(**changes: Any) -> RankEnd:
    given: dict[str, Any] = {"attempt": 2, "ts": 5.0, "rank": 1, "code": None, "why": "ValueError: x", "traceback": "t"}
    return RankEnd(**{**given, **changes})


def found(layout: RunLayout, error: BaseException, *ends: RankEnd) -> Any:
    layout.guard.mkdir(parents=True, exist_ok=True)
    for one in ends:
        rank_ends.keep(layout, one)
    run: Any = SimpleNamespace(layout=layout, recorder=SimpleNamespace(attempt=2))
    return ending._what_ended(run, error)


def test_a_closed_connection_is_told_as_what_closed_it(tmp_path: Path) -> None:
    assert found(RunLayout(tmp_path), CLOSED, end()) == ("rank 1: ValueError: x", "t")


@pytest.mark.parametrize("error", [CLOSED, StopRequested("SIGTERM")], ids=["connection", "signal of the launcher"])
def test_an_orderly_end_of_another_rank_is_that_of_the_run(tmp_path: Path, error: BaseException) -> None:
    told = found(RunLayout(tmp_path), error, end(code=4, why="lr is nan"))
    assert isinstance(told, GaveUp)
    assert told.why == "in rank 1, lr is nan"


@pytest.mark.parametrize(
    ("error", "ends"),
    [
        (CLOSED, []),
        (CLOSED, [end(attempt=1)]),
        (CLOSED, [end(follows=True)]),
        (ValueError("own"), [end()]),
        (GaveUp("own"), [end()]),
        (StopRequested("SIGTERM"), [end(code=3, why="another rank was asked to stop")]),
    ],
    ids=["nobody says", "another attempt", "it only followed", "own error", "own end", "all were stopped"],
)
def test_what_came_up_here_is_told_as_it_is(tmp_path: Path, error: BaseException, ends: list[RankEnd]) -> None:
    assert found(RunLayout(tmp_path), error, *ends) is error


def test_the_first_of_several_ends_counts_and_none_of_an_earlier_launch(tmp_path: Path) -> None:
    layout = RunLayout(tmp_path)
    assert found(layout, CLOSED, end(rank=2, ts=4.0, why="first"), end())[0] == "rank 2: first"
    rank_ends.clear(layout)
    assert rank_ends.first_end(layout, 2) is None
    (layout.guard / ".rank1.json").write_text('{"code": []}', encoding="utf-8")
    assert rank_ends.first_end(layout, 2) is None


def test_every_end_in_order_has_its_own_exit_code() -> None:
    kinds = [end(code=code).in_order for code in (3, 4, 5)]
    assert [one.code for one in kinds if isinstance(one, RunEnded)] == [3, 4, 5]
    assert end(code=0).in_order is None
