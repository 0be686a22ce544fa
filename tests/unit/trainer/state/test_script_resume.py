"""What ``resume=`` of a script asks for, told from the run directory."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.contract import RunLayout
from trainmaster.trainer.records.run_directory import RunLock
from trainmaster.trainer.state import script_resume
from trainmaster.trainer.state.resume_plan import PLAN_KEY, ResumePlan
from trainmaster.trainer.state.script_resume import plan_for_api

ARGS = {"project": "runs", "name": "night", "data": "digits.yaml"}


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[RunLayout, dict[str, Any]]:
    """A run with files of all kinds in it, and what was asked of it once a plan was made."""
    layout, made = RunLayout(tmp_path / "night"), {}
    layout.states.mkdir(parents=True)
    layout.weights.mkdir()
    for name in ("last.pt", "best.pt", "epoch0.pt", "epoch4.pt", "mine.pt", "epoch.pt"):
        (layout.weights / name).touch()
    epochs = {"best.pt": 3, "epoch0.pt": 1, "epoch4.pt": None}
    monkeypatch.setattr(script_resume, "judge", lambda path, **_: SimpleNamespace(epoch=epochs[path.name]))

    def make_plan(_: RunLayout, lock: RunLock, **asked_for: Any) -> tuple[ResumePlan, dict[str, Any]]:
        made.update(asked_for)
        lock.release()
        plan: Any = ResumePlan(
            **dict.fromkeys(("path", "sha256", "settings", "rows", "user", "lock"), SimpleNamespace()),
            state={"args": ARGS},
            epoch=0,
            warmup_from=0,
        )
        return plan, {PLAN_KEY: plan}

    monkeypatch.setattr(script_resume, "make_plan", make_plan)
    return layout, made


def test_one_of_several_ranks_takes_no_lock(
    asked: tuple[RunLayout, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ArgumentsError, match="one process"):
        plan_for_api({"resume": str(asked[0].root)})
    assert not asked[0].lock.exists()


@pytest.mark.parametrize(
    ("place", "epoch"),
    [("weights/last.pt", None), (".", None), ("weights/best.pt", 3), ("weights/epoch0.pt", 1)],
    ids=["newest", "the run", "best", "of an epoch"],
)
def test_a_run_goes_on_from_the_file_that_is_named(
    asked: tuple[RunLayout, dict[str, Any]], place: str, epoch: int | None
) -> None:
    layout, made = asked
    plan_for_api({"resume": True, "model": str(layout.root / place)})
    assert made["from_epoch"] == epoch


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("weights/mine.pt", "no checkpoint of a run"),
        ("weights/epoch.pt", "no checkpoint of a run"),
        ("weights/epoch7.pt", "no checkpoint of a run"),
        ("guard/best.pt", "no checkpoint of a run"),
        ("weights/epoch4.pt", "is stripped"),
    ],
    ids=["a stranger's", "no number", "not there", "not among the weights", "stripped"],
)
def test_a_file_that_no_run_can_go_on_from_is_refused(
    asked: tuple[RunLayout, dict[str, Any]], place: str, why: str
) -> None:
    layout, made = asked
    with pytest.raises(ArgumentsError, match=why):
        plan_for_api({"resume": str(layout.root / place)})
    assert not made


@pytest.mark.parametrize(("data", "taken"), [("moved.yaml", {"data": "moved.yaml"}), ("coco8.yaml", {}), (None, {})])
def test_a_data_set_that_has_moved_is_taken_and_the_one_that_nobody_named_is_not(
    asked: tuple[RunLayout, dict[str, Any]], data: str | None, taken: dict[str, str]
) -> None:
    layout, made = asked
    plan_for_api({"resume": str(layout.root), "data": data})
    assert made["given"] == taken


@pytest.mark.parametrize(("name", "told"), [("elsewhere", True), ("night", False)])
def test_another_directory_is_not_taken_and_that_is_said(
    asked: tuple[RunLayout, dict[str, Any]], name: str, told: bool
) -> None:
    layout, made = asked
    plan, overrides = plan_for_api({"resume": str(layout.root), "project": "runs", "name": name})
    assert plan.notes == ((f"name={name} is not taken: the run stays in {layout.root}",) if told else ())
    assert overrides[PLAN_KEY] is plan
    assert made["given"] == {}
