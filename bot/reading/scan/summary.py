"""Facts of a log, folded into what a post-mortem says."""

from __future__ import annotations

from collections.abc import Mapping

from trainmaster.bot.reading.console.errors import is_user_stop
from trainmaster.bot.reading.console.facts import (
    Completed,
    ConsoleFact,
    CrashKind,
    EarlyStopped,
    EndedEarly,
    ErrorOrigin,
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
from trainmaster.bot.reading.scan.telling import is_quiet
from trainmaster.record import Fixed, replaced

USER_STOPPED = "stopped_by_user"
"""The kind of the entry that says so."""
ENDED_LATER = "ended_later"
"""The kind of the entry that tells how a process was ended whose training was complete."""
NONFINITE_LOSS = "nonfinite_loss"
NONFINITE_VALIDATION = "nonfinite_validation"
_CONSEQUENCES = frozenset({CrashKind.KILLED, CrashKind.NCCL})
_MAX_INCIDENTS = 1_000
_MAX_NOTICES = 200
_MAX_PENDING = 100
_SILENT_DEATH = "log ends after leaked-semaphore warning, no traceback; process died without a message"


class SummaryEntry(Fixed):
    """An incident or a notice, with the epoch and batch of the last frame before it. ``count`` repeats of it follow
    each other: frames of one epoch, lines of one kind.
    """

    line: int
    epoch: int | None
    batch: int | None
    text: str
    kind: str
    count: int = 1


class Crash(Fixed):
    """How the run ended, if it crashed."""

    kind: CrashKind
    detail: str


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
        self._notices: list[SummaryEntry] = []
        self._incidents: list[SummaryEntry] = []
        self._dropped = 0
        self._ended = False
        self.earlier_nonfinite_lines = 0
        self.earlier_nonfinite_frames = 0
        """Of those, how many are of attempts before the last."""
        self._attempt_since = 0
        """The line at which the last attempt was started, if another is before it."""
        self._bad_validations: list[SummaryEntry] = []
        """One an attempt: skimming passes over the healthy rows between."""
        self._num_earlier_bad = 0
        """How many of them are of attempts before the last."""
        self._validated = False
        """Whether an ``all`` row followed the last frame."""
        self._nonfinite: TrainFrame | None = None
        self._nonfinite_place = -1
        """Where its incident stands among ``_incidents``; -1 when that is full."""
        self._repeats = 0
        """Frames that its incident does not count yet."""
        self._new_pass = False
        """Whether an epoch began since the last non-finite frame, be it the same one again."""
        self._new_table = False
        """Whether a head was printed since the last frame, so that the next is no redrawing of it."""
        self._errors: list[tuple[FatalError, SummaryEntry]] = []
        """Since training last went on."""
        self._kept_back = False
        """Whether an error came between a head and the first frame below it, or amid a line."""
        self.late_line: int | None = None
        """The line of the next frame. Docker keeps an unended line back, so the error may have ended what is on it."""
        self._outlived: list[tuple[FatalError, SummaryEntry]] = []
        """Errors of this attempt after which training went on."""
        self._leaked = False
        self.ended_early: EndedEarly | None = None
        """The guard's own word on the end of the newest attempt."""
        self.undrawn_since: int | None = None
        """The line at which a training was started that has drawn no frame, in a log that holds another before it."""

    def add(self, fact: ConsoleFact) -> None:
        """Fold ``fact`` into the summary; facts come in their order."""
        match fact:
            case TrainFrame():
                self._add_frame(fact)
            case ValRow():
                self._goes_on()
                self.row, self._validated = fact, True
                if fact.nonfinite:
                    self._add_bad_validation(fact)
            case ValBar():
                self._goes_on()
            case PlainBar():
                self.plain_bar = fact
            case FatalError():
                self._add_error(fact)
            case Header():
                self._new_pass = self._new_table = True
                self._kept_back = False
            case KeptBack():
                self._kept_back = True
            case NanRecovery():
                self._new_pass = True
                self._add_incident(self._entry(fact, fact.text, "nan_recovery"))
            case Notice():
                self._leaked = self._leaked or fact.kind is NoticeKind.LEAKED_SEMAPHORES
                self._add_notice(self._entry(fact, fact.text, fact.kind.value))
            case EarlyStopped() | Completed() | EndedEarly():
                self._add_end(fact)
            case _:
                self._add_beginning(fact)

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
        if isinstance(fact, RunBanner | Started | Resumed):
            self._restarts()
        if isinstance(fact, Preparing | Started | Resumed):
            self._begins(fact)

    @property
    def hangs(self) -> bool:
        """Whether the very next frame can change what is said of the end of the run."""
        said = self._leaked or self._ended or self.early_stopped or self._validated
        return said or bool(self._errors) or self.ended_early is not None

    @property
    def completed(self) -> bool:
        """Whether all epochs ran, or patience ended them. Without a word of it, the last epoch's validation counts."""
        if self._ended or self.early_stopped:
            return True
        frame = self.frame
        if frame is None or self._errors or not self._validated or self.ended_early is not None:
            return False
        return frame.epoch == frame.epochs and frame.batch is not None and frame.batch == frame.batches

    @property
    def crash(self) -> Crash | None:
        """Why the run is dead; None when nothing says that it is, or that it ended in an orderly way."""
        if self.ended_early is not None or self.later_ends:
            return None
        if self._errors:
            return self._cause([error for error, _ in self._direct_errors()])
        if self._leaked and self.frame is not None and not self.completed:
            return Crash(kind=CrashKind.KILLED, detail=_SILENT_DEATH)
        return None

    @property
    def later_ends(self) -> list[SummaryEntry]:
        """What ended the process from outside (a signal, Ctrl-C) after its training was complete."""
        complete = (self._ended or self.early_stopped) and self.ended_early is None
        if not complete or not all(_is_from_outside(error) for error, _ in self._errors):
            return []
        return [replaced(entry, kind=ENDED_LATER) for _, entry in self._errors]

    @property
    def attempt_since(self) -> int | None:
        """The line at which the last attempt was started, where the figures of one before it were not finite."""
        return self._attempt_since if self.earlier_nonfinite_frames or self._num_earlier_bad else None

    @property
    def incidents(self) -> list[SummaryEntry]:
        """In the order of the log. That a person pressed Ctrl-C is none, but a notice."""
        return [entry for entry in self._ends_and_incidents() if entry.kind not in {USER_STOPPED, ENDED_LATER}]

    def _ends_and_incidents(self) -> list[SummaryEntry]:
        self._count_repeats()
        errors = [entry for _, entry in self._direct_errors()] if self.ended_early is None else []
        errors = self.later_ends or errors
        listed = sorted([*self._incidents, *errors], key=lambda entry: entry.line)
        if self._dropped:
            more = f"{self._dropped} further incidents are not listed"
            listed.append(replaced(listed[-1], text=more, kind="more", count=self._dropped))
        return listed

    @property
    def notices(self) -> list[SummaryEntry]:
        """By the line of the first of each; none that turned out to be an incident."""
        listed = self._ends_and_incidents()
        incidents = {entry.line for entry in listed}
        recovered = NoticeKind.RECOVERED_EXCEPTION
        kept = [entry for entry in self._notices if entry.kind != recovered or entry.line not in incidents]
        kept += [entry for entry in listed if entry.kind in {USER_STOPPED, ENDED_LATER}] + self._bad_validations
        return sorted(kept, key=lambda entry: entry.line)

    def lines(self) -> set[int]:
        """The lines of all entries."""
        told = [*self._incidents, *self._notices, *self._bad_validations]
        entries = [*told, *(entry for _, entry in [*self._errors, *self._outlived])]
        starts = {line for line in (self.undrawn_since, self.attempt_since) if line is not None}
        return {entry.line for entry in entries} | starts

    def renumber(self, numbers: Mapping[int, int]) -> None:
        """Give each entry the line that ``numbers`` has for its own; to be called once, at the end."""
        if self.undrawn_since is not None:
            self.undrawn_since = numbers[self.undrawn_since]
        if self.attempt_since is not None:
            self._attempt_since = numbers[self.attempt_since]
        self._incidents = [replaced(entry, line=numbers[entry.line]) for entry in self._incidents]
        self._notices = [replaced(entry, line=numbers[entry.line]) for entry in self._notices]
        self._bad_validations = [replaced(entry, line=numbers[entry.line]) for entry in self._bad_validations]
        self._errors = [(error, replaced(entry, line=numbers[entry.line])) for error, entry in self._errors]
        self._outlived = [(error, replaced(entry, line=numbers[entry.line])) for error, entry in self._outlived]

    def _add_frame(self, frame: TrainFrame) -> None:
        last = self.frame
        if frame.batch is None and last is not None and last.epoch == frame.epoch and last.epochs == frame.epochs:
            frame = replaced(frame, batch=last.batch, batches=last.batches)
        if self._kept_back and self._errors:
            self.late_line, self._kept_back = frame.line, False
        late = frame.late or frame.line == self.late_line
        if not late and (last is None or self._new_table or not last.is_redrawn_by(frame)):
            self._goes_on()
            self._ended = self.early_stopped = self._validated = False
            self.ended_early = None
        self.frame, self._new_table, self.undrawn_since = frame, False, None
        if frame.nonfinite:
            self._add_nonfinite(frame)

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
        self._nonfinite_place = len(self._incidents) if len(self._incidents) < _MAX_INCIDENTS else -1
        self._add_incident(self._entry(frame, losses, NONFINITE_LOSS))

    def _add_bad_validation(self, row: ValRow) -> None:
        if len(self._bad_validations) > self._num_earlier_bad:
            known = self._bad_validations[-1]
            self._bad_validations[-1] = replaced(known, count=known.count + 1)
        elif len(self._bad_validations) < _MAX_NOTICES:
            self._bad_validations.append(self._entry(row, ", ".join(row.nonfinite), NONFINITE_VALIDATION))

    def repeat_nonfinite(self, frames: int, *, lines: int = 0) -> None:
        """``frames`` more of the epoch of the last non-finite one, of which ``lines`` stand on lines of their own."""
        self.nonfinite_lines += lines
        self.nonfinite_frames += frames
        self._repeats += frames

    def _count_repeats(self) -> None:
        if self._repeats and self._nonfinite_place >= 0:
            known = self._incidents[self._nonfinite_place]
            self._incidents[self._nonfinite_place] = replaced(known, count=known.count + self._repeats)
        self._repeats = 0

    def _add_error(self, error: FatalError) -> None:
        self._kept_back = self._kept_back or self._new_table
        entry = self._entry(error, error.text, USER_STOPPED if is_user_stop(error.detail) else error.kind.value)
        if self._errors and (self._errors[-1][1].kind, self._errors[-1][1].text) == (entry.kind, entry.text):
            last = self._errors[-1]
            self._errors[-1] = (last[0], replaced(last[1], count=last[1].count + 1))
        elif len(self._errors) < _MAX_PENDING:
            self._errors.append((error, entry))

    def _goes_on(self) -> None:
        """Training did not end with the errors so far."""
        for error, entry in self._errors:
            if is_quiet(error):
                continue
            self._outlived = [*self._outlived[-_MAX_PENDING:], (error, entry)]
            self._add_notice(replaced(entry, kind=NoticeKind.RECOVERED_EXCEPTION.value))
        self._errors = []
        self._leaked = False

    def _restarts(self) -> None:
        """A new process: what stands before it ended the one before."""
        for entry in self.later_ends:
            self._add_notice(entry)
        for _, entry in [] if self.later_ends else self._errors:
            self._add_incident(entry)
        self._errors, self._outlived = [], []
        self._leaked = False
        self._new_pass = True
        self.ended_early = None

    def _begins(self, fact: ConsoleFact) -> None:
        """A training begins: how the one before it ended says nothing of this one."""
        self._ended = self.early_stopped = self._validated = False
        self.ended_early = None
        if self.frame is not None:
            self.undrawn_since = self._attempt_since = fact.line
            self.earlier_nonfinite_lines, self.earlier_nonfinite_frames = self.nonfinite_lines, self.nonfinite_frames
            self._num_earlier_bad = len(self._bad_validations)

    def _end_early(self, fact: EndedEarly) -> None:
        """What other processes say of the end from here on is how the guard ended them, or how it left."""
        self.ended_early = fact
        if fact.signal is None:
            self._add_incident(self._entry(fact, fact.text, "gave_up"))
        else:
            self._add_notice(self._entry(fact, fact.text, NoticeKind.STOPPED.value))

    def _direct_errors(self) -> list[tuple[FatalError, SummaryEntry]]:
        """The errors that ended the run, without those that only repeat it.

        In a run of many processes one dies first while the others still draw frames; then only the wrapper stands at
        the end, and the cause is an error that the run seemed to outlive.
        """
        direct = [pair for pair in self._errors if pair[0].origin is not ErrorOrigin.WRAPPER]
        if self._errors and not direct and self._errors[0][0].kind is CrashKind.EXCEPTION:
            direct = [pair for pair in self._outlived if pair[0].kind is not CrashKind.EXCEPTION]
        return direct or self._errors

    def _cause(self, errors: list[FatalError]) -> Crash:
        """The first error of a telling kind, or the user's own stop; else the last, which is what Python raised. That a
        process was killed, or lost the others, is how a run ends in which another had raised something before."""
        stops = [error for error in errors if error.detail.startswith("KeyboardInterrupt")]
        telling = [error for error in errors if error.kind is not CrashKind.EXCEPTION]
        if telling and telling[0].kind is CrashKind.NCCL:  # ranks write by turns
            telling = [error for error in telling if error.kind is CrashKind.OOM] or telling
        if telling and telling[0].kind in _CONSEQUENCES:
            before = errors[: errors.index(telling[0])]
            raised = [error for error in before if error.origin is ErrorOrigin.MAIN and error not in stops]
            telling = raised[-1:] or telling
        chosen = min([*stops[:1], *telling[:1]], key=lambda error: error.line, default=errors[-1])
        detail = chosen.detail
        if chosen in stops:
            code = next((error.detail for error, _ in self._errors if error.detail.startswith("exit code")), None)
            detail = f"KeyboardInterrupt / {code}" if code else detail
        return Crash(kind=chosen.kind, detail=detail)

    def _entry(self, fact: ConsoleFact, text: str, kind: str) -> SummaryEntry:
        frame = self.frame
        return SummaryEntry(
            line=fact.line,
            epoch=frame.epoch if frame else None,
            batch=frame.batch if frame else None,
            text=text,
            kind=kind,
        )

    def _add_incident(self, entry: SummaryEntry) -> None:
        if len(self._incidents) < _MAX_INCIDENTS:
            self._incidents.append(entry)
        else:
            self._dropped += 1

    def _add_notice(self, entry: SummaryEntry) -> None:
        alike = entry.kind not in {NoticeKind.WARNING, NoticeKind.LOGGED_ERROR, NoticeKind.RECOVERED_EXCEPTION}
        for place, known in enumerate(self._notices):
            if known.kind == entry.kind and (alike or known.text == entry.text):
                self._notices[place] = replaced(known, count=known.count + 1)
                return
        if len(self._notices) < _MAX_NOTICES:
            self._notices.append(entry)


def _is_from_outside(error: FatalError) -> bool:
    return error.kind is CrashKind.KILLED or is_user_stop(error.detail)
