"""What the words of the command line name -> runs that are read again at each look. Read-only."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Final, Protocol

from trainmaster.bot.core.run.adoption import Adoption
from trainmaster.bot.core.run.facts import Identity, ProcessFact
from trainmaster.bot.errors import CommandError
from trainmaster.bot.reading.adopted import AdoptedReader
from trainmaster.bot.reading.console.follow import ConsoleFollower
from trainmaster.bot.reading.console_curve import CurveFollower
from trainmaster.bot.reading.run_files import RunReader, find_runs
from trainmaster.bot.terminal.canvas import Shown
from trainmaster.trainer.contract import RunRecordState, is_run_dir
from trainmaster.visible import visible_line

_MAX_NEAR: Final = 3
_MAX_LOOKS: Final = 1000
"""At a log that grows faster than it is read."""


class ProcessEye(Protocol):
    """The part of a driver that looks at processes."""

    def inspect(self, identity: Identity) -> ProcessFact:
        """What is known of it now."""
        ...

    def next_start(self, run: str, identity: Identity) -> ProcessFact | None:
        """What is known of a later start of the run, which its record does not name yet; None where there is none."""
        ...


class Source(Protocol):
    """One run that is looked at again and again."""

    def look(self, now: float) -> Shown:
        """The run as it is now; never raises."""
        ...


class GuardedSource:
    """A run directory that a guarded trainer writes, and its process."""

    def __init__(self, directory: Path, inspector: ProcessEye, now: float) -> None:
        self._reader = RunReader(directory, first_seen_ts=now)
        self._inspector = inspector

    def look(self, now: float) -> Shown:
        """As :class:`Source` says of it."""
        view = self._reader.read(now)
        record = view.record
        # The process of a run that has ended is of no interest; its job may have been queued or submitted again.
        if record is not None and (record.job is not None or record.state is RunRecordState.RUNNING):
            view = replace(view, process=self._process(view.run, record.process))
        return Shown(view=view, epoch_losses={}, frame_losses=())

    def _process(self, run: str, identity: Identity | None) -> ProcessFact | None:
        if identity is None:
            return None
        fact = self._inspector.inspect(identity)
        return (self._inspector.next_start(run, identity) if fact.over else None) or fact


class LogSource:
    """A run of which a console log tells, with ``results.csv`` beside it where that is known."""

    def __init__(self, adoption: Adoption, inspector: ProcessEye, now: float) -> None:
        self._adoption = adoption
        self._inspector = inspector
        self._curves: list[CurveFollower] = []
        self._reader = AdoptedReader(adoption, first_seen_ts=now, open_console=self._open)

    def _open(self, path: Path, max_bytes: int) -> ConsoleFollower:
        self._curves.append(CurveFollower(path, max_bytes))
        return self._curves[-1]

    def look(self, now: float) -> Shown:
        """As :class:`Source` says of it. The whole log has been read by then."""
        view = self._reader.read(now)
        for _ in range(_MAX_LOOKS):
            if not self._curves[-1].more:
                break
            view = self._reader.read(now)
        if view.record is not None and view.record.process is not None:
            view = replace(view, process=self._inspector.inspect(view.record.process))
        # A line of the terminal has no room for a whole path.
        log = self._adoption.log
        view = replace(view, read_errors=tuple(one.replace(str(log), log.name) for one in view.read_errors))
        losses: dict[int, dict[str, float]] = {}
        for curve in self._curves:
            first = min(curve.epoch_losses, default=None)
            losses = {epoch: kept for epoch, kept in losses.items() if first is None or epoch < first}
            losses |= curve.epoch_losses
        return Shown(view=view, epoch_losses=losses, frame_losses=tuple(self._curves[-1].frame_losses))


@dataclass(kw_only=True)
class Sources:
    """The runs that ``words`` name, or all below ``runs_dir`` and all ``adoptions`` where there is none. New runs are
    taken up as they appear."""

    words: Sequence[str]
    runs_dir: Path
    adoptions: Callable[[], Iterable[Adoption]]
    inspector: ProcessEye
    closed: list[Path] = field(default_factory=list)
    """Folders that the newest look was not let into; there may be runs in them."""
    _open: dict[str, Source] = field(default_factory=dict)
    _found: set[str] = field(default_factory=set)

    def look(self, now: float) -> list[Shown]:
        """Every run as it is now. What a word has named once may go away for a while, as a log does that is rotated.

        Raises:
            CommandError: a word names nothing that can be watched, and never did.
        """
        self.closed.clear()
        found: dict[str, Callable[[], Source]] = {}
        for word in self.words:
            try:
                found |= self._named(word, now)
            except OSError as error:
                if word not in self._found:
                    raise _unreadable(word, error) from error
            except CommandError:
                if word not in self._found:
                    raise
            else:
                self._found.add(word)
        if not self.words:
            found |= self._below(self.runs_dir, now, self.closed)
            found |= {one.name: self._adopted(one, now) for one in self.adoptions()}
        for key, make in found.items():
            if key not in self._open:
                self._open[key] = make()
        runs = {key: source.look(now) for key, source in self._open.items()}
        named = Counter(one.view.name for one in runs.values())
        return [self._told_apart(key, one) if named[one.view.name] > 1 else one for key, one in runs.items()]

    def _told_apart(self, key: str, shown: Shown) -> Shown:
        """By its place below RUNS_DIR, or by its whole path: others have its name."""
        place = Path(key)
        for root in (self.runs_dir, self.runs_dir.resolve()):
            if place.is_relative_to(root):
                place = place.relative_to(root)
        return replace(shown, view=replace(shown.view, name=str(place)))

    def _below(self, root: Path, now: float, closed: list[Path] | None = None) -> dict[str, Callable[[], Source]]:
        try:
            return {str(one): self._guarded(one, now) for one in find_runs(root, closed)}
        except OSError:
            return {}

    def _guarded(self, directory: Path, now: float) -> Callable[[], Source]:
        return lambda: GuardedSource(directory, self.inspector, now)

    def _adopted(self, adoption: Adoption, now: float) -> Callable[[], Source]:
        return lambda: LogSource(adoption, self.inspector, now)

    def _named(self, word: str, now: float) -> dict[str, Callable[[], Source]]:
        path = Path(word)
        if is_run_dir(path):
            return {str(path.resolve()): self._guarded(path, now)}
        if path.is_dir():
            found = self._below(path, now, self.closed)
            if not found and not self._open and path.resolve() != self.runs_dir.resolve():
                raise self._unknown(word, f"{visible_line(word)} is a directory without a guarded run in it")
            return found
        if path.is_file():
            return {str(path.resolve()): self._adopted(_of_log(path, word, now), now)}
        closed: list[Path] = []
        below = self._below(self.runs_dir, now, closed)
        named = {key: make for key, make in below.items() if word in _names(Path(key), self.runs_dir)}
        named |= {one.name: self._adopted(one, now) for one in self.adoptions() if one.name == word}
        if not named and not any(word in _names(Path(key), self.runs_dir) for key in self._open):
            if any(word in _names(one, self.runs_dir) for one in closed):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            raise self._unknown(word, f"{visible_line(word)!r} is no run, directory or log file")
        return named

    def _unknown(self, word: str, fact: str) -> CommandError:
        names = {name for one in self._below(self.runs_dir, 0.0) for name in _names(Path(one), self.runs_dir)}
        names |= {one.name for one in self.adoptions()}
        path = Path(word)
        with suppress(OSError):
            names |= {str(path.parent / one.name) for one in path.parent.iterdir() if not one.name.startswith(".")}
        near = get_close_matches(word, sorted(names - {word}), n=_MAX_NEAR, cutoff=0.5)
        said = f" Nearest: {', '.join(visible_line(one) for one in near)}." if near else ""
        hint = f"without a name every run below {visible_line(str(self.runs_dir))} (RUNS_DIR) is shown"
        return CommandError("watch-run", f"{fact}.{said}", hint)


def _names(directory: Path, runs_dir: Path) -> set[str]:
    try:
        relative = str(directory.relative_to(runs_dir))
    except ValueError:
        relative = directory.name
    return {directory.name, relative}


def _unreadable(word: str, error: OSError) -> CommandError:
    return CommandError("watch-log", f"{visible_line(word)} can't be read: {error.strerror}.", "check its permissions")


def _of_log(path: Path, word: str, now: float) -> Adoption:
    """The log as an adoption of no process. ``results.csv`` beside it is of the same run where Ultralytics'
    ``args.yaml`` stands there too.

    Raises:
        CommandError: it can't be read, or is no text.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(4096)
    except OSError as error:
        raise _unreadable(word, error) from error
    if b"\0" in start and not start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise CommandError(
            "watch-log", f"{visible_line(word)} is no text.", "give a console log, a run directory or a run's name"
        )
    directory = path.parent if (path.parent / "args.yaml").is_file() else path
    return Adoption(name=path.name, directory=directory, log=path, process=None, adopted_ts=now)
