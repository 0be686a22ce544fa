"""Facts of a log, folded into what a post-mortem says: where the run stood, what was not finite, how it ended."""

from __future__ import annotations

from collections.abc import Mapping

from trainmaster.bot.reading.console.errors import is_user_stop
from trainmaster.bot.reading.console.facts import (
    Completed,
    ConsoleFact,
    CrashKind,
    EarlyStopped,
    EndedEarly,
    FatalError,
    Header,
    KeptBack,
    NanRecovery,
    Notice,
    NoticeKind,
    PlainBar,
    Preparing,
    Resumed,
    RunBanner,
    Started,
    TrainFrame,
    ValBar,
    ValRow,
)
from trainmaster.bot.reading.scan.entries import (
    ENDED_LATER,
    NONFINITE_LOSS,
    NONFINITE_VALIDATION,
    USER_STOPPED,
    Entries,
    SummaryEntry,
)
from trainmaster.bot.reading.scan.outcome import Crash, Outcome
from trainmaster.record import replaced

_SILENT_DEATH = "log ends after leaked-semaphore warning, no traceback; process died without a message"


class LogSummary:
    """Add the facts in order; read the attributes at the end."""

    def __init__(self) -> None:
        self.frame: TrainFrame | None = None
        """The last one; its counter is the last one printed in its epoch."""
        self.plain_bar: PlainBar | None = None
        self.row: ValRow | None = None
        self.early_stopped = False
        self.nonfinite_lines = 0
        self.nonfinite_frames = 0
        self.earlier_nonfinite_lines = 0
        self.earlier_nonfinite_frames = 0
        """Of those, how many are of attempts before the last."""
        self.ended_early: EndedEarly | None = None
        """The guard's own word on the end of the newest attempt."""
        self.undrawn_since: int | None = None
        """The line at which a training was started that has drawn no frame, in a log that holds another before it."""
        self.mixed_since: int | None = None
        """The line at which the epochs of an attempt went back by themselves, as where two trainings write one log."""
        self._entries = Entries()
        self._outcome = Outcome()
        self._leaked = False
        self._ended = False
        self._attempt_since = 0
        """The line at which the last attempt was started, if another is before it."""
        self._validated = False
        """Whether an ``all`` row followed the last frame."""
        self._nonfinite: TrainFrame | None = None
        self._nonfinite_place = -1
        """Where its incident stands; -1 when it is not listed."""
        self._repeats = 0
        """Frames that its incident does not count yet."""
        self._new_pass = False
        """Whether an epoch began since the last non-finite frame, be it the same one again."""
        self._new_table = False
        """Whether a head was printed since the last frame, so that the next is no redrawing of it."""
        self._elsewhere = False
        """Whether a process of Ultralytics began behind the end. Unless it trains, it only validates or exports."""
        self._evaluated = False
        """Whether the final evaluation has begun, which prints the engine's version again."""
        self._after_head = False
        """Whether the fact before was the head of a table."""
        self._epoch_of_table: tuple[int, int] | None = None
        """Epoch and epochs of the table that was begun last, unless the engine may have gone back since."""

    def add(self, fact: ConsoleFact) -> None:
        """Fold ``fact`` into the summary; facts come in their order."""
        if self._after_head and isinstance(fact, TrainFrame):
            self._begin_epoch(fact)
        self._after_head = isinstance(fact, Header)
        match fact:
            case TrainFrame():
                self._add_frame(fact)
            case ValBar() | ValRow():
                self._add_validation(fact)
            case PlainBar():
                self.plain_bar = fact
            case FatalError():
                self._add_error(fact)
            case Header():
                self._new_pass = self._new_table = True
                self._outcome.begin_table()
            case KeptBack():
                self._outcome.keep_back()
            case NanRecovery():
                self._new_pass, self._epoch_of_table = True, None
                self._entries.add_incident(self._entry(fact, fact.text, "nan_recovery"))
            case Notice():
                self._leaked = self._leaked or fact.kind is NoticeKind.LEAKED_SEMAPHORES
                self._entries.add_notice(self._entry(fact, fact.text, fact.kind.value))
            case EarlyStopped() | Completed() | EndedEarly():
                self._add_end(fact)
            case _:
                self._add_beginning(fact)

    def goes_back(self) -> None:
        """What is added next stands before the head that was added last."""
        self._after_head = False

    def _add_error(self, fact: FatalError) -> None:
        entry = self._entry(fact, fact.text, USER_STOPPED if is_user_stop(fact.detail) else fact.kind.value)
        if self._elsewhere:
            self._entries.add_incident(entry)
        else:
            self._outcome.add(fact, entry)

    def _add_validation(self, fact: ValBar | ValRow) -> None:
        if self._elsewhere:
            self.row = fact if isinstance(fact, ValRow) else self.row
        elif isinstance(fact, ValRow):
            self._goes_on()
            self._outcome.end_table()
            self.row, self._validated = fact, True
            if fact.nonfinite:
                entry = self._entry(fact, ", ".join(fact.nonfinite), NONFINITE_VALIDATION)
                self._entries.add_bad_validation(entry)
        elif not self._outcome.is_late(fact):
            self._goes_on()

    def _add_end(self, fact: EarlyStopped | Completed | EndedEarly) -> None:
        if isinstance(fact, EndedEarly):
            self._end_early(fact)
            return
        self._goes_on()
        if isinstance(fact, EarlyStopped):
            self.early_stopped = True
        else:
            self._ended = True

    def _add_beginning(self, fact: ConsoleFact) -> None:
        if isinstance(fact, RunBanner):
            self._elsewhere = bool(self._outcome) or self._leaked or self._evaluated
            self._evaluated = self._ended or self.early_stopped
            self._new_pass = True
        elif isinstance(fact, Preparing | Started | Resumed):
            self._restarts()
            self._begins(fact)

    @property
    def late_line(self) -> int | None:
        """The line of the bar behind an error that may have ended what is drawn on it; None if there was none."""
        return self._outcome.late_line

    @property
    def hangs(self) -> bool:
        """Whether the very next frame can change what is said of the end of the run."""
        said = self._leaked or self._ended or self.early_stopped or self._validated
        return said or bool(self._outcome) or self.ended_early is not None

    @property
    def completed(self) -> bool:
        """Whether all epochs ran, or patience ended them. Without a word of it, the last epoch's validation counts."""
        if self.mixed_since is not None:
            return False
        if self._ended or self.early_stopped:
            return True
        frame = self.frame
        if frame is None or self._outcome or not self._validated or self.ended_early is not None:
            return False
        return frame.epoch == frame.epochs and frame.batch is not None and frame.batch == frame.batches

    @property
    def crash(self) -> Crash | None:
        """Why the run is dead; None when nothing says that it is, or that it ended in an orderly way."""
        if self.ended_early is not None or self.later_ends:
            return None
        if self._outcome:
            return self._outcome.cause
        if self._leaked and self.frame is not None and not self.completed:
            return Crash(kind=CrashKind.KILLED, detail=_SILENT_DEATH)
        return None

    @property
    def later_ends(self) -> list[SummaryEntry]:
        """What ended the process from outside (a signal, Ctrl-C) after its training was complete."""
        complete = (self._ended or self.early_stopped) and self.ended_early is None
        if not complete or not self._outcome.is_from_outside:
            return []
        return [replaced(entry, kind=ENDED_LATER) for entry in self._outcome.entries]

    @property
    def attempt_since(self) -> int | None:
        """The line at which the last attempt was started, where the figures of one before it were not finite."""
        return self._attempt_since if self.earlier_nonfinite_frames or self._entries.num_earlier_bad else None

    @property
    def incidents(self) -> list[SummaryEntry]:
        """In the order of the log."""
        self._count_repeats()
        return self._entries.incidents(self._ends)

    @property
    def notices(self) -> list[SummaryEntry]:
        """By the line of the first of each."""
        return self._entries.notices(self._ends)

    @property
    def _ends(self) -> list[SummaryEntry]:
        return self.later_ends or (self._outcome.ends if self.ended_early is None else [])

    def lines(self) -> set[int]:
        """The lines of all entries."""
        starts = {line for line in (self.undrawn_since, self.attempt_since, self.mixed_since) if line is not None}
        return self._entries.lines() | self._outcome.lines() | starts

    def renumber(self, numbers: Mapping[int, int]) -> None:
        """Give each entry the line that ``numbers`` has for its own; to be called once, at the end."""
        if self.undrawn_since is not None:
            self.undrawn_since = numbers[self.undrawn_since]
        if self.attempt_since is not None:
            self._attempt_since = numbers[self.attempt_since]
        if self.mixed_since is not None:
            self.mixed_since = numbers[self.mixed_since]
        self._entries.renumber(numbers)
        self._outcome.renumber(numbers)

    def _add_frame(self, frame: TrainFrame) -> None:
        last = self.frame
        if frame.batch is None and last is not None and last.epoch == frame.epoch and last.epochs == frame.epochs:
            frame = replaced(frame, batch=last.batch, batches=last.batches)
        late = self._outcome.is_late(frame)
        if not late and (last is None or self._new_table or not last.is_redrawn_by(frame)):
            self._goes_on()
            self._ended = self.early_stopped = self._validated = self._evaluated = False
            self.ended_early = None
        self.frame, self._new_table, self.undrawn_since = frame, False, None
        if frame.nonfinite:
            self._add_nonfinite(frame)

    def _begin_epoch(self, frame: TrainFrame) -> None:
        """``frame`` is the first below its head: the next epoch of the attempt, or one that the engine goes back to and
        says so."""
        begun, self._epoch_of_table = self._epoch_of_table, (frame.epoch, frame.epochs)
        if begun is not None and self.mixed_since is None:
            back = frame.epoch < begun[0] or (frame.epoch == begun[0] and frame.epochs != begun[1])
            self.mixed_since = frame.line if back else None

    def _add_nonfinite(self, frame: TrainFrame) -> None:
        last = self._nonfinite
        self.nonfinite_lines += last is None or last.line != frame.line
        self._nonfinite = frame
        if last is not None and last.epoch == frame.epoch and not self._new_pass:
            self.repeat_nonfinite(1)
            return
        self.nonfinite_frames += 1
        self._new_pass = False
        self._count_repeats()
        losses = ", ".join(f"{name} {value:g}" for name, value in frame.losses)
        self._nonfinite_place = self._entries.add_incident(self._entry(frame, losses, NONFINITE_LOSS))

    def repeat_nonfinite(self, frames: int, *, lines: int = 0) -> None:
        """``frames`` more of the epoch of the last non-finite one, of which ``lines`` stand on lines of their own."""
        self.nonfinite_lines += lines
        self.nonfinite_frames += frames
        self._repeats += frames

    def _count_repeats(self) -> None:
        self._entries.repeat_incident(self._nonfinite_place, self._repeats)
        self._repeats = 0

    def _goes_on(self) -> None:
        for entry in self._outcome.outlive():
            self._entries.add_notice(replaced(entry, kind=NoticeKind.RECOVERED_EXCEPTION.value))
        self._leaked = self._elsewhere = False

    def _restarts(self) -> None:
        """A new process: what stands before it ended the one before."""
        for entry in self.later_ends:
            self._entries.add_notice(entry)
        for entry in [] if self.later_ends else self._outcome.entries:
            self._entries.add_incident(entry)
        self._outcome.restart()
        self._leaked = self._elsewhere = False
        self._new_pass = True
        self.ended_early = None

    def _begins(self, fact: ConsoleFact) -> None:
        """A training begins: how the one before it ended says nothing of this one."""
        self._ended = self.early_stopped = self._validated = self._evaluated = False
        self.ended_early = self.mixed_since = self._epoch_of_table = None
        if self.frame is not None:
            self.undrawn_since = self._attempt_since = fact.line
            self.earlier_nonfinite_lines, self.earlier_nonfinite_frames = self.nonfinite_lines, self.nonfinite_frames
            self._entries.begin_attempt()

    def _end_early(self, fact: EndedEarly) -> None:
        """What other processes say of the end from here on is how the guard ended them, or how it left."""
        self.ended_early = fact
        if fact.signal is None:
            self._entries.add_incident(self._entry(fact, fact.text, "gave_up"))
        else:
            self._entries.add_notice(self._entry(fact, fact.text, NoticeKind.STOPPED.value))

    def _entry(self, fact: ConsoleFact, text: str, kind: str) -> SummaryEntry:
        frame = self.frame
        return SummaryEntry(
            line=fact.line,
            epoch=frame.epoch if frame else None,
            batch=frame.batch if frame else None,
            text=text,
            kind=kind,
        )
