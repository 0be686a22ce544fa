"""What a console log of Ultralytics says, typed. Every fact carries the physical line (from 1) that said it."""

from __future__ import annotations

import math
from enum import StrEnum

from trainmaster.record import Fixed


class CrashKind(StrEnum):
    """What ended a run, as far as the log says."""

    OOM = "oom"
    KILLED = "killed"
    NCCL = "nccl"
    CUDA_ERROR = "cuda_error"
    DATALOADER = "dataloader"
    EXCEPTION = "exception"
    """Any other exception; Ctrl-C and a segmentation fault count as one."""
    NONE = "none"


class ErrorOrigin(StrEnum):
    """Where an error came from, which decides whether it can end the run."""

    MAIN = "main"
    CAUGHT = "caught"
    """What a script says of an error that it has caught."""
    CHILD = "child"
    """A process started by the run: a data loader worker, another rank."""
    WRAPPER = "wrapper"
    """It only repeats that another process failed (torchrun, subprocess, an exit code); the cause stands elsewhere."""


class NoticeKind(StrEnum):
    """What was recovered, or is only worth knowing."""

    BATCH_HALVED = "batch_halved"
    ASSIGNER_FALLBACK = "assigner_fallback"
    NONFINITE_BATCH_SKIPPED = "nonfinite_batch_skipped"
    LABEL_CORRUPT = "label_corrupt"
    LABEL_DUPLICATE = "label_duplicate"
    LABELS_MISSING = "labels_missing"
    IMAGE_RESTORED = "image_restored"
    AMP = "amp"
    NMS_SLOW = "nms_slow"
    MOSAIC_CLOSED = "mosaic_closed"
    RESUME_IGNORED = "resume_ignored"
    LEAKED_SEMAPHORES = "leaked_semaphores"
    THREAD_EXCEPTION = "thread_exception"
    """An exception in a side thread or a clean-up hook: the run goes on."""
    RECOVERED_EXCEPTION = "recovered_exception"
    """An exception of the main thread after which training went on."""
    STOP_ASKED = "stop_asked"
    """The guard was asked to stop; it finishes the batch and saves."""
    STOPPED = "stopped"
    """It has done so."""
    LOGGED_ERROR = "logged_error"
    WARNING = "warning"


class ConsoleFact(Fixed):
    """``line`` counts line feeds only, so all frames redrawn by carriage returns share one."""

    line: int
    late: bool = False
    """It was drawn before what stands before it: whoever kept the log had it back until the process was gone."""


class RunBanner(ConsoleFact):
    """Version line of Ultralytics; printed at the start and again before the final validation."""

    version: str


class Preparing(ConsoleFact):
    """A training is being set up: it printed its arguments or its image sizes, or the guard began another attempt."""


class Started(ConsoleFact):
    """A training began; ``epochs`` is None when it is limited by hours."""

    epochs: int | None


class Resumed(ConsoleFact):
    """Training continues; ``epoch`` (from 1) is the first to run."""

    epoch: int
    epochs: int


class Header(ConsoleFact):
    """Head of an epoch's table: the loss columns in order."""

    losses: tuple[str, ...]


class TrainFrame(ConsoleFact):
    """One drawing of the training bar. Epochs as printed: YOLOv3, v5, v7 and v9 count from 0.

    ``batch`` and ``batches`` are None when the terminal cut them off. Losses are running means of the epoch, so a
    single bad batch keeps them non-finite to the epoch's end.
    """

    epoch: int
    epochs: int
    batch: int | None
    batches: int | None
    losses: tuple[tuple[str, float], ...]

    @property
    def nonfinite(self) -> tuple[str, ...]:
        """Names of the losses that are NaN or infinite."""
        return tuple(name for name, value in self.losses if not math.isfinite(value))

    def is_redrawn_by(self, other: TrainFrame) -> bool:
        """Whether ``other`` only draws it again, as closing a bar does."""
        return self._drawn == other._drawn

    @property
    def _drawn(self) -> tuple[object, ...]:
        # By text, since NaN differs from itself.
        return self.epoch, self.epochs, self.batch, self.batches, repr(self.losses)


class KeptBack(ConsoleFact):
    """An error stands amid a line, where a container's runtime cuts one: the rest of it follows when all is over."""


class PlainBar(ConsoleFact):
    """A training bar without Ultralytics' columns: drawn before the first batch, or by somebody's own loop."""

    epoch: int | None
    epochs: int | None
    batch: int
    batches: int


class ValBar(ConsoleFact):
    """A progress bar of a validation that goes on."""

    batch: int
    batches: int


class ValRow(ConsoleFact):
    """The ``all`` row of a validation table; the values are those of boxes, None when cut off or not of this task."""

    map50: float | None
    map50_95: float | None
    nonfinite: tuple[str, ...] = ()
    """Columns, of any of the row, that are NaN or infinite, with their values."""


class Completed(ConsoleFact):
    """All epochs ran; ``epochs`` counts those since the last start, None from YOLOv5's classifier."""

    epochs: int | None


class EarlyStopped(ConsoleFact):
    """Patience ran out; ``best_epoch`` as printed."""

    patience: int | None
    best_epoch: int | None


class NanRecovery(ConsoleFact):
    """Ultralytics itself found non-finite loss, fitness or weights."""

    attempt: int | None
    """Which it is of those in which it goes back to ``last.pt``; None where it can't, or does not say."""
    text: str


class EndedEarly(ConsoleFact):
    """The guard ended the run in an orderly way: on request, or because going on would waste time.

    ``signal`` is what asked it to, None when it gave up."""

    signal: str | None
    text: str


class FatalError(ConsoleFact):
    """An error that ends a process. Whether it ended the run shows in what follows it."""

    kind: CrashKind
    origin: ErrorOrigin
    detail: str
    """One line that names the error, without addresses and advice."""
    text: str


class Notice(ConsoleFact):
    """Something worth knowing that is no incident."""

    kind: NoticeKind
    text: str
