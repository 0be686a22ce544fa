"""What ``squeue``, ``sacct`` and ``scontrol show config`` print, typed. Pure.

Recorded on Slurm 22.05. ``squeue --json`` is no option: with the controller down it says ``jobs: []`` and ends with 0,
and its form changes with the version.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, replace
from typing import Final

from trainmaster.bot.errors import DriverError
from trainmaster.trainer.jobs.script import time_limit_s

FIELD_END: Final = "\x1f"
ROW_END: Final = "\x1e"
"""Before the word of the question: a job's name and comment may hold anything, also what ends a field, and they are any
user's to choose. Nobody can know a word that is drawn anew with each question."""

QUEUE_FIELDS: Final = (
    *("JobID", "State", "Reason", "RestartCnt", "SubmitTime", "StartTime", "EndTime", "PreemptTime"),
    *("TimeLimit", "exit_code", "ArrayJobID", "ArrayTaskID"),
    *("Partition", "NodeList", "Cluster", "Name", "Comment"),
)
_HEADING: Final = "JOBID"
"""What stands above the numbers of the jobs."""

MEMORY_FIELDS: Final = (
    *("JobIDRaw", "State", "ExitCode", "Submit", "Start", "End", "Timelimit"),
    *("Partition", "NodeList", "JobName"),
)
"""For ``sacct -P -o``. Not its ``--json``, which says exit 0 of a job that ended with 3; the comment is only kept where
AccountingStoreFlags says so."""

_MAX_STATUS: Final = 0xFFFF
"""Of a wait status; beyond are Slurm's own numbers for none (slurm/slurm.h, NO_VAL)."""
_NOTHING: Final = frozenset({"", "N/A", "n/a", "(null)", "None", "None assigned", "Unknown", "NONE"})


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """A job as ``squeue`` or ``sacct`` shows it. Times are of the controller's clock."""

    id: str
    state: str
    task: str | None = None
    """Of an array's task: its name in there, "7_3"."""
    reason: str = ""
    restarts: int | None = None
    """None from ``sacct``, which does not count them."""
    submit_ts: float | None = None
    start_ts: float | None = None
    end_ts: float | None = None
    preempt_ts: float | None = None
    limit_s: float | None = None
    """How long it may run; None where nothing limits it."""
    exit_code: int | None = None
    signal: int | None = None
    partition: str | None = None
    node: str | None = None
    cluster: str | None = None
    name: str = ""
    comment: str = ""


def queue_format(word: str) -> str:
    """For ``squeue -O``: a width of none, so nothing is cut, and what ends each field."""
    return ",".join(f"{field}:{ROW_END if field == QUEUE_FIELDS[-1] else FIELD_END}{word}" for field in QUEUE_FIELDS)


def parse_queue(text: str, word: str = "") -> tuple[JobRow, ...]:
    """Every row of ``squeue -t all -O``, asked with :func:`queue_format`. A heading alone is an empty queue; without
    that, and without a row, nobody answered, whatever the exit code says (a site's own ``squeue`` that keeps answers, a
    full disk).

    Raises:
        DriverError: it is something else, or was cut off, so nothing is known.
    """
    rows = []
    answered = False
    *records, rest = text.split(ROW_END + word)
    if rest.strip():
        raise _odd("squeue", rest)
    for record in records:
        line = record.strip("\n")
        if not line.strip():
            continue
        fields = line.split(FIELD_END + word, len(QUEUE_FIELDS) - 1)  # a comment may hold a line break
        if len(fields) != len(QUEUE_FIELDS):
            raise _odd("squeue", line)
        noise, _, fields[0] = fields[0].rpartition("\n")  # what a site's own squeue says before it answers
        if "error" in noise.lower():
            raise _odd("squeue", noise)
        if fields[0].strip() != _HEADING or answered:
            rows.append(_queue_row(dict(zip(QUEUE_FIELDS, fields, strict=True))))
        answered = True
    if not answered:
        raise _odd("squeue", text)
    return tuple(rows)


def _task(array: str, number: str) -> str | None:
    return f"{array}_{number}" if array.isdecimal() and number.isdecimal() else None


def _queue_row(fields: dict[str, str]) -> JobRow:
    text = {name: value.strip() for name, value in fields.items()}
    if not text["JobID"].isdecimal() or not text["State"].isupper():
        raise _odd("squeue", " ".join(fields.values()))
    code, signum = _wait_status(text["exit_code"])
    return JobRow(
        id=text["JobID"],
        state=text["State"],
        task=_task(text["ArrayJobID"], text["ArrayTaskID"]),
        reason=_word(text["Reason"].strip("()")) or "",
        restarts=int(text["RestartCnt"]) if text["RestartCnt"].isdecimal() else 0,
        submit_ts=_time(text["SubmitTime"]),
        start_ts=_time(text["StartTime"]),
        end_ts=_time(text["EndTime"]),
        preempt_ts=_time(text["PreemptTime"]),
        limit_s=time_limit_s(text["TimeLimit"]),
        exit_code=code,
        signal=signum,
        partition=_word(text["Partition"]),
        node=_word(text["NodeList"]),
        cluster=_word(text["Cluster"]),
        name=text["Name"],
        comment=_word(text["Comment"]) or "",
    )


