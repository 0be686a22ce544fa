from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.run_dirs import WrittenRun
from tests.unit.conftest import Look
from trainmaster.bot.core.run.facts import ProcessStatus, RunRecord
from trainmaster.bot.core.run.folding import MAX_BAD_BATCHES_KEPT, MAX_SERIES_KEPT
from trainmaster.bot.core.run.state import RunState
from trainmaster.bot.core.run.view import RunView
from trainmaster.trainer.contract import EventKind, Phase, RunRecordState


@pytest.mark.parametrize(
    ("told", "log"),
    [
        (None, "/runs/now/guard/train.log"),
        ("/runs/now/guard/train.log", "/runs/now/guard/train.log"),
        ("/runs/before/guard/train.log", "/runs/now/guard/train.log"),
        ("guard/train.log", "/runs/now/guard/train.log"),
        ("/var/log/night.log", "/var/log/night.log"),
        ("out.log", "/runs/now/out.log"),
    ],
)
def test_the_own_log_of_a_run_lies_where_the_run_lies_now(told: str | None, log: str) -> None:
    record = RunRecord.parse({"run": "r", "attempt": 1, "state": "running", "log": told})
    view = RunView(directory=Path("/runs/now"), name="now", ts=1.0, first_seen_ts=0.0, record=record)
    assert view.log == Path(log)


def test_bad_batches_are_counted_beyond_those_that_are_kept(written: WrittenRun, look: Look) -> None:
    written.start_epoch(1, 0)
    for batch in range(1, MAX_BAD_BATCHES_KEPT + 6):
        written.bad_batch(1, batch, batch)
    epoch = look().current
    assert epoch is not None
    assert epoch.num_bad == epoch.num_skipped == MAX_BAD_BATCHES_KEPT + 5
    assert [bad.batch for bad in epoch.bad_batches] == list(range(6, MAX_BAD_BATCHES_KEPT + 6))


def test_an_image_that_was_drawn_several_times_is_named_once(written: WrittenRun, look: Look) -> None:
    written.bad_batch(1, 3, 1, images=["a/1.jpg", "b/1.jpg", "a/1.jpg"])
    epoch = look().current
    assert epoch is not None
    assert epoch.bad_batches[-1].images == ("a/1.jpg", "b/1.jpg")


def test_observed_batches_are_bad_but_not_skipped(written: WrittenRun, look: Look) -> None:
    written.bad_batch(1, 3, 1, action="observed")
    epoch = look().current
    assert epoch is not None
    assert (epoch.num_bad, epoch.num_skipped) == (1, 0)


def test_a_batch_that_was_good_when_run_again_is_neither_skipped_nor_in_the_weights(
    written: WrittenRun, look: Look
) -> None:
    written.bad_batch(1, 3, 1, action="recomputed")
    written.finish_epoch(1, 5, nonfinite=1)
    epoch = look().current
    assert epoch is not None
    assert (epoch.num_bad, epoch.num_skipped, epoch.num_in_weights) == (1, 0, 0)


def test_story_keeps_the_newest_attempt_and_drops_what_a_rollback_gave_up(written: WrittenRun, look: Look) -> None:
    for number in (1, 2, 3):
        written.finish_epoch(number, number * 10)
    written.attempt = 2
    written.record()
    written.start_epoch(2, 40)
    story = look().story()
    assert [(epoch.attempt, epoch.epoch) for epoch in story] == [(1, 1), (2, 2)]


def test_series_is_thinned_and_keeps_its_last_row(written: WrittenRun, look: Look) -> None:
    for batch in range(1, 2 * MAX_SERIES_KEPT):
        written.series(epoch=1, batch=batch, loss=float(batch))
    epoch = look().current
    assert epoch is not None
    assert len(epoch.series) <= MAX_SERIES_KEPT
    assert epoch.series[-1] == (2 * MAX_SERIES_KEPT - 1, float(2 * MAX_SERIES_KEPT - 1))


