"""Which checkpoint, which level, what is lost, and when there is no plan at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.support.run_dirs import WrittenRun
from tests.unit.bot.operations.paper import PaperWorld
from tests.unit.conftest import Look
from trainmaster.bot.core.decisions.plan import OptionName, differences
from trainmaster.bot.core.run.facts import CheckpointFact, RunRecord
from trainmaster.bot.core.run.job import JobFact
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.drivers.trainer_levels import TrainerLevels
from trainmaster.bot.errors import CommandError
from trainmaster.bot.operations.refusals import refuse_unless_ours
from trainmaster.bot.operations.rollback.planning import make_plan
from trainmaster.bot.operations.rollback.target import choose_target
from trainmaster.bot.operations.start.launch import launch_of
from trainmaster.trainer.contract import Verdict, replace_json

NOW = 10.0
CLEAN, BAD, UNKNOWN = Verdict.CLEAN, Verdict.CONTAMINATED, Verdict.UNKNOWN


def fact(epoch: int | None, verdict: Verdict = CLEAN, *, state: bool = False, **changes: object) -> CheckpointFact:
    stem = f"epoch{epoch or 0:04d}"
    found = CheckpointFact(
        epoch=epoch,
        file=f"guard/states/{stem}.pt" if state else f"guard/states/{stem}.ultralytics.pt",
        kind="state" if state else "ultralytics",
        ts=100.0 * (epoch or 0),
        sha256=f"{'5' if state else 'a'}{epoch}",
        size_bytes=10,
        verdict=verdict,
        reasons=() if verdict is CLEAN else ("81 of 81 running variances are zero",),
        fitness=0.5,
        resumable=verdict is CLEAN,
    )
    return replace(found, **changes)  # type: ignore[arg-type]


@pytest.fixture
def view(world: PaperWorld) -> RunView:
    return world.runs.all()[0]


@pytest.mark.parametrize(
    ("catalog", "epoch"),
    [
        pytest.param([fact(1), fact(2), fact(3)], 3, id="newest"),
        pytest.param([fact(1), fact(2), fact(3, BAD)], 2, id="contaminated is passed over"),
        pytest.param([fact(1), fact(2, UNKNOWN)], 1, id="unknown is never rounded up"),
        pytest.param([fact(1), fact(2, resumable=False)], 1, id="stripped is passed over"),
        pytest.param([fact(1), fact(2, sha256=None)], 1, id="no digest, nothing to bind to"),
        pytest.param([fact(1), fact(2), fact(2, BAD, state=True)], 1, id="one bad file spoils the epoch"),
        pytest.param([fact(1), fact(2, state=True)], 1, id="a state alone cannot be restored"),
        pytest.param([fact(1), fact(2, file="weights/best.pt")], 1, id="best.pt is overwritten"),
        pytest.param([fact(1), fact(2, file="guard/states/stop.pt")], 1, id="a stop belongs to no epoch's end"),
        pytest.param([fact(1), fact(None), fact(0)], 1, id="no epoch"),
        pytest.param([fact(1, file="weights/epoch0.pt")], 1, id="Ultralytics' own numbered file"),
    ],
)
def test_target_is_the_newest_epoch_that_is_certainly_clean(
    view: RunView, catalog: list[CheckpointFact], epoch: int
) -> None:
    assert choose_target(view, catalog, None).epoch == epoch


def test_full_state_is_preferred_and_its_companion_is_bound_too(view: RunView) -> None:
    target = choose_target(view, [fact(2), fact(2, state=True)], None)
    assert (target.sha256, target.exact) == ("52", True)
    assert target.companions == (("guard/states/epoch0002.ultralytics.pt", "a2"),)


@pytest.mark.parametrize(
    ("catalog", "to_epoch", "slug", "words"),
    [
        pytest.param([], None, "no-checkpoint", ["nothing to go back to"], id="none at all"),
        pytest.param(
            [fact(1, BAD), fact(2, UNKNOWN)], None, "no-clean-checkpoint", ["least bad is epoch 2"], id="none clean"
        ),
        pytest.param(
            [fact(1), fact(2)], 7, "epoch-unknown", ["no checkpoint of epoch 7", "epoch 1, 2"], id="unknown epoch"
        ),
        pytest.param([fact(1), fact(2, BAD)], 2, "checkpoint-contaminated", ["81 of 81"], id="contaminated epoch"),
        pytest.param([fact(1), fact(2, UNKNOWN)], 2, "checkpoint-unknown", ["81 of 81"], id="doubtful epoch"),
        pytest.param([fact(1), fact(2, resumable=False)], 2, "checkpoint-clean", ["cannot be resumed"], id="stripped"),
    ],
)
def test_refusal_says_why_and_what_there_is(
    view: RunView, catalog: list[CheckpointFact], to_epoch: int | None, slug: str, words: list[str]
) -> None:
    with pytest.raises(CommandError) as caught:
        choose_target(view, catalog, to_epoch)
    assert caught.value.slug == slug
    assert all(word in caught.value.message for word in words), caught.value.message


def plan_for(view: RunView, **settings: object):
    return make_plan(view, [fact(1), fact(2), fact(3)], TrainerLevels(), NOW, **settings)  # type: ignore[arg-type]


def test_plan_names_the_settings_that_the_next_level_changes(view: RunView) -> None:
    plan = plan_for(view)
    assert (plan.level_before, plan.level_after) == ("standard", "strict")
    changed = {change.setting: (change.before, change.after) for change in plan.settings if change.changes}
    assert changed["lr0"] == ("0.0005", "0.00025")
    assert changed["max_norm"] == ("10.0", "5.0")
    assert "optimizer" not in changed


@pytest.mark.parametrize(
    ("value", "after", "kept"),
    [
        pytest.param("0.0001", "0.0001", True, id="more careful"),
        pytest.param("0.01", "0.00025", False, id="less careful"),
    ],
)
def test_value_of_the_user_stays_only_if_it_is_at_least_as_careful(
    world: PaperWorld, value: str, after: str, kept: bool
) -> None:
    record = world.run.record()
    layers = [{**row, "value": value, "source": "user"} if row["setting"] == "lr0" else row for row in record["layers"]]  # type: ignore[index,attr-defined]
    replace_json(world.run.layout.run_json, {**record, "layers": layers})
    plan = plan_for(world.runs.all()[0])
    (lr0,) = [change for change in plan.settings if change.setting == "lr0"]
    assert lr0.after == after
    assert any("Kept as given" in risk for risk in plan.risks) == kept


def test_plan_beyond_strict_halves_again(view: RunView) -> None:
    assert view.record is not None
    strict = replace(view, record=replace(view.record, level="strict"))
    assert plan_for(strict).level_after == "strict+1"


def test_same_level_again_is_allowed_and_called_a_risk(view: RunView) -> None:
    plan = plan_for(view, level="standard")
    assert any("may well happen again" in risk for risk in plan.risks)


def test_options_give_both_sides_of_the_decision_in_clock_times(view: RunView) -> None:
    now, wait, forward = plan_for(view).options
    assert now.name is OptionName.NOW
    assert now.end_ts == pytest.approx(NOW + 7 * 3600.0)
    assert wait.name is OptionName.AFTER_EPOCH
    assert wait.start_ts is not None
    assert wait.start_ts > NOW
    assert forward.name is OptionName.CONTINUE


def test_what_is_given_up_counts_the_running_epoch(view: RunView) -> None:
    plan = plan_for(view)
    assert plan.gives_up == (4, 5)
    assert plan.gives_up_s == pytest.approx(3600.0, abs=1.0)


def test_equal_worlds_make_equal_plans_whatever_the_time(view: RunView) -> None:
    catalog = [fact(1), fact(2)]
    one = make_plan(view, catalog, TrainerLevels(), NOW)
    other = make_plan(view, catalog, TrainerLevels(), NOW + 900.0)
    assert one.digest == other.digest
    assert differences(one.binding, other.binding) == ()


def test_file_beside_the_checkpoint_that_was_replaced_changes_the_plan(view: RunView) -> None:
    one = make_plan(view, [fact(2), fact(2, state=True)], TrainerLevels(), NOW)
    other = make_plan(view, [fact(2, sha256="b2"), fact(2, state=True)], TrainerLevels(), NOW)
    (difference,) = differences(one.binding, other.binding)
    assert difference.what == "digests of the files beside it"
    assert "a2" in difference.then
    assert "b2" in difference.now


def finished(record: RunRecord) -> RunRecord:
    from trainmaster.trainer.contract import RunRecordState

    return replace(record, state=RunRecordState.FINISHED)


@pytest.mark.parametrize(
    ("change", "slug"),
    [
        pytest.param(lambda record: replace(record, python=None), "run-unguarded", id="no Python"),
        pytest.param(finished, "run-finished", id="finished"),
        pytest.param(lambda record: replace(record, epochs=3), "nothing-to-train", id="last epoch"),
    ],
)
def test_run_that_cannot_be_rolled_back_is_refused_with_its_reason(
    view: RunView, change: Callable[[RunRecord], RunRecord], slug: str
) -> None:
    assert view.record is not None
    odd = replace(view, record=change(view.record), heartbeat=None)
    with pytest.raises(CommandError) as caught:
        plan_for(odd)
    assert caught.value.slug == slug


def test_run_that_something_else_started_is_refused_with_the_commands_for_a_person(view: RunView) -> None:
    assert view.record is not None
    adopted = replace(view, record=replace(view.record, python=None, cwd=None, level="none (unguarded)", layers=()))
    with pytest.raises(CommandError) as caught:
        plan_for(adopted)
    assert "epoch 3" in caught.value.message
    assert "kill -TERM 4000" in caught.value.hint
    assert "restore" in caught.value.hint
    assert "level=standard" in caught.value.hint


def test_run_of_another_host_is_refused_and_the_host_is_named(view: RunView) -> None:
    with pytest.raises(CommandError, match="paper"):
        refuse_unless_ours(view, "elsewhere")
    refuse_unless_ours(view, "paper")
    with pytest.raises(CommandError, match=r"run\.json"):
        refuse_unless_ours(replace(view, record=None), "paper")


@pytest.mark.parametrize("level", ["iron", "strict+x", "", "strict-1", "strict+999999999999"])
def test_level_that_does_not_exist_is_refused_with_those_that_do(level: str) -> None:
    with pytest.raises(CommandError, match="unknown level") as caught:
        TrainerLevels().check(level)
    assert "strict" in caught.value.hint


@pytest.mark.parametrize(
    ("options", "key", "limit_ts", "wanted"),
    [
        pytest.param(["--partition=gpu"], None, 8200.0, ("--partition=gpu", "--time=120"), id="by hand"),
        pytest.param(["--time=60"], None, 8200.0, ("--time=60",), id="known already"),
        pytest.param(["-p", "gpu"], "sbatch-1", 8200.0, ("-p", "gpu"), id="as it was submitted"),
        pytest.param(["--partition=gpu"], None, None, ("--partition=gpu",), id="no limit"),
    ],
)
def test_job_submitted_by_hand_is_submitted_again_with_its_time_limit(
    written: WrittenRun,
    look: Look,
    options: list[str],
    key: str | None,
    limit_ts: float | None,
    wanted: tuple[str, ...],
) -> None:
    written.record(job={"id": "7", "restart": 0, "options": options}, launch_key=key)
    job = JobFact(id="7", state="running", start_ts=1000.0, limit_ts=limit_ts)
    assert launch_of(look(job=job)).options == wanted
