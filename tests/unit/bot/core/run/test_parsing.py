"""The records of a run, by the dataclasses that both sides share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

import pytest

from trainmaster.bot.core.run.facts import Event, RunRecord
from trainmaster.bot.core.run.parsing import READERS, heartbeat_of
from trainmaster.trainer.contract import ClusterJob, Heartbeat, Phase, RunFile, RunRecordState

JOB = ClusterJob(id="4711", cluster="lab", array_task=3, restart=1, node="n1", end_ts=9.0, options=("--gpus=1",))


@pytest.mark.parametrize("kind", [RunFile, Heartbeat, ClusterJob])
def test_every_declared_key_can_be_read(kind: type[RunFile | Heartbeat | ClusterJob]) -> None:
    assert {str(one.type) for one in fields(kind)} <= set(READERS)


def test_a_run_record_comes_back_as_it_was_written() -> None:
    written = RunFile(
        run="r",
        attempt=2,
        pid=7,
        create_time=1.5,
        argv=("python", "train.py"),
        layers=({"layer": 1, "name": "clip", "setting": "max_norm", "value": 5.0, "source": "user"},),
        state=RunRecordState.RUNNING,
        job=JOB,
        launch_key="k",
    )
    read = RunRecord.parse({**asdict(written), "argv": ["python", "train.py"], "layers": list(written.layers),
                            "job": {**asdict(JOB), "options": ["--gpus=1"]}})  # fmt: skip
    assert read is not None
    assert {name: getattr(read, name) for name in asdict(written)} == {
        name: getattr(written, name) for name in asdict(written)
    }
    assert read.settings == {"max_norm": ("5.0", "user")}


def test_a_heartbeat_comes_back_as_it_was_written() -> None:
    written = Heartbeat(ts=1.0, run="r", phase=Phase.TRAINING, epoch=3, losses={"box": 0.5}, grad_worst={"norm": 1.0})
    assert heartbeat_of(asdict(written)) == written


@pytest.mark.parametrize(
    "record",
    [{}, {"run": ""}, {"run": 7}, {"run": None, "attempt": 1}],
    ids=["nothing", "empty name", "a number for a name", "no name"],
)
def test_a_record_that_names_no_run_is_none(record: Mapping[str, Any]) -> None:
    assert RunRecord.parse(record) is None


@pytest.mark.parametrize("odd", [None, [], {}, "x", [1], {"id": 5}, {"id": ""}, True, 1e400])
def test_a_job_that_is_none_is_none(odd: object) -> None:
    record = RunRecord.parse({"run": "r", "job": odd})
    assert record is not None
    assert record.job is None


@pytest.mark.parametrize("odd", [None, [], {}, "x", [[1]], {"a": {}}, True, 10**400, float("nan")])
def test_no_odd_value_is_an_exception(odd: object) -> None:
    names = [one.name for one in fields(RunFile)]
    record = RunRecord.parse({**dict.fromkeys(names, odd), "run": "r"})
    assert record is not None
    assert isinstance(record.settings, dict)
    assert record.guarded
    assert heartbeat_of({**dict.fromkeys([one.name for one in fields(Heartbeat)], odd), "ts": 1.0}) is not None


def test_a_file_cannot_say_that_nobody_guards_the_run_nor_how_to_start_it() -> None:
    record = RunRecord.parse({"run": "r", "guarded": False, "relaunch": {"argv": ["sh"], "cwd": "/"}})
    assert record is not None
    assert (record.guarded, record.relaunch) == (True, None)


def test_a_record_of_the_first_edition_has_no_job() -> None:
    record = RunRecord.parse({"run": "r", "attempt": 1, "trainer_class": "trainer.guard:GuardedDetectionTrainer"})
    assert record is not None
    assert (record.job, record.launch_key) == (None, None)
    assert record.trainer_class == "trainer.guard:GuardedDetectionTrainer"


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), "nan", "-inf", 1e12, -1e300, 10**300, "12", True, None])
def test_what_is_no_time_of_any_calendar_is_none(odd: object) -> None:
    event = {"ts": odd, "kind": "notice", "run": "r"}
    assert Event.parse(event) is None
    record = RunRecord.parse({"run": "r", "started_ts": odd, "updated_ts": odd})
    assert record is not None
    assert (record.started_ts, record.updated_ts) == (None, None)
    assert heartbeat_of({"ts": odd}) is None
    assert Event.parse({**event, "ts": 1.76e9}) is not None


@pytest.mark.parametrize("odd", [2**63, -(10**4000), 1.5, True])
def test_a_number_that_nothing_counted_is_none(odd: object) -> None:
    event = Event.parse({"ts": 1.0, "kind": "notice", "run": "r", "epoch": odd})
    assert event is not None
    assert event.integer("epoch") is None
