"""What the trainer writes and the supervisor reads: the run directory, its records, its exit codes.

The only module that both sides share: standard library, no side effects on import. Any record may be torn, of a newer
version, or lacking a key for its readers; writers write every key named here.

Conventions of every record: ``ts`` is seconds since the epoch, UTC, a float. Durations end in ``_s``, memory in
``_gib``. Epochs and batches count **from 1**, as Ultralytics prints them; in its checkpoints and ``epochN.pt`` they do
from 0. A number that is not finite is one of ``"nan"``, ``"inf"``, ``"-inf"``; see :func:`encode_number`.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Any, Final

SCHEMA_VERSION: Final = 1
"""Version of every record below. A reader that meets a higher one reads what it knows and says so once."""

MODULE_ARGV: Final = ("-P", "-m", "trainmaster.trainer")
"""Starts a command of the trainer; ``-P`` keeps a user's own ``json.py``, where it starts, out of the way."""

RUN_VARIABLE: Final = "TRAINMASTER_RUN"
"""In the environment of a trainer that the bot launched: the run directory that it is for."""

ARCHIVE_DIR_NAME: Final = "archive"
"""Beside the run directories, not inside one: launching DDP makes Ultralytics remove ``save_dir`` (utils/dist.py)."""

EPOCH_FILE: Final = re.compile(r"guard/states/epoch(\d{4,})(\.ultralytics)?\.pt|weights/epoch(\d+)\.pt")
"""What stays of an epoch: groups are a state's epoch, its copy's suffix, and Ultralytics' own number, from 0."""


class ExitCode(IntEnum):
    """How a trainer process ends; anything else is a crash."""

    FINISHED = 0
    BAD_ARGUMENTS = 2
    STOPPED = 3  # on request; resumable
    GAVE_UP = 4  # too many bad batches, or weights that no step made
    REFUSED = 5  # the checkpoint is not clean


class Phase(StrEnum):
    """What the trainer is doing; a time-out means something else in each."""

    STARTUP = "startup"
    FIRST_BATCH = "first_batch"
    TRAINING = "training"
    VALIDATING = "validating"
    SAVING = "saving"
    ENDED = "ended"


class RunRecordState(StrEnum):
    """``state`` in ``run.json``. ``RUNNING`` with no such process means that it died without a word."""

    SUBMITTED = "submitted"  # a job that has not begun yet; trainmaster sbatch writes it
    RUNNING = "running"
    STOPPED = "stopped"
    FINISHED = "finished"
    GAVE_UP = "gave_up"
    REFUSED = "refused"
    CRASHED = "crashed"


class SkipReason(StrEnum):
    """Why a batch was judged bad."""

    NONFINITE_LOSS = "nonfinite_loss"
    NONFINITE_GRADIENT = "nonfinite_gradient"
    NONFINITE_BATCHNORM = "nonfinite_batchnorm"
    LOSS_SPIKE = "loss_spike"
    BATCHNORM_SPIKE = "batchnorm_spike"


class ReplayVerdict(StrEnum):
    """What a bad batch did that was run twice more at once, through the weights that it met."""

    DETERMINISTIC = "deterministic"  # bad both times: data or recipe
    NOT_REPRODUCIBLE = "not_reproducible"  # good at least once: suspect hardware
    OVERFLOW = "overflow"  # bad both times, and good in single precision


class Verdict(StrEnum):
    """What is known of a checkpoint. Unknown is a value of its own, never rounded up to clean."""

    CLEAN = "clean"
    CONTAMINATED = "contaminated"
    UNKNOWN = "unknown"


