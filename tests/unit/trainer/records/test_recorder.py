from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.clocks import SetClock
from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.contract import EventKind, Phase, RunLayout, RunRecordState, append_line, read_json
from trainmaster.trainer.records import recorder as recorder_module
from trainmaster.trainer.records.recorder import FAULT_INTERVAL_S, Recorder, encoded
from trainmaster.trainer.records.run_directory import RunInUseError, RunLock, set_aside


@pytest.fixture
def layout(tmp_path: Path) -> RunLayout:
    layout = RunLayout(tmp_path / "run")
    layout.guard.mkdir(parents=True)
    return layout


def made(layout: RunLayout, clock: SetClock | None = None, warnings: list[str] | None = None) -> Recorder:
    return Recorder(layout, warn=(warnings if warnings is not None else []).append, clock=clock or SetClock())


def test_the_run_keeps_its_id_and_counts_its_attempts(layout: RunLayout) -> None:
    first = made(layout)
    first.update_run(level="standard", epochs=3)
    second = made(layout)
    second.update_run(level="strict")

    record = read_json(layout.run_json)
    assert record is not None
    assert (record["run"], record["attempt"], record["epochs"], record["level"]) == (first.run, 2, 3, "strict")


def test_events_are_numbered_lines(layout: RunLayout) -> None:
    recorder = made(layout)
    recorder.event(EventKind.NOTICE, text="one")
    recorder.event(EventKind.NOTICE, text="zwei\nlines")
    rows = [json.loads(line) for line in layout.events.read_text(encoding="utf-8").splitlines()]
    assert [(row["seq"], row["text"]) for row in rows] == [(1, "one"), (2, "zwei\nlines")]


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_event_of_a_signal_handler_within_an_event_is_written_once(
    layout: RunLayout, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    recorder = made(layout)
    signals = [EventKind.STOP_REQUESTED]

    def interrupted(path: Path, line: str) -> None:
        if when == "after":
            append_line(path, line)
        if signals:
            recorder.event(signals.pop(), signal="SIGTERM")
        if when == "before":
            append_line(path, line)

    monkeypatch.setattr(recorder_module, "append_line", interrupted)
    recorder.event(EventKind.NOTICE, text="interrupted")
    recorder.event(EventKind.NOTICE, text="next")
    rows = [json.loads(line) for line in layout.events.read_text(encoding="utf-8").splitlines()]
    assert sorted(row["seq"] for row in rows) == [1, 2, 3]
    assert {row["kind"] for row in rows} == {"notice", "stop_requested"}


def test_numbers_that_json_lacks_are_spelled(layout: RunLayout) -> None:
    made(layout).event(EventKind.NOTICE, text="", losses={"box": math.nan, "cls": math.inf}, path=Path("x"))
    assert json.loads(layout.events.read_text())["losses"] == {"box": "nan", "cls": "inf"}
    assert encoded({"a": (1, None, True, -math.inf)}) == {"a": [1, None, True, "-inf"]}


def test_a_heartbeat_comes_at_most_once_a_second_unless_forced(layout: RunLayout) -> None:
    clock = SetClock()
    recorder = made(layout, clock)
    recorder.beat(force=True, batch=1)
    clock.ts += 0.5
    recorder.beat(batch=2)
    assert (read_json(layout.heartbeat) or {})["batch"] == 1
    assert not recorder.beat_due()
    clock.ts += 0.5
    recorder.beat(batch=3)
    assert (read_json(layout.heartbeat) or {})["batch"] == 3
    recorder.beat(force=True, batch=4)
    assert (read_json(layout.heartbeat) or {})["batch"] == 4


def test_heartbeats_go_on_when_the_clock_was_set_back(layout: RunLayout) -> None:
    clock = SetClock()
    recorder = made(layout, clock)
    recorder.beat(force=True, batch=1)
    clock.ts -= 3600
    assert recorder.beat_due()
    recorder.beat(batch=2)
    assert (read_json(layout.heartbeat) or {})["batch"] == 2
    assert not recorder.beat_due()


def test_a_change_of_phase_is_an_event_and_a_heartbeat(layout: RunLayout) -> None:
    recorder = made(layout)
    recorder.beat(force=True)
    recorder.set_phase(Phase.TRAINING, epoch=1)
    recorder.set_phase(Phase.TRAINING, epoch=1)
    assert (read_json(layout.heartbeat) or {})["phase"] == "training"
    assert len(layout.events.read_text().splitlines()) == 1


def test_a_record_that_cannot_be_written_is_told_once_and_raises_nothing(layout: RunLayout) -> None:
    warnings: list[str] = []
    recorder = made(layout, warnings=warnings)
    layout.series.mkdir()
    for _ in range(3):
        recorder.series(
            epoch=1, batch=1, losses={}, lr=None, grad_norm_p50=None, grad_norm_p99=None, grad_norm_max=None,
            grad_worst=None, grad_trend=None, clipped=0, skipped=0,
        )  # fmt: skip
    assert len(warnings) == 1
    assert "series.jsonl" in warnings[0]
    assert json.loads(layout.events.read_text())["kind"] == "storage_fault"


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """A disk that can be full: nothing is appended and nothing replaced then."""
    state = {"full": False}

    def unless_full(write: Callable[..., None]) -> Callable[..., None]:
        def checked(*args: Any, **kwargs: Any) -> None:
            if state["full"]:
                raise OSError(errno.ENOSPC, "No space left on device")
            write(*args, **kwargs)

        return checked

    for name in ("append_line", "replace_json"):
        monkeypatch.setattr(recorder_module, name, unless_full(getattr(recorder_module, name)))
    return state


def test_events_wait_for_space_and_follow_in_their_order(layout: RunLayout, disk: dict[str, bool]) -> None:
    clock, warnings = SetClock(), list[str]()
    recorder = made(layout, clock, warnings)
    recorder.event(EventKind.NOTICE, text="before")
    disk["full"] = True
    recorder.event(EventKind.NOTICE, text="meanwhile")
    recorder.beat(force=True)
    clock.ts += 2
    disk["full"] = False
    recorder.beat()

    rows = [json.loads(line) for line in layout.events.read_text(encoding="utf-8").splitlines()]
    assert [row["seq"] for row in rows] == [1, 2, 3, 4]
    assert [row.get("text") or row["what"] for row in rows] == ["before", "meanwhile", "events.jsonl", "heartbeat.json"]
    assert warnings[-1] == "heartbeat.json can be written again"


def test_a_disk_at_its_limit_is_told_once_in_a_while(layout: RunLayout, disk: dict[str, bool]) -> None:
    clock = SetClock()
    recorder = made(layout, clock)
    for number in range(2 * int(FAULT_INTERVAL_S)):
        disk["full"] = bool(number % 2)
        clock.ts += 1
        recorder.beat(force=True)
    disk["full"] = False
    recorder.flush()
    rows = [json.loads(line) for line in layout.events.read_text(encoding="utf-8").splitlines()]
    assert len([row for row in rows if row["what"] == "heartbeat.json"]) == 2


def test_what_others_write_is_told_again_once_it_was_written_in_between(layout: RunLayout) -> None:
    clock, error = SetClock(), OSError(errno.ENOSPC, "No space left on device")
    recorder = made(layout, clock)
    for written in (False, True, False):
        recorder.storage_fault("guard/states/snapshot.pt", error)
        if written:
            recorder.written("guard/states/snapshot.pt")
        clock.ts += FAULT_INTERVAL_S
    assert len(layout.events.read_text(encoding="utf-8").splitlines()) == 2


def test_events_that_wait_are_bounded_and_the_loss_is_told(
    layout: RunLayout, disk: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "MAX_PENDING", 3)
    recorder = made(layout)
    disk["full"] = True
    for _ in range(10):
        recorder.event(EventKind.NOTICE, text="meanwhile")
    disk["full"] = False
    recorder.flush()
    rows = [json.loads(line) for line in layout.events.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 4
    assert rows[-1]["text"] == "8 events were dropped while nothing could be written"


def test_a_directory_that_cannot_be_written_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory", encoding="utf-8")
    with pytest.raises(ArgumentsError, match="cannot be written: Not a directory"):
        RunLock(RunLayout(tmp_path / "file" / "run"))


def test_a_name_that_is_no_utf_8_is_written_as_far_as_it_can_be(layout: RunLayout) -> None:
    recorder = made(layout)
    recorder.update_run(data=os.fsdecode(b"/data/caf\xe9"))
    recorder.event(EventKind.NOTICE, text=os.fsdecode(b"caf\xe9"))
    assert (read_json(layout.run_json) or {})["data"] == "/data/caf?"
    assert json.loads(layout.events.read_text(encoding="utf-8"))["text"] == "caf?"


def test_a_crash_keeps_the_end_of_its_traceback(layout: RunLayout) -> None:
    recorder = made(layout)
    try:
        raise ValueError("gone")
    except ValueError as error:
        recorder.crashed(error)
    row = json.loads(layout.events.read_text().splitlines()[0])
    assert row["error"] == "ValueError: gone"
    assert row["traceback"].endswith("ValueError: gone")
    assert (read_json(layout.run_json) or {})["state"] == RunRecordState.CRASHED


def test_a_crash_is_placed_once_an_epoch_has_begun(layout: RunLayout) -> None:
    recorder = made(layout)
    recorder.crashed(ValueError("early"), epoch=1, batch=0)
    recorder.set_phase(Phase.TRAINING, epoch=3)
    recorder.crashed(ValueError("late"), epoch=3, batch=41)
    rows = [json.loads(line) for line in layout.events.read_text().splitlines()]
    places = [(row["epoch"], row["batch"]) for row in rows if row["kind"] == EventKind.RUN_CRASHED]
    assert places == [(None, None), (3, 41)]


def test_events_of_each_process_of_an_attempt_have_numbers_of_their_own(layout: RunLayout) -> None:
    launcher = made(layout)
    launcher.update_run(epochs=3)
    launcher.event(EventKind.NOTICE, text="one")
    first_rank = Recorder(layout, warn=print, attempt=launcher.attempt)
    first_rank.event(EventKind.NOTICE, text="two")
    launcher.take_over()
    launcher.event(EventKind.NOTICE, text="three")
    numbers = [json.loads(line)["seq"] for line in layout.events.read_text().splitlines()]
    assert numbers == sorted(set(numbers))
    assert numbers[0] == 1


def test_the_end_of_a_killed_process_is_put_on_record_by_another_as_it_would_have_done(layout: RunLayout) -> None:
    launcher = made(layout)
    launcher.update_run(epochs=3)
    killed = Recorder(layout, warn=print, attempt=launcher.attempt)
    killed.update_run(pid=1234, task="detect")
    killed.beat(force=True, epoch=2, batch=5, losses={"box_loss": math.nan})
    beat = launcher.take_over()
    assert (beat.epoch, beat.batch) == (2, 5)
    launcher.end(RunRecordState.STOPPED, 3)
    run, beat_after = read_json(layout.run_json) or {}, read_json(layout.heartbeat) or {}
    assert (run["state"], run["exit_code"], run["pid"], run["task"]) == ("stopped", 3, 1234, "detect")
    assert (beat_after["phase"], beat_after["epoch"], beat_after["batch"]) == ("ended", 2, 5)
    assert beat_after["losses"] == {"box_loss": "nan"}


def test_a_torn_last_line_is_closed_first(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"torn": ')
    append_line(path, '{"whole":1}')
    assert path.read_text() == '{"torn": \n{"whole":1}\n'


def test_a_silent_recorder_writes_nothing(layout: RunLayout) -> None:
    recorder = Recorder(layout, warn=print, silent=True)
    recorder.event(EventKind.NOTICE, text="rank 1")
    recorder.update_run(epochs=1)
    assert not layout.events.exists()
    assert not layout.run_json.exists()


def test_one_trainer_at_a_time(layout: RunLayout) -> None:
    lock = RunLock(layout, patience_s=0)
    with pytest.raises(RunInUseError, match=f"pid {os.getpid()}"):
        RunLock(layout, patience_s=0)
    lock.release()
    RunLock(layout, patience_s=0).release()


def test_an_earlier_run_is_put_aside_whole(layout: RunLayout) -> None:
    layout.run_json.write_text("{}")
    layout.weights.mkdir()
    (layout.weights / "best.pt").write_text("w")
    layout.results_csv.write_text("epoch\n")
    set_aside(layout)
    (folder,) = layout.archive.iterdir()
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert names == ["guard/run.json", "results.csv", "weights/best.pt"]
    assert not layout.weights.exists()


def test_a_directory_without_a_guarded_run_is_left_alone(layout: RunLayout) -> None:
    layout.results_csv.write_text("epoch\n")
    set_aside(layout)
    assert layout.results_csv.exists()
    assert not layout.archive.exists()


@pytest.mark.parametrize(("refused", "state", "waits"), [(0, "finished", 0), (2, "finished", 2), (9, "running", 3)])
def test_the_last_word_is_tried_again_for_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: int, state: str, waits: int
) -> None:
    layout = RunLayout(tmp_path)
    layout.guard.mkdir()
    waited: list[float] = []
    recorder = Recorder(layout, warn=lambda _: None, sleep=waited.append)
    recorder.update_run()
    left, whole = [refused], recorder_module.replace_json

    def replace(path: Path, *args: Any, **more: Any) -> None:
        if path == layout.run_json and left[0]:
            left[0] -= 1
            raise OSError(errno.ENOSPC, "No space left on device")
        whole(path, *args, **more)

    monkeypatch.setattr(recorder_module, "replace_json", replace)
    recorder.end(RunRecordState.FINISHED, 0)
    assert ((read_json(layout.run_json) or {})["state"], len(waited)) == (state, waits)


@pytest.mark.parametrize("kept", [True, False])
def test_how_an_attempt_ended_has_room_on_a_disk_that_stays_full(
    layout: RunLayout, disk: dict[str, bool], monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    recorder = made(layout)
    recorder.update_run(epochs=3)
    if kept:
        recorder.keep_room()
    disk["full"] = True
    freed = Path.unlink

    def unlink(path: Path, missing_ok: bool = False) -> None:
        disk["full"] = disk["full"] and not path.exists()
        freed(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    recorder.crashed(OSError(28, "No space left on device"), epoch=1, batch=3)
    assert json.loads(layout.run_json.read_text(encoding="utf-8"))["state"] == ("crashed" if kept else "running")
    assert not (layout.guard / ".room").exists()


def test_room_is_not_kept_where_a_link_leads(layout: RunLayout, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("kept", encoding="utf-8")
    (layout.guard / ".room").symlink_to(tmp_path / "mine")
    made(layout).keep_room()
    assert (tmp_path / "mine").read_text(encoding="utf-8") == "kept"
    assert (layout.guard / ".room").stat().st_size == recorder_module.ROOM_BYTES
