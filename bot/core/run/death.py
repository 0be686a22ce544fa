"""Why a training is over without being finished, and whether it may go on without a person. Pure; the rules are those
of docs/going-on.md, and the first one that fits counts."""

from __future__ import annotations

import re
import signal as signals
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from trainmaster.bot.core.run.death_signs import Sign, sign_of
from trainmaster.bot.core.run.facts import Event, OomEvidence, ProcessFact
from trainmaster.bot.core.run.job import EndCause
from trainmaster.bot.core.run.state import RunState, is_later_start, node_refused
from trainmaster.bot.core.run.view import RunView
from trainmaster.trainer.contract import EventKind, ExitCode, Phase


class DeathClass(StrEnum):
    """Who decides what becomes of the run."""

    TRANSIENT = "transient"
    """What ended it has nothing to do with the run: the same start may well go on."""
    UNKNOWN = "unknown"
    """Nobody can tell: asked, and never gone on with alone."""
    PERSON = "person"
    """The trainer's own word, or an error that comes again: a person decides, and is told so elsewhere."""


class DeathCause(StrEnum):
    """What ended a training. The values are stored: a cause is added or retired, never changed."""

    STOPPED = "stopped"
    GAVE_UP = "gave_up"
    REFUSED = "refused"
    CODE = "code"
    CANCELLED = "cancelled"
    HOST_MEMORY = "host_memory"
    KILLED = "killed"
    DEVICE = "device"
    RANKS = "ranks"
    PREEMPTED = "preempted"
    NODE_LOST = "node_lost"
    NODE_REFUSED = "node_refused"
    TIME_LIMIT = "time_limit"
    DISK_FULL = "disk_full"
    POWER = "power"
    HANG = "hang"
    DEVICE_MEMORY = "device_memory"
    NATIVE = "native"
    UNKNOWN = "unknown"

    @property
    def text(self) -> str:
        """As a reason: "because TEXT"."""
        return _TEXTS[self]

    @property
    def root(self) -> str:
        """What is counted as one cause: a kill is the same fault whether or not the kernel told that it was short of
        memory, and a link that breaks is the card behind it as likely as not."""
        return _ROOTS.get(self, self.value)


