from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from trainmaster.trainer.run import rank_facts
from trainmaster.trainer.run.rank_facts import guilty_ranks, joined, told_by_all


def known(is_own: bool, cause: str = "transient", replay: str | None = None) -> dict[str, Any]:
    return {"is_own": is_own, "cause": cause, "replay": replay, "next": 1}


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
        ([known(True, replay="not_reproducible"), known(True, replay="deterministic")], [1]),
        ([known(True, replay="deterministic"), known(True, "data"), known(True)], [0, 1]),
        ([known(True, replay="not_reproducible"), known(True)], [1]),
        ([known(True, replay="not_reproducible")] * 2, [0]),
        ([known(True, replay="not_reproducible"), known(False, replay="deterministic")], [0]),
    ],
    ids=[
        "one",
        "not by cause",
        "several",
        "summed gradients",
        "all",
        "all, none knows",
        "none",
        "a gradient that is bad again",
        "some",
        "the others' parts are good",
        "no part is bad again",
        "not by replay",
    ],
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


def test_the_first_rank_learns_that_another_could_not_keep_its_incident(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a disk that is full for that one alone nobody else would tell: it writes no events."""
    full = OSError(28, "No space left on device")
    own = {"losses": {}, "images": [], "cause": "transient", "grad_norm": None, "bad_weights": 0}
    kept = {**own, "images": ["a"], "cause": "data", "incident": "0001", "replay": None, "unkept": None}
    answers = iter([[known(True, "data")] * 2, [kept, {**kept, "incident": None, "unkept": full}]])
    monkeypatch.setattr(rank_facts, "of_all", lambda mine: [mine, *next(answers)])
    monkeypatch.setattr(rank_facts.distributed, "get_rank", lambda: 0)
    incidents: Any = SimpleNamespace(next_number=1)
    facts = told_by_all(own, lambda _: pytest.fail("not this rank's"), incidents, is_own=False, replay=None)
    assert (facts["unkept"], facts["ranks"], facts["incident"]) == (full, [1, 2], "0001")


@pytest.mark.parametrize(
    ("replays", "ranks", "images"),
    [
        ([None, None, None], [0, 1, 2], ["0", "1", "2"]),
        (["not_reproducible"] * 3, [0, 1, 2], ["0", "1", "2"]),
        (["not_reproducible", None, "not_reproducible"], [1], ["1"]),
        (["not_reproducible", None, "deterministic"], [2], ["2"]),
    ],
    ids=["none ran again", "no part is bad again", "one was not seen", "one is bad again"],
)
def test_where_no_rank_knows_all_that_may_have_had_it_are_told(
    monkeypatch: pytest.MonkeyPatch, replays: list[str | None], ranks: list[int], images: list[str]
) -> None:
    """Of a gradient, which is summed over ranks; the first alone was told, with its images."""
    own = {"losses": {}, "images": ["0"], "cause": "transient", "grad_norm": None, "bad_weights": 0}
    facts = [{**own, "images": [str(rank)], "incident": None, "replay": replays[rank]} for rank in range(3)]
    answers = iter([[known(True, replay=one) for one in replays], [{**one, "unkept": None} for one in facts]])
    monkeypatch.setattr(rank_facts, "of_all", lambda _: next(answers))
    monkeypatch.setattr(rank_facts.distributed, "get_rank", lambda: 0)
    incidents: Any = SimpleNamespace(next_number=1)
    kept = {"incident": None, "replay": None, "unkept": None}
    told = told_by_all(own, lambda _: kept, incidents, is_own=True, replay=None)
    assert (told["ranks"], told["images"]) == (ranks, images)
