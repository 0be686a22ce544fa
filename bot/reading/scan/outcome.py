"""Errors of an attempt: whether training went on behind them, and which of those that ended it is the cause."""

from __future__ import annotations

from collections.abc import Mapping

from trainmaster.bot.reading.console.errors import is_user_stop
from trainmaster.bot.reading.console.facts import CrashKind, ErrorOrigin, FatalError, TrainFrame, ValBar
from trainmaster.bot.reading.console.text import shortened
from trainmaster.bot.reading.scan.entries import SummaryEntry
from trainmaster.bot.reading.scan.telling import is_quiet
from trainmaster.record import Fixed, replaced

_MAX_PENDING = 100
_OWN = frozenset({ErrorOrigin.MAIN, ErrorOrigin.CHILD})
_OF_A_WORKER = " in DataLoader worker process "
"""Torch raises again what a worker has raised, and puts its own traceback behind it."""
_CONSEQUENCES = frozenset({CrashKind.KILLED, CrashKind.NCCL})
_Bar = type[TrainFrame] | type[ValBar]


class Crash(Fixed):
    """How the run ended, if it crashed."""

    kind: CrashKind
    detail: str


class Outcome:
    """Tell it every error and every bar, in their order."""

    def __init__(self) -> None:
        self._errors: list[tuple[FatalError, SummaryEntry]] = []
        """Since training last went on."""
        self._outlived: list[tuple[FatalError, SummaryEntry]] = []
        """Those of this attempt after which training went on."""
        self._undrawn: set[_Bar] = {ValBar}
        """The bars whose first drawing in this epoch is to come."""
        self._kept_back: set[_Bar] = set()
        """Those that an error came before. Docker keeps an unended line back, so the error may have ended what is
        drawn on it."""
        self.late_line: int | None = None
        """The line of such a bar."""

    def __bool__(self) -> bool:
        """Whether there is an error that may have ended the run."""
        return bool(self._errors)

    def add(self, error: FatalError, entry: SummaryEntry) -> None:
        """An error, and the entry that tells of it."""
        self._kept_back |= self._undrawn
        if self._errors and (self._errors[-1][1].kind, self._errors[-1][1].text) == (entry.kind, entry.text):
            last = self._errors[-1]
            self._errors[-1] = (last[0], replaced(last[1], count=last[1].count + 1))
        elif len(self._errors) < _MAX_PENDING:
            self._errors.append((error, entry))

    def begin_table(self) -> None:
        """The head of an epoch's table was printed: what is drawn below it is no earlier line."""
        self._undrawn, self._kept_back = {TrainFrame, ValBar}, set()

    def end_table(self) -> None:
        """A validation is over; another may follow."""
        self._undrawn = {ValBar}

    def keep_back(self) -> None:
        """An error that is told next stands amid a line, whichever bar is drawn there."""
        self._kept_back = {TrainFrame, ValBar}

    def is_late(self, bar: TrainFrame | ValBar) -> bool:
        """Whether ``bar`` may have been drawn before the errors that stand before it."""
        kind = type(bar)
        if kind in self._kept_back and self._errors:
            self.late_line = bar.line
            self._kept_back.discard(kind)
        self._undrawn = {ValBar} if kind is TrainFrame else set()
        return bar.late or bar.line == self.late_line

    def outlive(self) -> list[SummaryEntry]:
        """Training did not end with the errors so far: the entries of those that are worth telling."""
        told = [(error, entry) for error, entry in self._errors if not is_quiet(error)]
        self._outlived = [*self._outlived, *told][-_MAX_PENDING:]
        if self._errors:
            self._errors, self._kept_back = [], set()
        return [entry for _, entry in told]

    def restart(self) -> None:
        """A new process: nothing so far is of it."""
        self._errors, self._outlived = [], []

    @property
    def entries(self) -> list[SummaryEntry]:
        """Of all errors since training last went on."""
        return [entry for _, entry in self._errors]

    @property
    def ends(self) -> list[SummaryEntry]:
        """Of those that ended the run, without those that only repeat it."""
        return [entry for _, entry in self._direct_errors()]

    @property
    def is_from_outside(self) -> bool:
        """Whether nothing but a signal or Ctrl-C ended the process."""
        return all(error.kind is CrashKind.KILLED or is_user_stop(error.detail) for error, _ in self._errors)

    @property
    def cause(self) -> Crash:
        """The first error of a telling kind, or the user's own stop; else the last, which is what Python raised. That a
        process was killed, or lost the others, is how a run ends in which another had raised something before."""
        errors = [error for error, _ in self._direct_errors()]
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
        inner = next((error.detail for error in errors if error.line > chosen.line), None)
        if inner is not None and _OF_A_WORKER in detail:
            detail = shortened(f"{inner} ({detail.partition(': ')[2]})")
        return Crash(kind=chosen.kind, detail=detail)

    def _direct_errors(self) -> list[tuple[FatalError, SummaryEntry]]:
        """In a run of many processes one dies first while the others still draw frames; then only the wrapper stands at
        the end, and the cause is an error that the run seemed to outlive."""
        direct: list[tuple[FatalError, SummaryEntry]] = []
        for pair in self._errors:
            # What a script says of an error repeats a traceback that is before it.
            if pair[0].origin in _OWN or (pair[0].origin is ErrorOrigin.CAUGHT and not direct):
                direct.append(pair)
        if self._errors and not direct and self._errors[0][0].kind is CrashKind.EXCEPTION:
            direct = [pair for pair in self._outlived if pair[0].kind is not CrashKind.EXCEPTION]
        return direct or self._errors

    def lines(self) -> set[int]:
        """The lines of all entries."""
        return {entry.line for _, entry in [*self._errors, *self._outlived]}

    def renumber(self, numbers: Mapping[int, int]) -> None:
        """Give each entry the line that ``numbers`` has for its own."""
        for pairs in (self._errors, self._outlived):
            pairs[:] = [(error, replaced(entry, line=numbers[entry.line])) for error, entry in pairs]