_TEXTS: Final[Mapping[DeathCause, str]] = {
    DeathCause.STOPPED: "it was stopped on request",
    DeathCause.GAVE_UP: "its guard gave up",
    DeathCause.REFUSED: "the trainer refused its checkpoint",
    DeathCause.CODE: "an error of code or data ended it, which comes again",
    DeathCause.CANCELLED: "its job was cancelled",
    DeathCause.HOST_MEMORY: "the host ran out of memory",
    DeathCause.KILLED: "it was killed from outside, by nobody known",
    DeathCause.DEVICE: "the GPU or its driver failed",
    DeathCause.RANKS: "the link between its ranks failed",
    DeathCause.PREEMPTED: "its job made room for another one",
    DeathCause.NODE_LOST: "its node was lost",
    DeathCause.NODE_REFUSED: "its node refused to start its job",
    DeathCause.TIME_LIMIT: "its job reached its time limit",
    DeathCause.DISK_FULL: "the disk was full",
    DeathCause.POWER: "its host was restarted",
    DeathCause.HANG: "it hung and was stopped",
    DeathCause.DEVICE_MEMORY: "the GPU ran out of memory",
    DeathCause.NATIVE: "native code crashed",
    DeathCause.UNKNOWN: "how it ended is not known",
}
_ROOTS: Final = {DeathCause.HOST_MEMORY: "killed", DeathCause.RANKS: "device"}
_CLASSES: Final[Mapping[DeathCause, DeathClass]] = {
    **dict.fromkeys(
        (
            *(DeathCause.STOPPED, DeathCause.GAVE_UP, DeathCause.REFUSED),
            *(DeathCause.CODE, DeathCause.CANCELLED),
        ),
        DeathClass.PERSON,
    ),
    **dict.fromkeys((DeathCause.DEVICE_MEMORY, DeathCause.NATIVE, DeathCause.UNKNOWN), DeathClass.UNKNOWN),
}
"""All others are transient."""
_DEAD: Final = frozenset(
    {RunState.DIED, RunState.CRASHED, RunState.STOPPED, RunState.GAVE_UP, RunState.REFUSED},
)
_BY_JOB: Final = {
    EndCause.PREEMPTED: DeathCause.PREEMPTED,
    EndCause.NODE_FAIL: DeathCause.NODE_LOST,
    EndCause.BOOT_FAIL: DeathCause.NODE_LOST,
    EndCause.TIMEOUT: DeathCause.TIME_LIMIT,
    EndCause.OUT_OF_MEMORY: DeathCause.HOST_MEMORY,
    EndCause.CANCELLED: DeathCause.CANCELLED,
    EndCause.DEADLINE: DeathCause.CANCELLED,
}
_BY_SIGN: Final = {
    Sign.DEVICE_MEMORY: DeathCause.DEVICE_MEMORY,
    Sign.HOST_MEMORY: DeathCause.HOST_MEMORY,
    Sign.WORKER: DeathCause.UNKNOWN,
    Sign.RANKS: DeathCause.RANKS,
    Sign.DEVICE: DeathCause.DEVICE,
    Sign.DISK_FULL: DeathCause.DISK_FULL,
    Sign.CODE: DeathCause.CODE,
}
_FAULTS: Final = frozenset(
    {signals.SIGSEGV, signals.SIGBUS, signals.SIGABRT, signals.SIGFPE, signals.SIGILL, signals.SIGTRAP, signals.SIGSYS}
)
"""What a process does to itself."""
_KILLING: Final = frozenset({signals.SIGKILL, signals.SIGTERM, signals.SIGHUP})
"""What whoever ends a process from outside sends. Limits of a shell, terminals and programs send others."""
_BY_CODE: Final = {
    ExitCode.BAD_ARGUMENTS: DeathCause.CODE,
    ExitCode.STOPPED: DeathCause.STOPPED,
    ExitCode.GAVE_UP: DeathCause.GAVE_UP,
    ExitCode.REFUSED: DeathCause.REFUSED,
}
_SHELL_SIGNAL: Final = 128
_LAST_SIGNAL: Final = 64
"""Of Linux; what is above 192 is an exit code of a program's own."""
_MAX_ERROR: Final = 1000
_MAX_COMPARED: Final = 200
_ERROR_BEFORE_S: Final = 60.0
"""What the log said longer before the last sign of life did not end the run."""
_ASKED_BEFORE_S: Final = 900.0
"""A cluster asks a trainer to save so long before its job's time limit: what three saves take, 300 s while none was
measured, and a minute for a cluster that is late or early."""
_ASKED_SHARE: Final = 0.25
"""Of the time limit: a short job is not asked earlier."""
_ASKED_EARLY_S: Final = 60.0
"""By which Slurm may ask before it was told to (sbatch(1), --signal)."""
_CLOCKS_S: Final = 300.0
"""By which a node's clock may be ahead of the controller's: munge's default TTL."""
_KILLED: Final = "killed"
"""The kind of a line by which a shell tells of a kill: it names no fault."""
_WENT_ON_S: Final = 2.0
"""A sign of life so long after an error is no part of its end, which leaves one, too."""
_WORKER_WAS_KILLED: Final = "is killed by signal: Killed"
_VARIES: Final[tuple[tuple[re.Pattern[str], str], ...]] = tuple(
    (re.compile(pattern, re.IGNORECASE), put)
    for pattern, put in (
        (r"\[\s*rank\s*\d+\s*\]:?\s*|\brank:? \d+", "rank "),
        (r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "UUID"),
        (r"\b0x[0-9a-f]{6,}\b", "0x"),
        (r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?", "TIME"),
        (r"\b\d\d:\d\d:\d\d(?:[.,]\d+)?\b", "TIME"),
        (r"\b(pid(?:\(s\))?|tid|ppid|process(?: id)?|thread(?: id)?)(\s*[:=#]?\s*|-)\d+(?:,\s*\d+)*\b", r"\1 N"),
        (r"(\b\d{1,3}(?:\.\d{1,3}){3}|\blocalhost|\])(?::|, ?)\d{2,5}\b", r"\1:PORT"),
        (r"\bport(\s*[:=]?\s*)\d{2,5}\b", r"port \1PORT"),
        (r"\b(?:ran for|after|elapsed|waited)[ :=]*[\d.]+ ?(?:ms|milliseconds|s|sec|seconds)\b", "TIME"),
        (r"\b(SeqNum|NumelIn|NumelOut|last (?:enqueued|completed|started) (?:NCCL )?work)[:= ]+-?\d+", r"\1"),
        (r"\b(?:tmp|pymp-|psm_|wnsm_)[a-z0-9_]{8}\b", "TEMPORARY"),
        (r"\btorch_\d+_\d+(?:_\d+)?\b", "TEMPORARY"),
    )
)
"""What differs from one process to the next by its nature. Shapes, indexes, sizes and names of files tell faults
apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """The end of ``attempt``. ``error`` is what a record or the log says of it, shortened; empty where nothing does.
    ``epoch`` and ``batch`` are where its record says that the error came, else those of the last sign of life."""

    attempt: int
    cause: DeathCause
    last_ts: float
    """The last sign of life, by the trainer's clock."""
    epoch: int | None = None
    batch: int | None = None
    error: str = ""

    @property
    def kind(self) -> DeathClass:
        """As :func:`class_of` says of its cause."""
        return class_of(self.cause)

    @property
    def why(self) -> str:
        """As a reason: "because WHY". How it ended is known where it left an error, whatever that means."""
        unnamed = self.cause is DeathCause.UNKNOWN and bool(self.error)
        return "nobody can tell from its last error whether it comes again" if unnamed else self.cause.text

    @property
    def artefact(self) -> str:
        """Names the very same fault in the very same place, once more; empty where a fault left nothing to compare. A
        worker that was killed leaves no more than a trainer that was: what killed it says nothing of the run."""
        if not self.error or self.epoch is None or _WORKER_WAS_KILLED in self.error:
            return ""
        return f"{self.cause}/{self.epoch}/{self.batch}/{compared(self.error)}"


def compared(error: str) -> str:
    """``error`` without what differs from one process to the next: pids, addresses, ports, times, temporary names."""
    for pattern, put in _VARIES:
        error = pattern.sub(put, error)
    return " ".join(error.split())[:_MAX_COMPARED]


def class_of(cause: DeathCause) -> DeathClass:
    """Who decides after a death of that cause."""
    return _CLASSES.get(cause, DeathClass.TRANSIENT)


def death_of(view: RunView) -> Death | None:
    """Why the newest attempt of a run is over; None while it is not, while that can't be told, and of a finished run.
    A process that may still live is not over, whatever its record says."""
    process = view.process
    if view.state not in _DEAD or process is None or not process.over:
        return None
    beat, record = view.beat, view.record
    last_ts = beat.ts if beat is not None else ((record.updated_ts or record.started_ts or 0.0) if record else 0.0)
    crash = _crash(view)
    error = (crash.text("error") or "").strip() if crash is not None else _logged_error(view)
    epoch, batch = _place(view, crash)
    return Death(
        attempt=view.attempt,
        cause=_cause(view, process, error, by_record=crash is not None),
        last_ts=last_ts,
        epoch=epoch,
        batch=batch,
        error=error[:_MAX_ERROR],
    )


def _place(view: RunView, crash: Event | None) -> tuple[int | None, int | None]:
    """Epoch and batch. A heartbeat is as old as a second, and is all that an older trainer leaves."""
    if crash is not None and "batch" in crash.data:
        return crash.integer("epoch"), crash.integer("batch")
    beat = view.beat
    return (beat.epoch, beat.batch) if beat is not None else (None, None)


def _cause(view: RunView, process: ProcessFact, error: str, *, by_record: bool) -> DeathCause:
    if view.state in {RunState.GAVE_UP, RunState.REFUSED}:
        return DeathCause.GAVE_UP if view.state is RunState.GAVE_UP else DeathCause.REFUSED
    job = process.job.cause if process.job is not None else None
    if job is EndCause.OUT_OF_MEMORY and _tells_its_end(view, process, error):
        job = None
    if job is not None and job in _BY_JOB:
        return _BY_JOB[job]
    if view.state is RunState.STOPPED:
        return DeathCause.TIME_LIMIT if met_its_limit(view) else DeathCause.STOPPED
    if view.state is RunState.CRASHED:
        return _said(process, error) or DeathCause.UNKNOWN
    if process.rebooted:
        return DeathCause.POWER
    if _stop_was_asked(view):
        return DeathCause.TIME_LIMIT if met_its_limit(view) else DeathCause.STOPPED
    if process.job is None and view.record is not None and view.record.job is not None:
        return DeathCause.UNKNOWN  # its cluster has forgotten it
    if is_later_start(view.record, process):
        return unheard_end(process, error)
    cause = silent_end(process, error)
    if cause is DeathCause.CODE and process.exit_code is None and not by_record and _tells_of_crashes(view):
        return DeathCause.UNKNOWN  # caught by somebody, perhaps
    return cause


def _tells_its_end(view: RunView, process: ProcessFact, error: str) -> bool:
    """Whether the trainer's own word says what ended it. Slurm calls a job out of memory, without its exit code, since
    one of its processes was killed for that at any time."""
    if view.state is RunState.STOPPED:
        return True
    said = _said(process, error) if view.state is RunState.CRASHED else None
    return said not in {None, DeathCause.UNKNOWN, DeathCause.HOST_MEMORY}


def _tells_of_crashes(view: RunView) -> bool:
    """Whether the trainer was where it writes down each exception that ends it before Python prints it."""
    return view.guarded and view.beat is not None and view.beat.phase not in {None, Phase.STARTUP}


def _said(process: ProcessFact, error: str) -> DeathCause | None:
    """What ``error`` says; None where it is empty. Of a worker that is gone the kernel may know more."""
    if not error:
        return None
    sign = sign_of(error)
    if sign is Sign.WORKER and process.oom in {OomEvidence.OWN_GROUP, OomEvidence.HOST}:
        return DeathCause.HOST_MEMORY
    return _BY_SIGN.get(sign, DeathCause.UNKNOWN)


def silent_end(process: ProcessFact, error: str = "") -> DeathCause:
    """Of a trainer that left no record of its end: by its memory, its signal or its exit code, and by ``error``, what
    its log says. Without any of them only a kill from outside is left: every other end of Python leaves a word."""
    signum, code = process.signal, process.exit_code
    if signum is None and code in _BY_CODE:
        return _BY_CODE[ExitCode(code)]  # its own word, whatever became of its workers
    if process.oom is OomEvidence.OWN_GROUP:
        return DeathCause.HOST_MEMORY
    if signum is None and code is not None and _SHELL_SIGNAL < code <= _SHELL_SIGNAL + _LAST_SIGNAL:
        signum = code - _SHELL_SIGNAL
    said = _said(process, error)
    if signum in _FAULTS:
        return said if said is not None and said is not DeathCause.CODE else DeathCause.NATIVE
    if signum == signals.SIGINT:
        return DeathCause.STOPPED
    if signum is None and code is not None:
        return said or DeathCause.UNKNOWN
    if signum is not None and signum not in _KILLING:
        return DeathCause.UNKNOWN
    if process.oom is OomEvidence.HOST and signum in {None, signals.SIGKILL}:
        return DeathCause.HOST_MEMORY
    if signum is None and said is not None:
        return said
    return DeathCause.KILLED


def end_of_start(process: ProcessFact) -> DeathCause:
    """Of a start that is over before its trainer signed in: by its cluster's word where it has one."""
    cause = process.job.cause if process.job is not None else None
    return _BY_JOB[cause] if cause in _BY_JOB else silent_end(process)


def unheard_end(process: ProcessFact, error: str) -> DeathCause:
    """As :func:`silent_end`, of a start that had not signed in and that nobody here asked to end. A cluster stops the
    start before in order to queue its job again, and its signal may reach the next one."""
    if node_refused(process):
        return DeathCause.NODE_REFUSED
    return DeathCause.KILLED if process.exit_code == ExitCode.STOPPED else silent_end(process, error)


def met_its_limit(view: RunView) -> bool:
    """Whether the newest attempt was asked to stop when a cluster asks before the time limit of its job. Slurm calls
    the end that follows a failure, with the trainer's own exit code."""
    job = view.process.job if view.process is not None else None
    if job is None or job.limit_ts is None or job.start_ts is None:
        return False
    before_s = min(_ASKED_BEFORE_S, _ASKED_SHARE * (job.limit_ts - job.start_ts) + _ASKED_EARLY_S)
    since_ts = job.limit_ts - before_s
    until_ts = job.limit_ts + _CLOCKS_S
    return any(since_ts <= event.ts <= until_ts for event in _stops_asked(view))


def _stop_was_asked(view: RunView) -> bool:
    return bool(_stops_asked(view))


def _stops_asked(view: RunView) -> list[Event]:
    """Those of the start that is over: of a job that was queued again and began once more, none was heard."""
    if is_later_start(view.record, view.process):
        return []
    return [one for one in view.notable if one.kind == EventKind.STOP_REQUESTED and one.attempt == view.attempt]


def _crash(view: RunView) -> Event | None:
    """What the attempt's record says of its crash. An error of an unguarded run is on record as it is read, and the run
    may have gone on after it."""
    crash = next((one for one in reversed(view.notable) if _is_crash(one, view.attempt)), None)
    beat = view.beat
    if crash is None or beat is None or view.state is RunState.CRASHED or beat.phase is Phase.ENDED:
        return crash
    return crash if beat.ts <= crash.ts + _WENT_ON_S else None


def _logged_error(view: RunView) -> str:
    """The newest fatal line of the attempt's log after which it did not go on."""
    since_ts = (view.beat_seen_ts or 0.0) - _ERROR_BEFORE_S  # both by the bot's clock
    told = [one for one in view.log_errors if not (one.in_child or one.outlived) and one.kind != _KILLED]
    return next((one.detail.strip() for one in reversed(told) if one.ts >= since_ts), "")


def _is_crash(event: Event, attempt: int) -> bool:
    return event.kind == EventKind.RUN_CRASHED and event.attempt == attempt