class EventKind(StrEnum):
    """``kind`` in ``events.jsonl``. The keys listed are present beside :data:`EVENT_KEYS`."""

    RUN_STARTED = "run_started"
    """pid, create_time, host, level, epochs, task, model, from_epoch (null on a fresh start), settings {name: value}"""
    PHASE = "phase"  # phase, epoch
    EPOCH_STARTED = "epoch_started"  # epoch, epochs, batches
    BAD_BATCH = "bad_batch"
    """epoch, batch, batches, reason, action ("skipped"; "observed" at level observe; "recomputed" when the accumulation
    window was run again and was good, so nothing was lost), losses {name: number}, grad_norm, lr, images [file names],
    skipped_epoch, skipped_total, streak, incident (folder name under incidents/, or null), cause ("data" | "model" |
    "transient"), replay (a :class:`ReplayVerdict`, or null); "drill": true when it was planned"""
    GRADIENT_WARNING = "gradient_warning"  # epoch, batch, grad_norm, median, factor, trend, worst [{parameter, norm}]
    STATE_HEALED = "state_healed"
    """epoch, batch, what (ema, optimizer, batchnorm, model, criterion or scaler), tensors (count): put right"""
    EPOCH_FINISHED = "epoch_finished"
    """epoch, epochs, batches, batches_done, skipped, nonfinite, clipped, losses {name: mean}, metrics {name: number},
    fitness, validated (bool), seconds, lr, unknown [names of metrics that were not finite; they are 0 here, and the
    fitness is null], val_nonfinite (validation batches whose loss was not finite; they are left out of its mean)"""
    CHECKPOINT_SAVED = "checkpoint_saved"  # epoch, file (in the run), sha256, bytes, verdict, reasons [text], fitness
    STOP_REQUESTED = "stop_requested"  # signal, epoch, batch
    RUN_STOPPED = "run_stopped"  # epoch, batch, resumable (bool), state_file
    RUN_GAVE_UP = "run_gave_up"  # epoch, batch, why, skipped_epoch, streak
    RUN_REFUSED = "run_refused"  # checkpoint, verdict, reasons [text]
    RUN_FINISHED = "run_finished"  # epochs, fitness, seconds
    RUN_CRASHED = "run_crashed"
    """error, traceback (its last 20 lines); since 0.2.0 epoch, batch (begun last, or 0), null before both"""
    OUT_OF_MEMORY = "out_of_memory"  # batch_size_before, batch_size_after
    DATA_FAULT = "data_fault"
    """where ("train" | "val": left out when the data set was scanned; "batch", "val_batch": could not be read
    during training or validation, replaced), count, files [at most 20], reasons [one each], list (file, or null)"""
    STORAGE_FAULT = "storage_fault"  # what, error: a record or state could not be written; training goes on
    NOTICE = "notice"  # text; what, where it says that a storage_fault of that name is over


EVENT_KEYS: Final = ("v", "ts", "run", "attempt", "seq", "kind")
"""In every event. ``seq`` rises within an attempt, from 1; ``attempt`` counts from 1 within a run."""

SERIES_KEYS: Final = (
    *("ts", "attempt", "epoch", "batch", "losses", "lr", "grad_norm_p50", "grad_norm_p99", "grad_norm_max"),
    *("grad_worst", "grad_trend", "clipped", "skipped"),
)
"""Of a row of ``series.jsonl``, which covers the batches since the row before. ``grad_worst`` is the parameter with the
largest gradient of the step with the largest norm, ``{"parameter", "norm"}``; ``grad_trend`` is the mean of the last
steps over the median of many: 1 when nothing grows. Both are null before they are known."""

