"""Every check fires on its fault and stays quiet on a healthy run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.run_dirs import START_TS, WrittenRun
from tests.unit.conftest import Look
from trainmaster.bot.checks import CHECKS, CheckLimits
from trainmaster.bot.checks.log_errors import check_log_errors
from trainmaster.bot.checks.nonfinite import check_nonfinite
from trainmaster.bot.checks.process import check_process
from trainmaster.bot.core.alerts.finding import Finding, Nature, Severity
from trainmaster.bot.core.conversation.message import ButtonStyle
from trainmaster.bot.core.run.facts import LogError, ProcessStatus
from trainmaster.bot.core.run.view import RunView
from trainmaster.trainer.contract import EventKind, RunRecordState

LIMITS = CheckLimits()


def _all(view: RunView, after_s: float = 100.0) -> dict[str, Finding]:
    return {one.check: one for check in CHECKS for one in check.look(view, LIMITS, START_TS + after_s)}


def test_a_healthy_run_has_no_conditions(written: WrittenRun, look: Look) -> None:
    written.start_epoch(1, 0)
    written.finish_epoch(1, 90)
    written.save_checkpoint(1, 91)
    written.start_epoch(2, 92)
    written.beat(99, epoch=2, batch=5)
    assert [one for one in _all(look()).values() if one.nature is Nature.CONDITION] == []


def test_a_bad_batch_names_place_count_and_images(written: WrittenRun, look: Look) -> None:
    written.start_epoch(1, 0)
    written.bad_batch(1, 42, 50)
    written.beat(60, epoch=1, batch=43)
    (found,) = check_nonfinite(look(), LIMITS, START_TS + 61)
    assert found.nature is Nature.CONDITION
    assert found.severity is Severity.WARNING
    assert "epoch 1, batch 42 of 100" in found.title
    assert found.body == ("1 batch in epoch 1: skipped without a trace.", "Images: img_0001.png, img_0002.png")


def test_a_bad_batch_clears_after_enough_healthy_ones(written: WrittenRun, look: Look) -> None:
    written.start_epoch(1, 0)
    written.bad_batch(1, 42, 50)
    written.beat(60, epoch=1, batch=42 + LIMITS.clear_batches - 1)
    assert check_nonfinite(look(), LIMITS, START_TS + 61)
    written.beat(61, epoch=1, batch=42 + LIMITS.clear_batches)
    assert not check_nonfinite(look(), LIMITS, START_TS + 62)


def test_a_bad_batch_does_not_clear_while_the_running_losses_are_spoilt(written: WrittenRun, look: Look) -> None:
    written.start_epoch(1, 0)
    written.bad_batch(1, 42, 50, action="observed")
    written.beat(61, epoch=1, batch=42 + LIMITS.clear_batches, losses={"box_loss": "nan"})
    assert check_nonfinite(look(), LIMITS, START_TS + 62)


def test_a_bad_batch_is_over_once_the_heartbeat_is_in_a_later_epoch(written: WrittenRun, look: Look) -> None:
    written.start_epoch(1, 0)
    written.bad_batch(1, 42, 50)
    written.beat(61, epoch=2, batch=1)
    (found,) = check_nonfinite(look(), LIMITS, START_TS + 62)
    assert found.nature is Nature.OCCURRENCE


@pytest.mark.parametrize(
    ("action", "said"),
    [("observed", "digits: epoch 1 is over, with 1 bad batch in the weights"), ("skipped", "epoch 1 is healthy again")],
)
def test_an_epoch_that_ended_with_a_bad_batch_in_the_weights_is_not_healthy_again(
    written: WrittenRun, look: Look, action: str, said: str
) -> None:
    written.bad_batch(1, 99, 50, action=action)
    written.finish_epoch(1, 90, nonfinite=1, skipped=int(action == "skipped"))
    (found,) = check_nonfinite(look(), LIMITS, START_TS + 100)
    assert said in found.resolution


@pytest.mark.parametrize(
    ("action", "said"),
    [("observed", "past its bad batches, with 1 bad batch in the weights"), ("skipped", "healthy again")],
)
def test_an_epoch_that_a_restart_gives_up_is_not_called_healthy_with_a_bad_batch_in_the_weights(
    written: WrittenRun, look: Look, action: str, said: str
) -> None:
    written.start_epoch(1, 0)
    written.bad_batch(1, 42, 50, action=action)
    written.beat(60, epoch=1, batch=42)
    (found,) = check_nonfinite(look(), LIMITS, START_TS + 61)
    assert (found.nature, found.resolution.endswith(f"epoch 1 is {said}")) == (Nature.CONDITION, True)


def test_a_bad_batch_of_an_epoch_that_is_over_is_still_told(written: WrittenRun, look: Look) -> None:
    written.bad_batch(1, 42, 50)
    written.finish_epoch(1, 90, nonfinite=1, skipped=1)
    (found,) = check_nonfinite(look(), LIMITS, START_TS + 100)
    assert found.nature is Nature.OCCURRENCE


@pytest.mark.parametrize("status", [ProcessStatus.UNKNOWN, ProcessStatus.GONE])
def test_a_bad_batch_is_told_even_when_the_process_cannot_be_seen_or_is_gone(
    written: WrittenRun, look: Look, status: ProcessStatus
) -> None:
    written.start_epoch(1, 0)
    written.bad_batch(1, 42, 50)
    written.beat(60, epoch=1, batch=42)
    assert check_nonfinite(look(status=status), LIMITS, START_TS + 61)


def test_a_bad_batch_in_the_weights_is_critical(written: WrittenRun, look: Look) -> None:
    written.start_epoch(1, 0)
    written.bad_batch(1, 42, 50, action="observed")
    (found,) = check_nonfinite(look(), LIMITS, START_TS + 61)
    assert found.severity is Severity.CRITICAL
    assert "went into the weights" in found.body[0]


@pytest.mark.parametrize("state", ["finished", "stopped", "gave_up", "crashed"])
def test_a_process_that_ended_with_a_word_has_not_died(written: WrittenRun, look: Look, state: str) -> None:
    written.record(state=RunRecordState(state))
    assert check_process(look(status=ProcessStatus.GONE), LIMITS, START_TS + 100) == ()


@pytest.mark.parametrize(
    ("kind", "data", "check"),
    [
        pytest.param(EventKind.RUN_STARTED, {"level": "standard", "epochs": 4}, "run_started", id="started"),
        pytest.param(EventKind.RUN_FINISHED, {"epochs": 4, "seconds": 100.0}, "run_finished", id="finished"),
        pytest.param(EventKind.RUN_STOPPED, {"epoch": 2, "batch": 3, "resumable": True}, "run_stopped", id="stopped"),
        pytest.param(EventKind.RUN_GAVE_UP, {"epoch": 2, "batch": 3, "why": "streak"}, "run_gave_up", id="gave up"),
        pytest.param(EventKind.RUN_REFUSED, {"checkpoint": "last.pt", "reasons": ["NaN"]}, "run_refused", id="refused"),
        pytest.param(EventKind.RUN_CRASHED, {"error": "ValueError", "traceback": "..."}, "run_crashed", id="crashed"),
        pytest.param(EventKind.OUT_OF_MEMORY, {"batch_size_before": 16}, "out_of_memory", id="o"),
        pytest.param(EventKind.STORAGE_FAULT, {"what": "state", "error": "no space"}, "storage_fault", id="disk full"),
        pytest.param(
            EventKind.DATA_FAULT,
            {"where": "train", "count": 2, "files": ["a.png"], "reasons": ["cut"], "list": "guard/left_out_train.txt"},
            "data_fault",
            id="corrupt images",
        ),
        pytest.param(
            EventKind.DATA_FAULT,
            {"where": "val_batch", "count": 1, "files": ["a.png"]},
            "data_fault",
            id="vanished image",
        ),
        pytest.param(EventKind.STATE_HEALED, {"epoch": 1, "what": "ema", "tensors": 3}, "state_healed", id="healed"),
    ],
)
def test_life_events_are_told_once_each(
    written: WrittenRun, look: Look, kind: EventKind, data: dict[str, object], check: str
) -> None:
    written.event(kind, 50, **data)
    found = _all(look())[check]
    assert found.nature is Nature.OCCURRENCE
    assert found.ts == START_TS + 50
    assert found.title.startswith("digits: ")


@pytest.mark.parametrize(
    ("kind", "data", "title"),
    [
        (EventKind.DATA_FAULT, {"where": "train", "count": 1}, "1 file is left out of the train set"),
        (EventKind.DATA_FAULT, {"where": "train", "count": 1200}, "1,200 files are left out of the train set"),
        (EventKind.DATA_FAULT, {"where": "batch", "count": 1}, "1 file could not be read during training"),
        (EventKind.RUN_FINISHED, {"epochs": 1}, "training finished after 1 epoch"),
        (EventKind.RUN_FINISHED, {"epochs": None}, "training finished after ? epochs"),
    ],
)
def test_one_is_told_as_one(
    written: WrittenRun, look: Look, kind: EventKind, data: dict[str, object], title: str
) -> None:
    written.event(kind, 50, **data)
    assert f"digits: {title}" in {found.title for found in _all(look()).values()}


@pytest.mark.parametrize(
    ("what", "tensors", "title", "body"),
    [
        ("ema", 1, "impossible values in the averaged weights were put right", "1 tensor, at epoch 2."),
        ("optimizer", 1200, "impossible values in the optimizer were put right", "1,200 tensors, at epoch 2."),
    ],
)
def test_what_was_healed_is_told_in_words(
    written: WrittenRun, look: Look, what: str, tensors: int, title: str, body: str
) -> None:
    written.event(EventKind.STATE_HEALED, 50, epoch=2, what=what, tensors=tensors)
    found = _all(look())["state_healed"]
    assert (found.title, found.body) == (f"digits: {title}", (body,))


@pytest.mark.parametrize("status", [ProcessStatus.GONE, ProcessStatus.REPLACED])
def test_a_death_without_exit_code_leaves_the_cause_to_whoever_judges_it(
    written: WrittenRun, look: Look, status: ProcessStatus
) -> None:
    """The same message says what it most likely was: "how it ended is not known" beside it was a contradiction."""
    written.beat(60, epoch=1, batch=42)
    told = " ".join(_all(look(status=status))["process_died"].body)
    assert "exit code is not known" in told
    assert "ow it ended" not in told


@pytest.mark.parametrize(
    ("data", "named"),
    [({"checkpoint": "/data/runs/night/weights/last.pt"}, "last.pt"), ({}, "its checkpoint")],
    ids=["a path", "none told"],
)
def test_a_refusal_names_the_file_without_its_place(
    written: WrittenRun, look: Look, data: dict[str, object], named: str
) -> None:
    written.event(EventKind.RUN_REFUSED, 50, verdict="contaminated", **data)
    assert _all(look())["run_refused"].title == f"digits: the trainer refused {named}: contaminated"


def test_a_contaminated_checkpoint_is_a_condition_until_a_clean_one(written: WrittenRun, look: Look) -> None:
    written.save_checkpoint(1, 10)
    written.save_checkpoint(2, 20, verdict="contaminated")
    found = _all(look())["checkpoint_contaminated"]
    assert ("Last clean checkpoint", "epoch 1") in found.fields
    written.save_checkpoint(3, 30)
    assert "checkpoint_contaminated" not in _all(look())


def test_an_epoch_report_offers_the_decision_only_when_contaminated(written: WrittenRun, look: Look) -> None:
    written.finish_epoch(1, 50)
    assert _all(look())["epoch_finished"].buttons == ()
    written.bad_batch(2, 5, 55, action="observed")
    written.finish_epoch(2, 60, nonfinite=1)
    reports = [one for check in CHECKS for one in check.look(look(), LIMITS, START_TS) if one.check == "epoch_finished"]
    assert [button.label for button in reports[-1].buttons] == ["Execute rollback", "Continue forward"]


@pytest.mark.parametrize(
    ("clean_epochs", "words"),
    [
        pytest.param((), "continue forward, since there is no clean checkpoint", id="nothing to go back to"),
        pytest.param(
            (1,),
            "to the end of epoch 1, which gives up 1 epoch (2 min of training).",
            id="the epoch before",
        ),
        pytest.param((1, 2), "attested clean. Recommended: continue forward", id="its own checkpoint is clean"),
    ],
)
def test_a_contaminated_epoch_comes_with_a_recommendation(
    written: WrittenRun, look: Look, clean_epochs: tuple[int, ...], words: str
) -> None:
    written.finish_epoch(1, 50)
    written.bad_batch(2, 5, 55, action="observed")
    written.finish_epoch(2, 60, nonfinite=1)
    for epoch in clean_epochs:
        written.save_checkpoint(epoch, 61)
    report = _all(look())["epoch_finished"]
    assert words in report.body[0]
    (standing_out,) = (button.label for button in report.buttons if button.style is not ButtonStyle.PLAIN)
    assert f"Recommended: {standing_out.lower()}" in report.body[0]


@pytest.mark.parametrize(
    ("healed", "buttons", "words"),
    [
        pytest.param(False, 2, "went into the weights in epoch 2, and they are in them still", id="carried along"),
        pytest.param(True, 0, "", id="attested clean again"),
    ],
)
def test_an_epoch_after_a_contaminated_one_is_a_decision_point_too(
    written: WrittenRun, look: Look, healed: bool, buttons: int, words: str
) -> None:
    written.finish_epoch(1, 50)
    written.save_checkpoint(1, 51)
    written.bad_batch(2, 5, 55, action="observed")
    written.finish_epoch(2, 60, nonfinite=1)
    written.save_checkpoint(2, 61, verdict="contaminated")
    written.finish_epoch(3, 70)
    written.save_checkpoint(3, 71, verdict="clean" if healed else "contaminated")
    reports = [one for check in CHECKS for one in check.look(look(), LIMITS, START_TS) if one.check == "epoch_finished"]
    report = {one.key: one for one in reports}["attempt1/epoch3"]
    assert len(report.buttons) == buttons
    assert words in " ".join(report.body)
    assert ("gives up 2 epochs (3 min of training)" in " ".join(report.body)) == (not healed)


def test_a_clean_epoch_needs_no_recommendation(written: WrittenRun, look: Look) -> None:
    written.finish_epoch(1, 50)
    assert _all(look())["epoch_finished"].body == ()


def test_a_stop_that_a_newer_attempt_followed_is_told_by_its_operation_alone(written: WrittenRun, look: Look) -> None:
    written.event(EventKind.RUN_STOPPED, 50, epoch=2, batch=3, resumable=True)
    assert "run_stopped" in _all(look())
    written.attempt = 2
    written.record()
    assert "run_stopped" not in _all(look())
    written.start_epoch(2, 60)
    assert _all(look())["run_stopped"].over


def test_an_end_is_over_once_a_later_attempt_trains(written: WrittenRun, look: Look) -> None:
    written.event(EventKind.RUN_CRASHED, 50, error="boom")
    written.attempt = 2
    written.record()
    assert not _all(look())["run_crashed"].over
    written.start_epoch(2, 60)
    ended = _all(look())["run_crashed"]
    assert ended.over
    assert "trains again, in attempt 2" in ended.resolution


@pytest.mark.parametrize(("kind", "over"), [("storage_fault", True), ("out_of_memory", True), ("data_fault", False)])
def test_what_a_later_attempt_would_tell_anew_is_over_once_it_trains(
    written: WrittenRun, look: Look, kind: str, over: bool
) -> None:
    written.event(kind, 50, what="state", error="disk full", files=["a.jpg"])
    assert not _all(look())[kind].over
    written.attempt = 2
    written.record()
    assert not _all(look())[kind].over
    written.start_epoch(2, 60)
    assert _all(look())[kind].over is over


def test_what_could_not_be_written_is_over_once_the_trainer_says_so(written: WrittenRun, look: Look) -> None:
    place = "copies at /mnt/x/night"
    written.event(EventKind.NOTICE, 40, what=place, text=f"{place} go on")
    written.event(EventKind.STORAGE_FAULT, 50, what=place, error="refused. It is tried again")
    written.event(EventKind.NOTICE, 55, text="of something else")
    fault = _all(look())["storage_fault"]
    assert (fault.over, fault.body) == (False, ("refused. It is tried again",))
    written.event(EventKind.NOTICE, 60, what=place, text=f"{place} go on")
    ended = _all(look())["storage_fault"]
    assert (ended.over, ended.resolution) == (True, f"{ended.title.partition(':')[0]}: {place} go on")


def test_a_stop_during_start_up_says_where_the_run_stands(written: WrittenRun, look: Look) -> None:
    written.event(EventKind.RUN_STOPPED, 50, epoch=2, batch=3, resumable=True)
    written.attempt = 2
    written.record()
    written.event(EventKind.RUN_STOPPED, 60, epoch=None, batch=None, resumable=False)
    stop = _all(look())["run_stopped"]
    assert "before it had trained anything" in stop.title
    assert "in epoch 2 after batch 3" in stop.body[0]
    assert "can be resumed" in stop.body[0]


@pytest.mark.parametrize(
    ("in_child", "words"),
    [
        pytest.param(False, "the log tells of a GPU error", id="the trainer itself"),
        pytest.param(True, "in a worker or another rank", id="a worker"),
    ],
)
def test_a_fatal_line_of_the_log_is_told_once(written: WrittenRun, look: Look, in_child: bool, words: str) -> None:
    error = LogError(ts=START_TS, kind="cuda_error", detail="CUDA error", text="...", in_child=in_child, digest="1f")
    again = replace(error, ts=START_TS + 50)
    found = check_log_errors(replace(look(), log_errors=(error, again)), LIMITS, START_TS + 100)
    assert len({one.fingerprint for one in found}) == 1
    assert words in found[0].title
    assert check_log_errors(look(), LIMITS, START_TS + 100) == ()


@pytest.mark.parametrize(
    ("replays", "said"),
    [
        (["deterministic"], "It is the data or the recipe"),
        (["overflow"], "It overflows"),
        (["not_reproducible"], "batch 5 was good: not reproducible. Suspect the hardware"),
        (["not_reproducible", "deterministic"], "batch 5 was good: not reproducible. Suspect the hardware"),
        (["not_reproducible", "not_reproducible"], "2 of them were good: not reproducible"),
        ([None], ""),
        (["of a newer trainer"], ""),
    ],
)
def test_the_alert_of_a_bad_batch_says_whether_it_was_the_card(
    written: WrittenRun, look: Look, replays: list[str | None], said: str
) -> None:
    for number, replay in enumerate(replays):
        written.bad_batch(1, 5 + number, 55 + number, replay=replay)
    (found,) = check_nonfinite(look(), LIMITS, START_TS + 61)
    told = " ".join(found.body)
    assert said in told
    assert ("Run again" in told) == bool(said)
