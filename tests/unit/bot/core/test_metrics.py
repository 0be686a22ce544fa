"""What is counted: of everything there is, and nothing twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from trainmaster.bot.core.alerts.alert import Alert, AlertState
from trainmaster.bot.core.alerts.finding import Finding, Nature, Severity
from trainmaster.bot.core.check_name import CheckName
from trainmaster.bot.core.metrics import (
    MAX_LABEL,
    MAX_RUNS_SHOWN,
    CheckTimes,
    DecisionCounts,
    DeliveryCounts,
    Family,
    Sight,
    families,
)
from trainmaster.bot.core.run.facts import CheckpointFact, RunRecord
from trainmaster.bot.core.run.state import RunState
from trainmaster.bot.core.run.view import RunView
from trainmaster.trainer.contract import Heartbeat, Verdict

NOW = 1_000.0


def sight(*runs: RunView, alerts: tuple[Alert, ...] = ()) -> Sight:
    return Sight(
        ts=NOW,
        version="0.2.0",
        started_ts=900.0,
        runs=runs,
        checks=CheckTimes(ticked_ts=990.0, tick_s=0.5, oldest_check_ts=980.0),
        slack_connected=True,
        alerts=alerts,
        delivery=DeliveryCounts(num_waiting=2, oldest_ts=940.0, num_failing=1, num_refused=0),
        decisions=DecisionCounts(approvals={"pending": 1, "expired": 3}, operations={"open": 1, "done": 4}),
    )


def view(name: str, **more: object) -> RunView:
    known = RunView(directory=Path("runs") / name, name=name, ts=NOW, first_seen_ts=0.0)
    return replace(known, **more)  # type: ignore[arg-type]  # fields of the view


def told(seen: Sight) -> dict[str, Family]:
    every = families(seen)
    assert len({one.name for one in every}) == len(every)
    return {one.name.removeprefix("trainmaster_"): one for one in every}


def critical(key: str, acked_by: str | None = None) -> Alert:
    finding = Finding(
        run="night",
        check=CheckName.NONFINITE,
        key=key,
        severity=Severity.CRITICAL,
        nature=Nature.CONDITION,
        ts=NOW,
        title="x",
    )
    return Alert(finding=finding, state=AlertState.FIRING, since_ts=NOW, updated_ts=NOW, acked_by=acked_by)


def test_a_run_is_told_by_its_heartbeat_and_its_checkpoints() -> None:
    record = RunRecord.parse({"run": "night-1", "attempt": 2, "epochs": 30, "state": "running"})
    beat = Heartbeat(ts=995.0, attempt=2, epoch=7, epochs=30, batch=40, batches=100, losses={"box": 1.0, "cls": 0.5})
    saved = [
        CheckpointFact(
            epoch=epoch,
            file=f"e{epoch}.pt",
            kind="epoch",
            ts=1.0,
            sha256=None,
            size_bytes=None,
            verdict=verdict,
            reasons=(),
            fitness=None,
            resumable=True,
        )
        for epoch, verdict in ((5, Verdict.CLEAN), (6, Verdict.CONTAMINATED))
    ]
    found = told(sight(view("night", record=record, heartbeat=beat, checkpoints=tuple(saved))))
    key = ("night-1", "night")
    expected = {
        "attempt": 2,
        "epoch": 7,
        "epochs": 30,
        "batch": 40,
        "batches": 100,
        "loss": 1.5,
        "bad_batches": 0,
        "clean_checkpoint_epoch": 5,
        "beat_timestamp_seconds": 995,
    }
    assert {name: found[f"run_{name}"].samples[key] for name in expected} == expected
    assert found["run_state"].samples == {(*key, "unknown"): 1.0}


def test_what_is_not_known_of_a_run_has_no_number() -> None:
    found = told(sight(view("new")))
    assert [name for name, one in found.items() if name.startswith("run_") and ("new", "new") in one.samples] == [
        *("run_attempt", "run_bad_batches", "run_skipped_batches", "run_clipped_steps")
    ]


def test_every_state_is_counted_also_where_no_run_is_in_it() -> None:
    found = told(sight(view("a"), view("b")))
    assert found["runs"].samples == {(str(state),): 2.0 * (state is RunState.UNKNOWN) for state in RunState}


def test_more_runs_than_are_shown_stand_in_the_counts() -> None:
    found = told(sight(*(view(f"run{number}") for number in range(MAX_RUNS_SHOWN + 7))))
    assert len(found["run_attempt"].samples) == MAX_RUNS_SHOWN
    assert ("run0", "run0") in found["run_attempt"].samples
    assert found["runs_not_shown"].samples == {(): 7.0}
    assert found["runs"].samples["unknown",] == MAX_RUNS_SHOWN + 7


def test_runs_of_one_name_and_id_are_one_series_that_of_the_newest() -> None:
    older = replace(view("a"), directory=Path("elsewhere") / "a", record=RunRecord.parse({"run": "a", "attempt": 9}))
    found = told(sight(view("a"), older))
    assert found["run_attempt"].samples == {("a", "a"): 1.0}


def test_a_name_that_others_chose_is_cut_and_made_visible() -> None:
    found = told(sight(view("evil\u202e\n\udcff\x1b[2J" + "x" * 500)))
    ((_, name),) = found["run_attempt"].samples
    assert name.startswith("evil⟨U+202E⟩⟨U+000A⟩⟨U+DCFF⟩⟨U+001B⟩[2J")
    assert len(name) == MAX_LABEL


def test_alerts_are_counted_by_severity_and_check_and_those_without_an_owner_apart() -> None:
    found = told(sight(alerts=(critical("1"), critical("2", acked_by="U0ANNA"))))
    assert found["alerts_firing"].samples == {("critical", "nonfinite"): 2.0}
    assert found["alerts_unacknowledged"].samples == {("info",): 0.0, ("warning",): 0.0, ("critical",): 1.0}


def test_ages_are_as_of_now_and_never_below_nothing() -> None:
    found = told(sight())
    assert found["tick_age_seconds"].samples == {(): 10.0}
    assert found["check_age_seconds"].samples == {(): 20.0}
    assert found["delivery_oldest_age_seconds"].samples == {(): 60.0}
    put_back = told(replace(sight(), ts=100.0))
    assert put_back["tick_age_seconds"].samples == {(): 0.0}
    idle = DeliveryCounts(num_waiting=0, oldest_ts=None, num_failing=0, num_refused=0)
    assert told(replace(sight(), delivery=idle))["delivery_oldest_age_seconds"].samples == {(): 0.0}


def test_decisions_are_counted_by_their_end() -> None:
    found = told(sight())
    assert found["approvals_open"].samples == {(): 1.0}
    assert found["approvals_decided_total"].samples["expired",] == 3.0
    assert found["approvals_decided_total"].samples["approved",] == 0.0
    assert found["operations_open"].samples == {(): 1.0}
    assert found["operations_ended_total"].samples == {("done",): 4.0}


def test_what_the_database_does_not_tell_is_no_zero() -> None:
    found = told(replace(sight(view("a")), alerts=None, delivery=None, decisions=None))
    assert found["database_readable"].samples == {(): 0.0}
    silent = ("alerts_", "delivery_", "approvals_", "operations_")
    assert [name for name, one in found.items() if name.startswith(silent) and one.samples] == []
    assert found["run_attempt"].samples
    assert told(sight())["database_readable"].samples == {(): 1.0}
