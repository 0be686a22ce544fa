"""Whose run a directory holds, and who waits for whom."""

from __future__ import annotations

import io
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.cli import again
from trainmaster.trainer.contract import RunLayout, replace_json
from trainmaster.trainer.jobs.environment import KEY_VARIABLE, RUN_ID_VARIABLE
from trainmaster.trainer.jobs.ownership import Owner, owner_of, signed_in_before
from trainmaster.trainer.records import run_directory
from trainmaster.trainer.records.recorder import Recorder
from trainmaster.trainer.records.run_directory import RunInUseError, RunLock, set_aside

JOB = {"SLURM_JOB_ID": "10", "SLURM_CLUSTER_NAME": "lab"}


def layout_with(folder: Path, **record: Any) -> RunLayout:
    layout = RunLayout(folder / "train")
    layout.guard.mkdir(parents=True)
    replace_json(layout.run_json, {"run": "abc", **record})
    return layout


@pytest.mark.parametrize(
    ("record", "environ", "owner"),
    [
        pytest.param({}, {RUN_ID_VARIABLE: "abc"}, Owner.OURS, id="named by its submission"),
        pytest.param({}, {RUN_ID_VARIABLE: "other", **JOB}, Owner.ANOTHER, id="another was named"),
        pytest.param({"job": {"id": "10", "cluster": "lab"}}, JOB, Owner.OURS, id="the same job, by hand"),
        pytest.param({"job": {"id": "11", "cluster": "lab"}}, JOB, Owner.ANOTHER, id="another job"),
        pytest.param({"job": {"id": "10", "cluster": "den"}}, JOB, Owner.ANOTHER, id="another cluster"),
        pytest.param({}, JOB, Owner.ANOTHER, id="a run of no job"),
        pytest.param({"launch_key": "k"}, {KEY_VARIABLE: "k"}, Owner.OURS, id="the same launch"),
        pytest.param({"argv": ["python", "x", "train", "a=1"]}, {}, Owner.OURS, id="the same command"),
        pytest.param({"argv": ["python", "x", "train", "a=2"]}, {}, Owner.ANOTHER, id="another command"),
    ],
)
def test_run_is_ours_by_what_started_it(
    tmp_path: Path, record: dict[str, Any], environ: dict[str, str], owner: Owner
) -> None:
    assert owner_of(layout_with(tmp_path, **record), environ, ["train", "a=1"]) is owner


def test_empty_directory_is_nobody_s(tmp_path: Path) -> None:
    assert owner_of(RunLayout(tmp_path), JOB) is Owner.NOBODY


def test_run_whose_record_is_torn_is_gone_on_with_by_its_own_job_and_by_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut its job is queued again: it began at epoch 1, and all that was trained was put aside."""
    layout = layout_with(tmp_path)
    layout.run_json.write_text("")
    layout.weights.mkdir()
    (layout.weights / "last.pt").write_bytes(b"")
    monkeypatch.setattr(again, "_candidates", lambda _given: [layout.root])
    with pytest.raises(ArgumentsError, match="is torn"):
        again.own_run({"exist_ok": True})
    assert again.own_run({}) is None
    monkeypatch.setenv(RUN_ID_VARIABLE, "abc")
    assert again.own_run({"exist_ok": True}) == layout
    layout.run_json.unlink()
    assert again.own_run({"exist_ok": True}) == layout
    layout.run_json.touch()
    with pytest.raises(ArgumentsError, match="would start at epoch 1"):
        set_aside(layout)
    assert layout.run_json.exists()


def test_launch_has_signed_in_once_its_record_says_so(tmp_path: Path) -> None:
    layout = layout_with(tmp_path, launch_key="k", state="submitted")
    assert not signed_in_before(layout, {KEY_VARIABLE: "k"})
    replace_json(layout.run_json, {"run": "abc", "launch_key": "k", "state": "running"})
    assert signed_in_before(layout, {KEY_VARIABLE: "k"})
    assert not signed_in_before(layout, {KEY_VARIABLE: "other"})


def test_requeued_job_starts_its_run_anew_only_while_nothing_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = layout_with(tmp_path, job={"id": "10", "cluster": "lab"})
    for name, value in {**JOB, "SLURM_RESTART_COUNT": "1"}.items():
        monkeypatch.setenv(name, value)
    set_aside(layout)
    assert layout.run_json.exists()
    layout.weights.mkdir()
    (layout.weights / "last.pt").write_bytes(b"")
    with pytest.raises(ArgumentsError, match="would start at epoch 1"):
        set_aside(layout)
    assert layout.run_json.exists()


def test_another_job_s_run_is_still_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = layout_with(tmp_path, job={"id": "9", "cluster": "lab"})
    for name, value in {**JOB, "SLURM_RESTART_COUNT": "1"}.items():
        monkeypatch.setenv(name, value)
    set_aside(layout)
    assert not layout.run_json.exists()


def test_record_names_its_job_and_launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**JOB, KEY_VARIABLE: "k", RUN_ID_VARIABLE: "abc"}.items():
        monkeypatch.setenv(name, value)
    recorder = Recorder(RunLayout(tmp_path), warn=print)
    assert recorder.run == "abc"
    assert recorder._run.job is not None
    assert (recorder._run.job.id, recorder._run.launch_key) == ("10", "k")


def test_pid_of_another_host_does_not_keep_a_lock_s_next_owner_out(tmp_path: Path) -> None:
    """Each node counts its own pids: the number of the holder may be anybody's here."""
    layout = RunLayout(tmp_path)
    held = RunLock(layout)
    os.pwrite(held._descriptor or 0, f"{os.getpid()} elsewhere boot\n".encode(), 0)
    threading.Timer(0.3, held.release).start()
    RunLock(layout, patience_s=5).release()


def test_lock_of_a_living_trainer_of_this_host_is_refused_at_once(tmp_path: Path) -> None:
    held = RunLock(RunLayout(tmp_path))
    began = time.monotonic()
    with pytest.raises(RunInUseError, match=f"pid {os.getpid()} on "):
        RunLock(RunLayout(tmp_path), patience_s=60)
    assert time.monotonic() - began < 5
    held.release()


def test_requeued_trainer_waits_for_the_one_before_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_directory, "HEARTBEAT_WATCH_S", 0.1)
    held = RunLock(RunLayout(tmp_path))
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    threading.Timer(0.5, held.release).start()
    RunLock(RunLayout(tmp_path)).release()
    assert "waiting" in capsys.readouterr().out


def test_word_that_it_waits_is_in_the_file_that_a_job_writes_to_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_directory, "HEARTBEAT_WATCH_S", 0.1)
    held, written = RunLock(RunLayout(tmp_path)), io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written))
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    threading.Timer(0.1, held.release).start()
    RunLock(RunLayout(tmp_path)).release()
    assert b"waiting" in written.getvalue()


def test_requeued_trainer_refuses_where_a_lock_is_free_and_a_heartbeat_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = RunLayout(tmp_path)
    layout.guard.mkdir()
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    over = threading.Event()

    def beat() -> None:
        while not over.wait(0.1):
            replace_json(layout.heartbeat, {"ts": time.time()})

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        with pytest.raises(RunInUseError, match="locks don't hold"):
            RunLock(layout)
    finally:
        over.set()
        thread.join()
