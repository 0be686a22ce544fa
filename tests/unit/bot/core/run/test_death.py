"""Why a training is over, and who decides what becomes of it: the rules of docs/going-on.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trainmaster.bot.core.run.death import DeathCause, DeathClass, class_of, death_of
from trainmaster.bot.core.run.facts import Event, LogError, OomEvidence, ProcessFact, ProcessStatus, RunRecord
from trainmaster.bot.core.run.job import EndCause, JobFact
from trainmaster.bot.core.run.parsing import heartbeat_of
from trainmaster.bot.core.run.view import RunView

SEEN_TS = 1000.0


def dead(
    *,
    state: str = "running",
    error: str | None = None,
    log: str = "",
    log_kind: str = "exception",
    log_ts: float = SEEN_TS,
    stop_asked: bool = False,
    job: EndCause | None = None,
    a_job: bool = False,
    limit_ts: float | None = None,
    restarts: int = 0,
    ended_ts: float | None = None,
    stop_ts: float = 1.0,
    place: tuple[int | None, int | None] | None = None,
    beat_batch: int = 40,
    phase: str = "training",
    guarded: bool = False,
    outlived: bool = False,
    status: ProcessStatus = ProcessStatus.GONE,
    **process: Any,
) -> RunView:
    """A run whose second attempt is over in its third epoch."""
    record = RunRecord.parse(
        {
            "run": "r",
            "attempt": 2,
            "pid": 7,
            "state": state,
            "layers": [{"layer": "1"}] if guarded else [],
            "job": {"id": "12"} if a_job or job is not None else None,
        }
    )
    events = []
    if error is not None:
        where = {} if place is None else {"epoch": place[0], "batch": place[1]}
        events.append(Event(ts=1.0, run="r", attempt=2, seq=1, kind="run_crashed", data={"error": error, **where}))
    if stop_asked:
        events.append(Event(ts=stop_ts, run="r", attempt=2, seq=2, kind="stop_requested", data={}))
    said = LogError(ts=log_ts, kind=log_kind, detail=log, text=log, in_child=False, digest="0", outlived=outlived)
    errors = [said] if log else []
    fact = (
        JobFact(id="12", cause=job, start_ts=0.0, limit_ts=limit_ts, restarts=restarts, end_ts=ended_ts)
        if job is not None
        else None
    )
    return RunView(
        directory=Path("r"),
        name="r",
        ts=SEEN_TS,
        first_seen_ts=0.0,
        record=record,
        heartbeat=heartbeat_of({"ts": 990.0, "attempt": 2, "phase": phase, "epoch": 3, "batch": beat_batch}),
        beat_seen_ts=SEEN_TS,
        process=ProcessFact(status=status, ts=SEEN_TS, job=fact, **process),
        notable=tuple(events),
        log_errors=tuple(errors),
    )


AGAIN = {"job": EndCause.FAILED, "restarts": 1}
"""The job was queued again; the record is of the start before."""
ASKED = {"stop_asked": True}
CRASHED = {"state": "crashed", "exit_code": 1}
AT_LIMIT = {"state": "stopped", "job": EndCause.FAILED, "limit_ts": 86_400.0, "stop_asked": True}
OOM_JOB = {"job": EndCause.OUT_OF_MEMORY, "signal": 125}
WORKER_GONE = "RuntimeError: DataLoader worker (pid(s) 9) exited unexpectedly"
RULES = [
    # The trainer's own word.
    ("asked to stop", {"state": "stopped", "exit_code": 3}, DeathCause.STOPPED),
    ("gave up", {"state": "gave_up", "exit_code": 4}, DeathCause.GAVE_UP),
    ("refused", {"state": "refused", "exit_code": 5}, DeathCause.REFUSED),
    ("asked to stop, then killed", {"signal": 9, "stop_asked": True}, DeathCause.STOPPED),
    ("interrupted while it started", {"signal": 2}, DeathCause.STOPPED),
    ("gave up, left no record", {"exit_code": 4}, DeathCause.GAVE_UP),
    # Killed.
    ("kill -9", {"signal": 9}, DeathCause.KILLED),
    ("kill -9, not by the killer", {"signal": 9, "oom": OomEvidence.NONE}, DeathCause.KILLED),
    ("kill -9 as a shell tells", {"exit_code": 137}, DeathCause.KILLED),
    ("hung up while it started", {"signal": 1}, DeathCause.KILLED),
    ("vanished without a word", {}, DeathCause.KILLED),
    ("its pid was given away", {"status": ProcessStatus.REPLACED}, DeathCause.KILLED),
    ("a zombie", {"status": ProcessStatus.ZOMBIE, "signal": 9}, DeathCause.KILLED),
    ("the log says Killed", {"log": "Killed", "log_kind": "killed"}, DeathCause.KILLED),
    ("an old error in the log", {"log": "ValueError: x", "log_ts": 10.0}, DeathCause.KILLED),
    ("kill -9, and an error in the log", {"signal": 9, "log": "ValueError: x"}, DeathCause.KILLED),
    # Memory of the host.
    ("out of memory in its group", {"signal": 9, "oom": OomEvidence.OWN_GROUP}, DeathCause.HOST_MEMORY),
    ("out of memory on the host", {"signal": 9, "oom": OomEvidence.HOST}, DeathCause.HOST_MEMORY),
    ("exit code 1, its group out of memory", {"exit_code": 1, "oom": OomEvidence.OWN_GROUP}, DeathCause.HOST_MEMORY),
    ("gave up, a worker killed", {"exit_code": 4, "oom": OomEvidence.OWN_GROUP}, DeathCause.GAVE_UP),
    ("stopped on request, a worker killed", {"exit_code": 3, "oom": OomEvidence.OWN_GROUP}, DeathCause.STOPPED),
    ("a stranger, the killer at work", {"oom": OomEvidence.HOST}, DeathCause.HOST_MEMORY),
    ("a worker killed", CRASHED | {"error": "RuntimeError: DataLoader worker (pid 9) is killed by signal: Killed."}),
    ("MemoryError", CRASHED | {"error": "MemoryError: Unable to allocate 3.1 GiB"}, DeathCause.HOST_MEMORY),
    ("job out of memory", {"job": EndCause.OUT_OF_MEMORY, "signal": 9}, DeathCause.HOST_MEMORY),
    ("a worker gone, job out of memory", OOM_JOB | CRASHED | {"error": WORKER_GONE}, DeathCause.HOST_MEMORY),
    ("an error, a worker killed before", OOM_JOB | CRASHED | {"error": "KeyError: 'x'"}, DeathCause.CODE),
    ("stopped on request, a worker killed before", OOM_JOB | {"state": "stopped"}, DeathCause.STOPPED),
    ("its limit, a worker killed before", AT_LIMIT | OOM_JOB | {"stop_ts": 86_000.0}, DeathCause.TIME_LIMIT),
    # The device and the ranks.
    ("launch failure", CRASHED | {"error": "RuntimeError: CUDA error: unspecified launch failure"}, DeathCause.DEVICE),
    ("HIP error", CRASHED | {"error": "RuntimeError: HIP error: unspecified launch failure"}, DeathCause.DEVICE),
    ("cuDNN", CRASHED | {"error": "RuntimeError: cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"}, DeathCause.DEVICE),
    ("ECC", CRASHED | {"error": "AcceleratorError: CUDA error: uncorrectable ECC error"}, DeathCause.DEVICE),
    ("NCCL", CRASHED | {"error": "DistBackendError: NCCL error in ProcessGroupNCCL.cpp:1970"}, DeathCause.RANKS),
    (
        "aborted by NCCL's watchdog",
        {"signal": 6, "log": "NCCL: collective operation timeout"},
        DeathCause.RANKS,
    ),
    ("device memory", CRASHED | {"error": "OutOfMemoryError: CUDA out of memory. Tried"}, DeathCause.DEVICE_MEMORY),
    # The cluster and the power.
    ("preempted", {"state": "stopped", "job": EndCause.PREEMPTED}, DeathCause.PREEMPTED),
    ("node lost", {"job": EndCause.NODE_FAIL}, DeathCause.NODE_LOST),
    ("time limit, saved", {"state": "stopped", "job": EndCause.TIMEOUT}, DeathCause.TIME_LIMIT),
    ("asked before its limit, saved", AT_LIMIT | {"stop_ts": 86_000.0}, DeathCause.TIME_LIMIT),
    ("asked before its limit, killed", AT_LIMIT | {"stop_ts": 86_000.0, "state": "running"}, DeathCause.TIME_LIMIT),
    ("asked before its limit, the node's clock ahead", AT_LIMIT | {"stop_ts": 86_600.0}, DeathCause.TIME_LIMIT),
    ("asked long before its limit", AT_LIMIT | {"stop_ts": 80_000.0}, DeathCause.STOPPED),
    ("asked after its first limit", AT_LIMIT | {"stop_ts": 90_000.0}, DeathCause.STOPPED),
    ("a short job asked at half time", AT_LIMIT | {"limit_ts": 600.0, "stop_ts": 300.0}, DeathCause.STOPPED),
    ("a short job asked before its limit", AT_LIMIT | {"limit_ts": 600.0, "stop_ts": 450.0}, DeathCause.TIME_LIMIT),
    ("cancelled before its limit", AT_LIMIT | {"job": EndCause.CANCELLED, "stop_ts": 86_000.0}, DeathCause.CANCELLED),
    ("cancelled by a person", {"state": "stopped", "job": EndCause.CANCELLED}, DeathCause.CANCELLED),
    ("a job that asked itself to stop", {"state": "stopped", "job": EndCause.FAILED}, DeathCause.STOPPED),
    ("a job killed", {"job": EndCause.FAILED, "signal": 9}, DeathCause.KILLED),
    ("a later start stopped before it signed in", AGAIN | {"state": "stopped", "exit_code": 3}, DeathCause.KILLED),
    ("a later start stopped, the one before lost", AGAIN | {"exit_code": 3}, DeathCause.KILLED),
    ("a later start killed, the one before was asked to end", AGAIN | ASKED | {"signal": 9}, DeathCause.KILLED),
    ("a later start that its node refused", AGAIN | {"exit_code": 1, "ended_ts": 1.0}, DeathCause.NODE_REFUSED),
    ("a later start that failed of itself", AGAIN | {"exit_code": 1, "ended_ts": 9.0}, DeathCause.UNKNOWN),
    ("a later start with bad arguments", AGAIN | {"exit_code": 2, "ended_ts": 1.0}, DeathCause.CODE),
    ("a later start cancelled", AGAIN | {"job": EndCause.CANCELLED, "exit_code": 3}, DeathCause.CANCELLED),
    ("the first start refused", AGAIN | {"restarts": 0, "exit_code": 1, "ended_ts": 1.0}, DeathCause.UNKNOWN),
    ("a job that was forgotten", {"a_job": True}, DeathCause.UNKNOWN),
    ("power", {"rebooted": True}, DeathCause.POWER),
    # The disk.
    ("full disk", CRASHED | {"error": "OSError: [Errno 28] No space left on device"}, DeathCause.DISK_FULL),
    # Code and data.
    ("a type", CRASHED | {"error": "TypeError: 'NoneType' object is not iterable"}, DeathCause.CODE),
    ("a shape", CRASHED | {"error": "RuntimeError: The size of tensor a (3) must match the size of tensor b (4)"}),
    ("a label out of range", CRASHED | {"error": "RuntimeError: CUDA error: device-side assert triggered"}),
    ("a file that is gone", CRASHED | {"error": "FileNotFoundError: [Errno 2] No such file"}, DeathCause.CODE),
    ("bad arguments", {"exit_code": 2}, DeathCause.CODE),
    ("a kernel that was not built", CRASHED | {"error": "AcceleratorError: CUDA error: no kernel image is available"}),
    # Nobody can tell.
    ("a worker that ended", CRASHED | {"error": "RuntimeError: DataLoader worker (pid(s) 9) exited unexpectedly"}),
    (
        "a worker that ended, the killer at work",
        CRASHED | {"error": "RuntimeError: DataLoader worker (pid(s) 9) exited unexpectedly", "oom": OomEvidence.HOST},
        DeathCause.HOST_MEMORY,
    ),
    ("a crash without words", CRASHED, DeathCause.UNKNOWN),
    ("an error of no known kind", CRASHED | {"error": "RuntimeError: something odd"}, DeathCause.UNKNOWN),
    ("exit code 1, no word", {"exit_code": 1}, DeathCause.UNKNOWN),
    ("exit code 0, no word", {"exit_code": 0}, DeathCause.UNKNOWN),
    ("quit from a terminal", {"signal": 3}, DeathCause.UNKNOWN),
    ("more processor time than its shell allows", {"signal": 24}, DeathCause.UNKNOWN),
    ("Slurm's word for a log that can't be written", {"job": EndCause.FAILED, "signal": 53}, DeathCause.UNKNOWN),
    ("a user's signal, as a shell tells", {"exit_code": 138}, DeathCause.UNKNOWN),
    ("exit code -1, as a shell tells", {"exit_code": 255}, DeathCause.UNKNOWN),
    ("a segmentation fault", {"signal": 11}, DeathCause.NATIVE),
    ("aborted", {"signal": 6, "log": "ValueError: x"}, DeathCause.NATIVE),
]
_BY_NAME = {
    "a worker killed": DeathCause.HOST_MEMORY,
    "a shape": DeathCause.CODE,
    "a kernel that was not built": DeathCause.CODE,
    "a worker that ended": DeathCause.UNKNOWN,
    "a label out of range": DeathCause.CODE,
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule[0]))
def test_a_death_has_the_cause_of_the_first_rule_that_fits(rule: tuple[Any, ...]) -> None:
    name, told, *cause = rule
    death = death_of(dead(**told))
    assert death is not None
    assert death.cause is (cause[0] if cause else _BY_NAME[name])


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        *((cause, DeathClass.PERSON) for cause in ("stopped", "gave_up", "refused", "code", "cancelled")),
        *((cause, DeathClass.UNKNOWN) for cause in ("unknown", "native", "device_memory")),
        *((cause, DeathClass.TRANSIENT) for cause in ("host_memory", "killed", "device", "ranks", "preempted")),
        *(
            (cause, DeathClass.TRANSIENT)
            for cause in ("node_lost", "node_refused", "time_limit", "disk_full", "power", "hang")
        ),
    ],
)
def test_every_cause_has_its_class(cause: str, kind: DeathClass) -> None:
    assert class_of(DeathCause(cause)) is kind


@pytest.mark.parametrize(
    "alive",
    [
        pytest.param({"status": ProcessStatus.ALIVE}, id="alive"),
        pytest.param({"status": ProcessStatus.UNKNOWN}, id="nobody answers"),
        pytest.param({"status": ProcessStatus.PENDING}, id="queued again"),
        pytest.param({"status": ProcessStatus.SUSPENDED}, id="suspended"),
        pytest.param({"status": ProcessStatus.ALIVE, "state": "crashed"}, id="its record ended, its process did not"),
        pytest.param({"status": ProcessStatus.UNKNOWN, "state": "crashed", "error": "x"}, id="crashed elsewhere"),
        pytest.param({"state": "finished"}, id="finished"),
    ],
)
def test_what_may_still_live_has_not_died(alive: dict[str, Any]) -> None:
    assert death_of(dead(**alive)) is None


def test_the_same_fault_in_the_same_place_is_one_artefact() -> None:
    one, other = (death_of(dead(**CRASHED, error="RuntimeError: CUDA error: x")) for _ in range(2))
    assert one is not None
    assert other is not None
    assert one.artefact
    assert one.artefact == other.artefact


def test_a_kill_leaves_no_artefact() -> None:
    death = death_of(dead(signal=9))
    assert death is not None
    assert death.artefact == ""


CAUGHT = [
    "KeyError: 'session'",
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
    "RuntimeError: CUDA error: an illegal memory access was encountered",
    "torch.distributed.DistBackendError: NCCL error in: x.cpp:1970, unhandled system error",
    "MemoryError: Unable to allocate 3.1 GiB",
    "RuntimeError: something odd",
]


@pytest.mark.parametrize("said", CAUGHT)
@pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "unguarded"])
def test_an_error_that_training_went_on_after_did_not_end_it(said: str, guarded: bool) -> None:
    death = death_of(dead(log=said, outlived=True, guarded=guarded))
    assert death is not None
    assert (death.cause, death.error, death.artefact) == (DeathCause.KILLED, "", "")


@pytest.mark.parametrize("said", CAUGHT)
def test_an_abort_long_after_a_caught_error_is_not_its_work(said: str) -> None:
    death = death_of(dead(log=said, outlived=True, signal=6))
    assert death is not None
    assert death.cause is DeathCause.NATIVE


@pytest.mark.parametrize(
    ("told", "cause"),
    [
        pytest.param({"guarded": True}, DeathCause.UNKNOWN, id="its guard would have told"),
        pytest.param({"guarded": True, "phase": "validating"}, DeathCause.UNKNOWN, id="in validation"),
        pytest.param({"guarded": True, "phase": "startup"}, DeathCause.CODE, id="before its guard could tell"),
        pytest.param({"guarded": True, "exit_code": 1}, DeathCause.CODE, id="the exit code of an exception"),
        pytest.param({"guarded": True, "error": "KeyError: 'x'", "phase": "ended"}, DeathCause.CODE, id="it told"),
        pytest.param({}, DeathCause.CODE, id="nobody guards it"),
    ],
)
def test_an_exception_in_the_log_of_a_guarded_run_needs_its_word(told: dict[str, Any], cause: DeathCause) -> None:
    """It writes down what ends it before Python prints it, so a traceback alone was caught, perhaps."""
    death = death_of(dead(**{"log": "KeyError: 'session'"} | told))
    assert death is not None
    assert death.cause is cause


def test_a_crash_on_record_that_training_went_on_after_did_not_end_it() -> None:
    """Of a run that nobody guards, each error of its console is on record as it is read."""
    death = death_of(dead(error="KeyError: 'session'"))
    assert death is not None
    assert death.cause is DeathCause.KILLED
    ended = death_of(dead(error="KeyError: 'session'", phase="ended"))
    assert ended is not None
    assert ended.cause is DeathCause.CODE


def artefact(**told: Any) -> str:
    death = death_of(dead(**CRASHED, **told))
    assert death is not None
    return death.artefact


def test_a_fault_is_where_its_record_says_whenever_the_last_heartbeat_was() -> None:
    error = "MemoryError: Unable to allocate 40.0 GiB for 7.jpg"
    one = artefact(error=error, place=(3, 41), beat_batch=40)
    assert one
    assert one == artefact(error=error, place=(3, 41), beat_batch=0)
    assert one != artefact(error=error, place=(3, 42), beat_batch=40)
    assert one != artefact(error=error, place=(4, 41), beat_batch=40)


def test_the_record_of_an_older_trainer_is_placed_by_the_last_heartbeat() -> None:
    assert artefact(error="CUDA error: x", beat_batch=40) == artefact(
        error="CUDA error: x", place=(3, 40), beat_batch=1
    )


def test_an_error_before_the_first_epoch_has_no_place() -> None:
    assert artefact(error="CUDA error: x", place=(None, None)) == ""


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("DataLoader worker (pid(s) 11) exited unexpectedly", "DataLoader worker (pid(s) 12, 13) exited unexpectedly"),
        ("CUDA error: x at <L object at 0x7f1200aa10>", "CUDA error: x at <L object at 0x7f99001230>"),
        ("NCCL error: connect to 10.0.0.1:29500 failed", "NCCL error: connect to 10.0.0.1:41234 failed"),
        ("connect to (127.0.0.1, 29500)", "connect to (127.0.0.1, 41234)"),
        ("[rank1]: NCCL error: x", "[rank3]: NCCL error: x"),
        (
            "[Rank 1] WorkNCCL(SeqNum=17) ran for 600012 milliseconds",
            "[Rank 0] WorkNCCL(SeqNum=912) ran for 600090 milliseconds",
        ),
        ("unable to open /tmp/tmpab12cd34/x", "unable to open /tmp/tmpzz99yy88/x"),
        (
            "unable to open shared memory object </torch_41_99_3>",
            "unable to open shared memory object </torch_7_12345_0>",
        ),
        ("CUDA error: x, process 4711 has it", "CUDA error: x, process 9 has it"),
        ("2026-11-29 10:30:01,123 CUDA error: x", "2026-11-30T00:00:00 CUDA error: x"),
        ("Caught x in DataLoader worker process 0.", "Caught x in DataLoader worker process 3."),
    ],
)
def test_what_differs_by_nature_does_not_make_another_fault(one: str, other: str) -> None:
    place = (3, 41)
    assert artefact(error=f"RuntimeError: {one}", place=place) == artefact(error=f"RuntimeError: {other}", place=place)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Unable to allocate 40.0 GiB for 7.jpg", "Unable to allocate 40.0 GiB for 8.jpg"),
        ("The size of tensor a (3) must match", "The size of tensor a (4) must match"),
        ("index 7 is out of bounds", "index 8 is out of bounds"),
        ("CUDA error 700", "CUDA error 719"),
        ("CUDNN error 0x10 in layer 7", "CUDNN error 0x11 in layer 7"),
    ],
)
def test_what_tells_faults_apart_is_kept(one: str, other: str) -> None:
    place = (3, 41)
    assert artefact(error=f"RuntimeError: {one}", place=place) != artefact(error=f"RuntimeError: {other}", place=place)


def test_a_worker_that_was_killed_twice_is_not_one_fault() -> None:
    """As little as a trainer that was: the host ran out of memory twice."""
    assert artefact(error="RuntimeError: DataLoader worker (pid 9) is killed by signal: Killed.", place=(3, 41)) == ""


def test_a_long_text_is_cut_behind_what_differs() -> None:
    rest = " word" * 200
    place = (3, 41)
    assert artefact(error=f"CUDA error: pid 9{rest}", place=place) == artefact(
        error=f"CUDA error: pid 12345{rest}", place=place
    )
