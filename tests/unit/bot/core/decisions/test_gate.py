"""What stands against a start, by what was seen."""

from __future__ import annotations

from typing import Any

import pytest

from trainmaster.bot.core.decisions.gate import GateCheck, GateOutcome, GateSight, closed, judge_gate
from trainmaster.bot.core.health.host import GpuFact, XidFact

GIB = 2**30
CARD = GpuFact(key="GPU 0", name="H200")


def sight(**changes: Any) -> GateSight:
    """A run on a GPU, against whose start nothing stands."""
    whole: dict[str, Any] = {
        "free_bytes": 100 * GIB,
        "needed_bytes": 3 * GIB,
        "data": "digits.yaml",
        "memory_gib": 60.0,
        "memory_needed_gib": 8.0,
        "needs_gpu": True,
        "gpus": (CARD,),
        "users": {"GPU 0": frozenset()},
    }
    return GateSight(**{**whole, **changes})


def test_every_check_that_applies_passes_when_nothing_stands_against_it() -> None:
    facts = judge_gate(sight())
    assert [fact.check for fact in facts] == list(GateCheck)
    assert closed(facts) == ()


def gpu(**changes: Any) -> dict[str, Any]:
    return {"gpus": (GpuFact(key="GPU 0", name="H200", **changes),)}


@pytest.mark.parametrize(
    ("changes", "check", "words"),
    [
        pytest.param({"directory_fault": "/r can't be used: Stale file handle"}, "run directory", "Stale", id="mount"),
        pytest.param({"free_bytes": GIB}, "disk", "1.0 GiB free, the next states want 3.0 GiB", id="disk"),
        pytest.param({"data_fault": "the data set's /d is not there any more"}, "data set", "/d", id="data"),
        pytest.param({"memory_gib": 2.0}, "memory", "2.0 GiB of memory free, the run used 8.0 GiB", id="memory"),
        pytest.param({"gpus": ()}, "GPU", "no GPU is visible", id="no GPU"),
        pytest.param(gpu(lost="lost from its bus"), "GPU", "GPU 0 is lost from its bus", id="lost"),
        pytest.param(gpu(asks_for="a reset"), "GPU", "GPU 0 asks for a reset", id="recovery action"),
        pytest.param(gpu(xids=(XidFact(ts=1.0, code=79),)), "GPU", "Xid 79", id="Xid of the card"),
        pytest.param(gpu(num_new_uncorrected=2), "GPU", "2 memory errors", id="ECC"),
        pytest.param(
            {"users": {"GPU 0": frozenset({7, 9})}}, "GPU's users", "held by somebody else (process 7, 9; ", id="used"
        ),
        pytest.param(
            {"users": {"GPU 0": frozenset({7})}, "own": frozenset({7})},
            "GPU's users",
            "held by what the run itself left over (process 7; to end it: kill 7)",
            id="its own left-over",
        ),
    ],
)
def test_what_stands_against_a_start_is_named_with_fact_value_and_limit(
    changes: dict[str, Any], check: str, words: str
) -> None:
    (fact,) = closed(judge_gate(sight(**changes)))
    assert (fact.check, fact.outcome) == (check, GateOutcome.FAIL)
    assert words in fact.text


@pytest.mark.parametrize("check", list(GateCheck))
def test_what_gives_no_answer_is_unknown_and_no_pass(check: GateCheck) -> None:
    (fact,) = closed(judge_gate(sight(silent={check: "no answer within 5 s"})))
    assert (fact.check, fact.outcome) == (check, GateOutcome.UNKNOWN)
    assert "no answer within 5 s" in fact.text


@pytest.mark.parametrize(
    "quiet",
    [
        pytest.param(gpu(xids=(XidFact(ts=1.0, code=31),)), id="an Xid of a program"),
        pytest.param({"needs_gpu": False, "gpus": ()}, id="a run on the CPU"),
        pytest.param({"users": {"GPU 1": frozenset({7})}}, id="another card is in use"),
        pytest.param({"memory_gib": None}, id="memory of another host"),
        pytest.param({"data": None}, id="a data set that nobody named"),
    ],
)
def test_what_concerns_others_stands_against_nothing(quiet: dict[str, Any]) -> None:
    assert closed(judge_gate(sight(**quiet))) == ()