def test_a_checkpoint_row_replaces_an_earlier_one_about_the_same_file(written: WrittenRun, look: Look) -> None:
    written.save_checkpoint(1, 10)
    assert look().last_clean is not None
    written.save_checkpoint(1, 20, verdict="contaminated")
    view = look()
    assert len(view.checkpoints) == 1
    assert view.last_clean is None


def test_what_a_rollback_put_aside_is_no_last_clean_checkpoint(written: WrittenRun, look: Look) -> None:
    for epoch in (1, 2, 3):
        written.save_checkpoint(epoch, epoch)
    written.attempt = 2
    written.record(from_epoch=3)
    written.event(EventKind.RUN_STARTED, 10, from_epoch=3)
    clean = look().last_clean
    assert clean is not None
    assert clean.epoch == 2


@pytest.mark.parametrize(
    ("file", "resumable"),
    [
        pytest.param("guard/states/epoch0001.pt", True, id="full state"),
        pytest.param("guard/states/epoch0001.ultralytics.pt", False, id="its copy for others"),
        pytest.param("guard/states/stop.pt", False, id="a state within the epoch"),
        pytest.param("weights/last.pt", False, id="Ultralytics' own"),
    ],
)
def test_only_a_full_state_is_taken_for_resumable_unsaid(
    written: WrittenRun, look: Look, file: str, resumable: bool
) -> None:
    fields = {"epoch": 1, "file": file, "verdict": "clean", "sha256": "0", "bytes": 1, "reasons": [], "fitness": 0.1}
    written.event(EventKind.CHECKPOINT_SAVED, 5, **fields)
    assert look().checkpoints[0].resumable is resumable


def test_a_heartbeat_of_an_earlier_attempt_is_not_believed(written: WrittenRun, look: Look) -> None:
    written.beat(10, epoch=3, batch=50)
    written.attempt = 2
    written.record()
    assert look().beat is None


def _running(written: WrittenRun, phase: Phase) -> None:
    written.beat(99, epoch=1, batch=5, phase=phase)


@pytest.mark.parametrize(
    ("state", "status", "phase", "expected"),
    [
        pytest.param("running", ProcessStatus.ALIVE, Phase.TRAINING, RunState.TRAINING, id="training"),
        pytest.param("running", ProcessStatus.ALIVE, Phase.VALIDATING, RunState.VALIDATING, id="validating"),
        pytest.param("running", ProcessStatus.ALIVE, None, RunState.STARTING, id="no heartbeat yet"),
        pytest.param("running", ProcessStatus.GONE, Phase.TRAINING, RunState.DIED, id="process gone"),
        pytest.param("running", ProcessStatus.REPLACED, Phase.TRAINING, RunState.DIED, id="pid reused"),
        pytest.param("running", ProcessStatus.ZOMBIE, Phase.TRAINING, RunState.DIED, id="zombie"),
        pytest.param("running", ProcessStatus.UNKNOWN, Phase.TRAINING, RunState.UNKNOWN, id="unknown is not healthy"),
        pytest.param("finished", ProcessStatus.GONE, Phase.ENDED, RunState.FINISHED, id="finished outranks gone"),
        pytest.param("gave_up", ProcessStatus.GONE, Phase.ENDED, RunState.GAVE_UP, id="gave up"),
    ],
)
def test_state_follows_the_evidence(
    written: WrittenRun, look: Look, state: str, status: ProcessStatus, phase: Phase | None, expected: RunState
) -> None:
    written.record(state=RunRecordState(state))
    if phase:
        _running(written, phase)
    assert look(status=status).state is expected


def test_an_unknown_event_kind_and_a_newer_schema_do_not_stop_the_reading(written: WrittenRun, look: Look) -> None:
    written.event("from_the_future", 1, epoch=1)
    with written.layout.events.open("a") as stream:
        stream.write('{"v":99,"ts":1.0,"run":"digits-0001","attempt":1,"seq":9,"kind":"epoch_started","epoch":2}\n')
    written.event(EventKind.EPOCH_STARTED, 2, epoch=1, epochs=4, batches=10)
    view: RunView = look()
    assert set(view.epochs) == {(1, 1), (1, 2)}
    assert any("schema 99" in error for error in view.read_errors)