CHECKPOINT_KEYS: Final = (
    *("v", "ts", "attempt", "epoch", "file", "sha256", "bytes", "verdict", "reasons", "fitness", "kind", "level"),
)
"""Of a row of ``checkpoints.jsonl``. ``kind`` is "ultralytics" (``weights/*.pt``) or "state" (``guard/states/``, full
precision, resumable bit for bit). A later row about the same file replaces an earlier one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterJob:
    """``job`` of ``run.json``, as its environment told it. ``cluster``, ``id`` and ``restart`` (how often it was queued
    again) name one start of one job for good. ``node`` is the first rank's, and None until it begins; at ``end_ts`` its
    time limit is up; with ``options`` it can be submitted again."""

    id: str
    cluster: str | None = None
    array_task: int | None = None
    restart: int = 0
    node: str | None = None
    partition: str | None = None
    end_ts: float | None = None
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFile:
    """``run.json``: its keys are these fields. ``pid``, ``create_time`` (psutil's), ``host`` and ``boot_id`` name one
    process for good. ``layers`` has ``{"layer", "name", "setting", "value", "source"}`` for each row of the table shown
    at start-up; ``trainer_class`` is ``module:name`` of the class that trained last; ``launch_key`` names the launch
    that the attempt came from, if any; ``job`` is None where no cluster started it; ``ultralytics`` is the version;
    ``owner`` the Slack member id that whoever started it gave; ``recipe`` has ``device``, ``batch``, ``nbs`` as set."""

    run: str
    v: int = SCHEMA_VERSION
    attempt: int = 1
    pid: int | None = None
    create_time: float | None = None
    host: str | None = None
    boot_id: str | None = None
    python: str | None = None
    argv: tuple[str, ...] = ()
    cwd: str | None = None
    log: str | None = None
    started_ts: float | None = None
    updated_ts: float | None = None
    task: str | None = None
    model: str | None = None
    data: str | None = None
    epochs: int | None = None
    level: str | None = None
    layers: tuple[Mapping[str, Any], ...] = ()
    state: RunRecordState | None = None
    exit_code: int | None = None
    from_epoch: int | None = None
    trainer_class: str | None = None
    job: ClusterJob | None = None
    launch_key: str | None = None
    ultralytics: str | None = None
    owner: str | None = None
    recipe: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """``heartbeat.json``: its keys are these fields. ``batch`` is the last one done; ``batches`` is None before the
    data loader exists. ``losses`` are running means over the good batches of the epoch. ``skipped``, ``clipped`` and
    ``longest_batch_s`` are over the attempt, the last without its very first batch. The ``grad_norm_`` quantiles are of
    the last 100 steps, ``grad_worst`` (as in :data:`SERIES_KEYS`) of the last one."""

    ts: float
    v: int = SCHEMA_VERSION
    run: str | None = None
    attempt: int = 1
    pid: int | None = None
    phase: Phase | None = None
    phase_since_ts: float | None = None
    epoch: int | None = None
    epochs: int | None = None
    batch: int | None = None
    batches: int | None = None
    losses: Mapping[str, float] = field(default_factory=dict)
    grad_norm_p50: float | None = None
    grad_norm_p99: float | None = None
    grad_norm_max: float | None = None
    grad_worst: Mapping[str, Any] | None = None
    grad_trend: float | None = None
    lr: float | None = None
    grad_norm: float | None = None
    skipped: int | None = None
    skipped_epoch: int | None = None
    clipped: int | None = None
    clipped_epoch: int | None = None
    streak: int | None = None
    images_per_s: float | None = None
    epoch_elapsed_s: float | None = None
    memory_gib: float | None = None
    longest_batch_s: float | None = None


RUN_KEYS: Final = tuple(one.name for one in fields(RunFile))
HEARTBEAT_KEYS: Final = tuple(one.name for one in fields(Heartbeat))


class _PathBelow:
    def __init__(self, below: str) -> None:
        self._below = below

    def __get__(self, layout: RunLayout, owner: type[RunLayout]) -> Path:
        return layout.root / self._below


@dataclass(frozen=True, slots=True)
class RunLayout:
    """Where everything of a run lies, given its run directory (Ultralytics' ``save_dir``)."""

    root: Path

    @property
    def name(self) -> str:
        """The run directory's own name, by which people call the run."""
        return self.root.name

    guard = _PathBelow("guard")  # the folder that marks a directory as a guarded run
    run_json = _PathBelow("guard/run.json")  # identity and state (:class:`RunFile`); replaced atomically
    heartbeat = _PathBelow("guard/heartbeat.json")  # a :class:`Heartbeat`, at most once a second; replaced atomically
    events = _PathBelow("guard/events.jsonl")  # append-only; one line, one event, one write
    series = _PathBelow("guard/series.jsonl")  # rows for plots
    train_log = _PathBelow("guard/train.log")  # the console output of all attempts
    incidents = _PathBelow("guard/incidents")  # one numbered folder a recorded bad batch
    checkpoints = _PathBelow("guard/checkpoints.jsonl")  # one attestation a saved file
    drill = _PathBelow("guard/drill.json")  # what a training that runs is asked to spoil; gone once it is taken up
    states = _PathBelow("guard/states")  # in full precision: epoch0004.pt (after epoch 4), stop.pt (saved on request)
    stacks = _PathBelow("guard/stacks.txt")  # all stacks, written on SIGUSR1
    lock = _PathBelow("guard/lock")  # locked (flock) by the trainer that owns the directory
    weights = _PathBelow("weights")  # Ultralytics' own checkpoints
    results_csv = _PathBelow("results.csv")  # Ultralytics' own per-epoch metrics

    @property
    def archive(self) -> Path:
        """What rollbacks of this run put aside; one folder a rollback."""
        return self.root.parent / ARCHIVE_DIR_NAME / self.root.name

    def state_file(self, epoch: int) -> Path:
        """The full-precision state saved after ``epoch`` (from 1)."""
        return self.states / f"epoch{epoch:04d}.pt"


def is_run_dir(path: Path) -> bool:
    """Whether ``path`` holds a guarded run."""
    return (path / "guard" / "run.json").is_file()


def encode_number(value: float | None) -> float | int | str | None:
    """``value`` as JSON can carry it: non-finite floats become ``"nan"``, ``"inf"``, ``"-inf"``."""
    if value is None or isinstance(value, int) or math.isfinite(value):
        return value
    return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")


def decode_number(value: object) -> float | None:
    """The number that :func:`encode_number` wrote; None for anything else."""
    if isinstance(value, bool) or not (isinstance(value, int | float) or value in ("nan", "inf", "-inf")):
        return None
    try:
        return float(str(value) if isinstance(value, str) else value)
    except OverflowError:  # a whole number of more than 300 digits
        return None


def encode_record(record: dict[str, Any]) -> str:
    """``record`` as one line of JSON without the line end.

    Raises:
        ValueError: on a bare NaN or infinity; pass numbers through :func:`encode_number` first.
    """
    return json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def replace_json(path: Path, record: dict[str, Any], *, durable: bool = False, mode: int = 0o644) -> None:
    """``path`` holds ``record`` or what it held before, never a part of either. A file name that is no UTF-8 has a
    question mark for each byte that is none. ``durable`` survives a power cut too.

    Raises:
        OSError: no space, no permission; the old content stands and no temporary file stays.
    """
    import tempfile  # noqa: PLC0415 - a reader does without it and what it loads, 6 ms of each start

    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as stream:
            stream.write(encode_record(record) + "\n")
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    if durable:
        fsync_dir(path.parent)


def append_line(path: os.PathLike[str], line: str, *, durable: bool = False) -> None:
    """``line`` is the last line of ``path``, in one write; a torn last line is closed first. ``durable`` as above.

    Raises:
        OSError: no space, no permission; the file holds what it held.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        content = (("\n" if torn else "") + line + "\n").encode("utf-8", "replace")
        try:
            written = os.write(descriptor, content)
            if written != len(content):  # a disk or a limit was reached: the rest tells which
                written += os.write(descriptor, content[written:])
            if written != len(content):
                raise OSError(errno.ENOSPC, "no space left for a whole line", str(path))
            if durable:
                os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)


def fsync_dir(path: Path) -> None:
    """Renames and new names in ``path`` survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in ``path``; None when it is missing, torn or no object.

    Raises:
        OSError: anything but a missing file (no permission, a dead mount): the caller must not take that for absence.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def boot_id() -> str:
    """Names this boot of this host; empty where the kernel does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