def parse_memory(text: str) -> tuple[JobRow, ...]:
    """The jobs of ``sacct -P -n -D -o MEMORY_FIELDS``, the newest of each number last. A cancelled job's own exit code
    stands in the row of its batch step only.

    Raises:
        DriverError: it is something else, so nothing is known.
    """
    rows: list[JobRow] = []
    batch: dict[str, tuple[int | None, int | None]] = {}
    for line in text.splitlines():
        if not line.strip():
            continue
        fields = line.split("|", len(MEMORY_FIELDS) - 1)  # the name, which may hold a bar, is the last
        if len(fields) != len(MEMORY_FIELDS):
            raise _odd("sacct", line)
        row = _memory_row(dict(zip(MEMORY_FIELDS, fields, strict=True)))
        number, _, step = row.id.partition(".")
        if step == "batch":
            batch[number] = (row.exit_code, row.signal)
        elif not step:
            rows.append(row)
    return tuple(_with_batch(row, batch.get(row.id)) for row in rows)


def _with_batch(row: JobRow, ending: tuple[int | None, int | None] | None) -> JobRow:
    if ending is None or not row.state.startswith("CANCELLED"):
        return row
    return replace(row, exit_code=ending[0], signal=ending[1])


def _memory_row(text: dict[str, str]) -> JobRow:
    code, _, signum = text["ExitCode"].partition(":")
    if not code.isdecimal() or not signum.isdecimal() or not text["JobIDRaw"][:1].isdecimal():
        raise _odd("sacct", " ".join(text.values()))
    return JobRow(
        id=text["JobIDRaw"],
        state=text["State"].partition(" ")[0],  # "CANCELLED by 0"
        submit_ts=_time(text["Submit"]),
        start_ts=_time(text["Start"]),
        end_ts=_time(text["End"]),
        limit_s=time_limit_s(text["Timelimit"]),
        exit_code=int(code) if not int(signum) else None,
        signal=_real(int(signum)),
        partition=_word(text["Partition"]),
        node=_word(text["NodeList"]),
        name=text["JobName"],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterConfig:
    """What of ``scontrol show config`` matters here; a time that it does not tell is None."""

    name: str | None = None
    version: str | None = None
    kill_wait_s: float | None = None
    min_job_age_s: float | None = None
    requeues: bool | None = None
    accounting: bool | None = None
    hides_jobs: bool = False
    """Whether people see no jobs but their own, so that a job not shown need not be over."""


def parse_config(text: str) -> ClusterConfig:
    """The settings of ``scontrol show config``.

    Raises:
        DriverError: it is something else.
    """
    values = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals:
            values[name.strip()] = value.strip()
    if "ClusterName" not in values:
        raise _odd("scontrol show config", text)
    storage = values.get("AccountingStorageType")
    return ClusterConfig(
        name=values["ClusterName"],
        version=values.get("SLURM_VERSION"),
        kill_wait_s=_seconds(values.get("KillWait")),
        min_job_age_s=_seconds(values.get("MinJobAge")),
        requeues=values["JobRequeue"] == "1" if "JobRequeue" in values else None,
        accounting=None if storage is None else not storage.endswith(("/none", "(null)")),
        hides_jobs="jobs" in values.get("PrivateData", "").split(","),
    )


def _real(signum: int) -> int | None:
    """A signal of the system; Slurm has numbers of its own beyond, as 125 for a job out of memory (slurm/slurm.h,
    SIG_OOM)."""
    return signum if 0 < signum <= signal.SIGRTMAX else None


def _wait_status(text: str) -> tuple[int | None, int | None]:
    """As ``waitpid`` tells it: 768 is exit code 3."""
    if not text.isdecimal() or int(text) > _MAX_STATUS:
        return None, None
    status = int(text)
    if os.WIFSIGNALED(status):
        return None, _real(os.WTERMSIG(status))
    return os.WEXITSTATUS(status), None


def _time(text: str) -> float | None:
    """Seconds since the epoch, which SLURM_TIME_FORMAT=%s asks for."""
    return float(text) if text.isdecimal() else None


def _seconds(text: str | None) -> float | None:
    number = (text or "").split(" ")[0]
    return float(number) if number.isdecimal() else None


def _word(text: str) -> str | None:
    return None if text in _NOTHING else text


def _odd(command: str, text: str) -> DriverError:
    shown = text.replace(FIELD_END, "|").replace(ROW_END, "").strip()[:120]
    return DriverError(
        "cluster-answer", f"{command} answered something else than expected: {shown!r}.", "trainmaster doctor"
    )
