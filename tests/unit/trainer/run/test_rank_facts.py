from __future__ import annotations

from typing import Any

import pytest

from trainmaster.trainer.run.rank_facts import guilty_ranks, joined


def known(is_own: bool, cause: str = "transient") -> dict[str, Any]:
    return {"is_own": is_own, "cause": cause, "next": 1}


@pytest.mark.parametrize(
    ("shared", "guilty"),
    [
        ([known(False), known(True)], [1]),
        ([known(False, "data"), known(True)], [1]),
        ([known(True), known(False), known(True)], [0, 2]),
        ([known(True), known(True, "data")], [1]),
        ([known(True, "data"), known(True, "data")], [0, 1]),
        ([known(True), known(True)], [0]),
        ([known(False), known(False)], [0]),
    ],
    ids=["one", "not by cause", "several", "summed gradients", "all", "all, none knows", "none"],
)
def test_the_rank_that_had_the_bad_part_is_found(shared: list[dict[str, Any]], guilty: list[int]) -> None:
    assert guilty_ranks(shared) == guilty


def test_facts_of_several_ranks_are_told_as_one_batch() -> None:
    facts = {
        1: {"losses": {"box": 1.0}, "images": ["a", "b"], "cause": "data", "incident": "0004", "replay": "overflow"},
        3: {"losses": {"box": 2.0}, "images": ["b", "c"], "cause": "transient", "incident": None, "replay": None},
    }
    assert joined(facts) == {
        "losses": {"box": 1.0},
        "images": ["a", "b", "c"],
        "cause": "data",
        "incident": "0004",
        "replay": "overflow",
        "ranks": [1, 3],
    }


@pytest.mark.parametrize(
    ("replays", "told"),
    [
        (["deterministic", "not_reproducible"], "not_reproducible"),
        ([None, "deterministic"], "deterministic"),
        ([None, None], None),
    ],
    ids=["a suspected card wins", "one knows", "none knows"],
)
def test_a_card_that_one_rank_suspects_is_told(replays: list[str | None], told: str | None) -> None:
    facts = {
        rank: {"losses": {}, "images": [], "cause": "transient", "incident": None, "replay": replay}
        for rank, replay in enumerate(replays)
    }
    assert joined(facts)["replay"] == told
